"""The non-local block (Wang et al. 2018, Non-local Neural Networks, arXiv 1711.07971)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NonLocalBlock(nn.Module):
    """Embedded-Gaussian self-attention over positions with a residual: z = W y + x (eq. 1, 4 and 6).

    (B, C, H, W) -> the same shape. The embeddings have C/2 channels (section 3.3). The batch norm after W starts at
    zero, so a new block is the identity (section 4.1). No sub-sampling: at 6x6 there are only 36 positions.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)
        self.g = nn.Conv2d(channels, inner, 1)
        self.w = nn.Conv2d(inner, channels, 1)
        self.norm = nn.BatchNorm2d(channels)
        nn.init.zeros_(self.norm.weight)

    def attention(self, x: Tensor) -> Tensor:
        """(B, HW, HW) softmax weights: row i is what position i attends to, and sums to 1."""
        theta, phi = self.theta(x).flatten(2), self.phi(x).flatten(2)
        return F.softmax(theta.transpose(1, 2) @ phi, dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.einsum("bij,bcj->bci", self.attention(x), self.g(x).flatten(2))
        return x + self.norm(self.w(y.unflatten(2, x.shape[2:])))
