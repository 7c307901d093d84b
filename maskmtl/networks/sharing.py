"""The networks of the paper's figure 1: one encoder, and heads that share parameters by a scheme.

Convolutions are 3x3 with padding 1. The paper names leaky ReLUs without a slope; 0.3 is the slope of the authors'
notebook and the default of Keras, which they used. Pooling before a leaky ReLU gives the same values as after it
(max and a monotone function commute) for a quarter of the work.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from maskmtl.networks.nonlocal_block import NonLocalBlock
from maskmtl.tasks import TaskSpec

SLOPE = 0.3
HIDDEN = 896


class Encoder(nn.Module):
    """(B, channels, 48, 48) in 0..1 -> (B, 192, 6, 6); 279,680 values with one input channel ("0.3 M" in the paper)."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 160, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(160)
        self.conv2 = nn.Conv2d(160, 192, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(192)
        self.activation = nn.LeakyReLU(SLOPE)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(F.max_pool2d(self.norm1(self.conv1(x)), 2), SLOPE)
        x = self.activation(self.norm2(self.conv2(x)))  # a module: the layer that attribution hooks
        return F.avg_pool2d(F.avg_pool2d(x, 2), 2)


class ConvBlock(nn.Module):
    """Convolution to 224 channels, batch norm, leaky ReLU, 2x2 max pool: (B, c, h, w) -> (B, 224, h // 2, w // 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 224, 3, padding=1)
        self.norm = nn.BatchNorm2d(224)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(F.max_pool2d(self.norm(self.conv(x)), 2), SLOPE)


def dense_head(in_features: int, out_features: int) -> nn.Sequential:
    """Flatten, dense 896, dropout 0.5, dense 896, dense out_features (ReLU after both hidden layers)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(in_features, HIDDEN),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(),
        nn.Linear(HIDDEN, out_features),
    )


class Hierarchical(nn.Module):
    """Hierarchical sharing (section 2): each task joins at the depth that its difficulty asks for.

    Age reads the encoder's map; gender adds a convolution; ethnicity continues from gender's convolution.
    """

    depths: ClassVar = {"age": 0, "gender": 1, "ethnicity": 2}

    def __init__(self, specs: Mapping[str, TaskSpec]) -> None:
        super().__init__()
        unknown = set(specs) - set(self.depths)
        if unknown:
            raise ValueError(
                f"task should be one of {sorted(self.depths)} for hierarchical sharing, got {sorted(unknown)}"
            )
        self.blocks = nn.ModuleList([ConvBlock(192), ConvBlock(224)])
        features = (192 * 6 * 6, 224 * 3 * 3, 224)
        self.heads = nn.ModuleDict(
            {name: dense_head(features[self.depths[name]], spec.target.out_features) for name, spec in specs.items()}
        )

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        maps = [features]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return {name: head(maps[self.depths[name]]) for name, head in self.heads.items()}


SHARING: dict[str, type[nn.Module]] = {"hierarchical": Hierarchical}


class MaskMTL(nn.Module):
    """Encoder, optional non-local block, heads: (B, C, 48, 48) in 0..1 -> {task: (B, out_features)}.

    `config` rebuilds the network: sharing (a name in SHARING), nonlocal_block (bool), channels (1 grey, 3 RGB).
    With one channel, hierarchical sharing and the three tasks it has 11,740,871 values without the block.
    """

    input_size = 48

    def __init__(
        self,
        specs: Mapping[str, TaskSpec],
        *,
        sharing: str = "hierarchical",
        nonlocal_block: bool = True,
        channels: int = 1,
    ) -> None:
        super().__init__()
        if sharing not in SHARING:
            raise ValueError(f"sharing should be one of {sorted(SHARING)}, got {sharing!r}")
        if channels not in (1, 3):
            raise ValueError(f"channels should be 1 (grey) or 3 (RGB), got {channels}")
        self.specs = dict(specs)
        self.config: dict[str, Any] = {"sharing": sharing, "nonlocal_block": nonlocal_block, "channels": channels}
        self.encoder = Encoder(channels)
        self.attention = NonLocalBlock(192) if nonlocal_block else nn.Identity()
        self.sharing = SHARING[sharing](self.specs)
        self.name = "untrained"
        self.card: dict = {}

    @property
    def input_channels(self) -> int:
        return int(self.config["channels"])

    @property
    def encoder_conv(self) -> nn.Module:
        """The layer behind the default maps: the last convolution's activation, (B, 192, 24, 24)."""
        return self.encoder.activation

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        expected = (self.input_channels, self.input_size, self.input_size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(f"images should be (B, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
        return self.sharing(self.attention(self.encoder(x)))


def count_values(module: nn.Module) -> int:
    """Parameters and running statistics, the way Keras (and so the paper) counts them."""
    statistics = sum(b.numel() for name, b in module.named_buffers() if not name.endswith("num_batches_tracked"))
    return sum(p.numel() for p in module.parameters()) + statistics
