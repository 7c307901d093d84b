"""The networks: figure 1 of the paper and its non-local block."""

from maskmtl.networks.nonlocal_block import NonLocalBlock
from maskmtl.networks.sharing import SHARING, MaskMTL, count_values

__all__ = ["SHARING", "MaskMTL", "NonLocalBlock", "count_values"]
