"""Encoders: from a picture to a map of features, each with the heads that its paper puts behind it.

Convolutions are 3x3 with padding 1. The paper names leaky ReLUs without a slope; 0.3 is the slope of the authors'
notebook and the default of Keras, which they used. Pooling before a leaky ReLU gives the same values as after it
(max and a monotone function commute) for a quarter of the work.
"""

from collections import OrderedDict
from typing import ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.3
HIDDEN = 896


class Encoder(Protocol):
    """(B, channels, S, S) in 0..1 -> (B, out_channels, side, side).

    `activation` is the layer behind the default maps. For hierarchical sharing `block` halves a map, into
    block_channels, and `head` reads one; for hard sharing `trunk` makes a (B, features) vector of the encoder's map.
    """

    input_size: ClassVar[int]
    out_channels: int
    block_channels: int
    side: int

    @property
    def activation(self) -> nn.Module: ...
    def block(self, channels: int) -> nn.Module: ...
    def head(self, channels: int, side: int, out_features: int) -> nn.Module: ...
    def trunk(self) -> tuple[nn.Module, int]: ...


class ConvBlock(nn.Module):
    """Convolution, batch norm, leaky ReLU, 2x2 max pool: (B, channels, h, w) -> (B, out, h // 2, w // 2)."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 3, padding=1)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.max_pool2d(self.norm(self.conv(x)), 2), SLOPE)


class _Papers(nn.Module):
    """What the paper's encoders have in common: 48 px, maps of 6x6, and the heads of figure 1."""

    input_size: ClassVar = 48
    out_channels: int
    block_channels, side = 224, 6
    activation: nn.Module

    def __init__(self, size: int) -> None:
        super().__init__()
        if size != self.input_size:
            raise ValueError(f"size should be {self.input_size} for the paper's encoders, got {size}")

    def block(self, channels: int) -> nn.Module:
        return ConvBlock(channels, self.block_channels)

    def head(self, channels: int, side: int, out_features: int) -> nn.Module:
        """Flatten, dense 896, dropout 0.5, dense 896, dense out_features (ReLU after both hidden layers)."""
        return nn.Sequential(*self._dense(channels * side * side), nn.Linear(HIDDEN, out_features))

    def trunk(self) -> tuple[nn.Module, int]:
        """The path that figure 1 gives to ethnicity, the longest one: two convolutions and two dense layers."""
        blocks = self.block(self.out_channels), self.block(self.block_channels)
        return nn.Sequential(*blocks, *self._dense(self.block_channels)), HIDDEN

    @staticmethod
    def _dense(features: int) -> list[nn.Module]:
        hidden = [nn.Linear(features, HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
        return [nn.Flatten(), *hidden]


class Figure1(_Papers):
    """Figure 1 of the paper: (B, C, 48, 48) -> (B, 192, 6, 6); 279,680 values with one input channel ("0.3 M")."""

    out_channels = 192

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(size)
        self.conv1 = nn.Conv2d(channels, 160, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(160)
        self.conv2 = nn.Conv2d(160, 192, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(192)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(F.max_pool2d(self.norm1(self.conv1(x)), 2), SLOPE)
        x = self.activation(self.norm2(self.conv2(x)))  # a module: the layer that attribution hooks
        return F.avg_pool2d(F.avg_pool2d(x, 2), 2)


class ThreeLayers(_Papers):
    """The reading that fits the paper's Table 1 ("3 layer") and its "0.3 M" alike: (B, C, 48, 48) -> (B, 144, 6, 6).

    Convolutions to 96, 128 and 144 channels, each with batch norm, leaky ReLU and a 2x2 pool, max, average, average as
    in figure 1 and the authors' notebook; 280,912 values with three input channels.
    """

    out_channels = 144

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(size)
        self.conv1, self.norm1 = nn.Conv2d(channels, 96, 3, padding=1), nn.BatchNorm2d(96)
        self.conv2, self.norm2 = nn.Conv2d(96, 128, 3, padding=1), nn.BatchNorm2d(128)
        self.conv3, self.norm3 = nn.Conv2d(128, 144, 3, padding=1), nn.BatchNorm2d(144)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(F.max_pool2d(self.norm1(self.conv1(x)), 2), SLOPE)
        x = F.avg_pool2d(F.leaky_relu(self.norm2(self.conv2(x)), SLOPE), 2)
        return F.avg_pool2d(self.activation(self.norm3(self.conv3(x))), 2)


class Compact(nn.Module):
    """Four convolutions instead of figure 1's two for the same values and a third of its work: most of that went into
    one layer at 24x24. (B, C, 48, 48) -> (B, 128, 6, 6); 271,000 values with three input channels.

    Its heads are convolutions to 256 channels, the mean over places, dropout 0.5 and one dense layer.
    """

    input_size: ClassVar = 48
    out_channels, block_channels, side = 128, 256, 6

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        if size != self.input_size:
            raise ValueError(f"size should be {self.input_size} for the compact encoder, got {size}")
        self.early = nn.Sequential(
            _convolution(channels, 40),
            nn.MaxPool2d(2),
            _convolution(40, 80),
            nn.MaxPool2d(2),
            _convolution(80, 128),
        )
        self.last = _convolution(128, 128)

    @property
    def activation(self) -> nn.Module:
        return self.last[-1]

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(self.last(self.early(x)), 2)

    def block(self, channels: int) -> nn.Module:
        return nn.Sequential(_convolution(channels, self.block_channels), nn.MaxPool2d(2))

    def head(self, channels: int, side: int, out_features: int) -> nn.Module:
        layers: list[nn.Module] = []
        if side > 3:
            layers.append(self.block(channels))
        if side > 1:
            layers.append(_convolution(self.block_channels, self.block_channels))
        return nn.Sequential(*layers, *_pooled(), nn.Dropout(0.5), nn.Linear(self.block_channels, out_features))

    def trunk(self) -> tuple[nn.Module, int]:
        blocks = self.block(self.out_channels), _convolution(self.block_channels, self.block_channels)
        return nn.Sequential(*blocks, *_pooled(), nn.Dropout(0.5)), self.block_channels


def _convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1))


def _pooled() -> tuple[nn.Module, nn.Module]:
    return nn.AdaptiveAvgPool2d(1), nn.Flatten()


class ResNet18(nn.Module):
    """ResNet-18 (He et al. 2015) from torchvision, untrained: (B, C, S, S) -> (B, 512, S / 32, S / 32), S from 32 up.

    Its rows in the paper's table come from Lin et al. 2019 (Pareto MTL): one dense layer per task on the mean over
    places, at 224 px.
    """

    input_size: ClassVar = 224
    out_channels = block_channels = 512

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        if size < 32 or size % 32:
            raise ValueError(f"size should be a multiple of 32 for a ResNet-18, got {size}")
        from torchvision.models import resnet18  # here: it takes as long to import as half of torch

        self.side = size // 32
        net = resnet18(weights=None)
        if channels != 3:
            net.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        layers = [(name, layer) for name, layer in net.named_children() if name not in ("avgpool", "fc")]
        self.layers = nn.Sequential(OrderedDict(layers))

    @property
    def activation(self) -> nn.Module:
        return self.layers.get_submodule("layer4")

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def block(self, channels: int) -> nn.Module:
        raise ValueError("sharing should be hard or soft for a ResNet-18, got hierarchical")

    def head(self, channels: int, side: int, out_features: int) -> nn.Module:
        return nn.Sequential(*_pooled(), nn.Linear(channels, out_features))

    def trunk(self) -> tuple[nn.Module, int]:
        return nn.Sequential(*_pooled()), self.out_channels


ENCODERS: dict[str, type[Figure1] | type[ThreeLayers] | type[Compact] | type[ResNet18]] = {
    "fig1": Figure1,
    "conv3": ThreeLayers,
    "compact": Compact,
    "resnet18": ResNet18,
}
