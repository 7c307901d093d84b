"""The kinds of masks, by name."""

from maskmtl.masks.kinds.base import Kind
from maskmtl.masks.kinds.surgical import SURGICAL

KINDS: dict[str, Kind] = {"surgical": SURGICAL}
