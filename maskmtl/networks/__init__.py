"""The networks: figure 1 of the paper, its non-local block, its schemes of sharing, and the ResNet-18 beside them."""

from maskmtl.networks.encoders import ENCODERS
from maskmtl.networks.model import SHARING, MaskMTL, count_values
from maskmtl.networks.nonlocal_block import NonLocalBlock

__all__ = ["ENCODERS", "SHARING", "MaskMTL", "NonLocalBlock", "count_values"]
