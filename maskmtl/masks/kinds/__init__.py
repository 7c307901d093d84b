"""The kinds of masks, by name."""

from maskmtl.masks.kinds.base import Kind
from maskmtl.masks.kinds.cloth import BANDANA, CLOTH
from maskmtl.masks.kinds.gas import GAS
from maskmtl.masks.kinds.respirators import DUCKBILL, KN95, N95, N95_VALVE
from maskmtl.masks.kinds.surgical import SURGICAL

KINDS: dict[str, Kind] = {
    "surgical": SURGICAL,
    "n95": N95,
    "n95_valve": N95_VALVE,
    "kn95": KN95,
    "duckbill": DUCKBILL,
    "cloth": CLOTH,
    "gas": GAS,
    "bandana": BANDANA,
}
