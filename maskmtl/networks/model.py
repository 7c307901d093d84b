"""A network for all tasks: an encoder, optionally the non-local block, and heads that share by a scheme."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from maskmtl.networks.encoders import ENCODERS
from maskmtl.networks.nonlocal_block import NonLocalBlock
from maskmtl.networks.sharing import Hard, Hierarchical
from maskmtl.tasks import TaskSpec

SHARING = ("hard", "soft", "hierarchical")
_SCHEMES: dict[str, type[Hard] | type[Hierarchical]] = {"hard": Hard, "hierarchical": Hierarchical}


class MaskMTL(nn.Module):
    """(B, channels, S, S) in 0..1 -> {task: (B, out_features)}.

    `config` rebuilds the network. With figure 1's encoder, one channel, hierarchical sharing and the three tasks it has
    11,740,871 values without the non-local block.

    Args:
        sharing: 'hard', 'hierarchical', or 'soft': a whole network per task, tied by tie().
        nonlocal_block: between encoder and heads.
        channels: 1 (grey) or 3 (RGB).
        encoder: a name in ENCODERS.
        size: S, px; None for the encoder's own.
        mirror: in eval mode, answer with the mean of the outputs for a picture and its mirror image.
    """

    def __init__(
        self,
        specs: Mapping[str, TaskSpec],
        *,
        sharing: str = "hierarchical",
        nonlocal_block: bool = True,
        channels: int = 1,
        encoder: str = "fig1",
        size: int | None = None,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        for name, value, allowed in (("sharing", sharing, SHARING), ("encoder", encoder, ENCODERS)):
            if value not in allowed:
                raise ValueError(f"{name} should be one of {sorted(allowed)}, got {value!r}")
        if channels not in (1, 3):
            raise ValueError(f"channels should be 1 (grey) or 3 (RGB), got {channels}")
        self.specs = dict(specs)
        self.config: dict[str, Any] = {
            "sharing": sharing,
            "nonlocal_block": nonlocal_block,
            "channels": channels,
            "encoder": encoder,
            "size": size or ENCODERS[encoder].input_size,
            "mirror": mirror,
        }
        if sharing == "soft":
            own = {**self.config, "sharing": "hard", "mirror": False}
            self.towers = nn.ModuleDict({name: MaskMTL({name: spec}, **own) for name, spec in specs.items()})
        else:
            self.encoder = ENCODERS[encoder](channels, self.input_size)
            self.attention = NonLocalBlock(self.encoder.out_channels) if nonlocal_block else nn.Identity()
            self.sharing = _SCHEMES[sharing](self.specs, self.encoder)
        self.name = "untrained"
        self.card: dict = {}

    @property
    def input_channels(self) -> int:
        return int(self.config["channels"])

    @property
    def input_size(self) -> int:
        return int(self.config["size"])

    def map_layer(self, task: str) -> nn.Module:
        """The layer behind a task's default maps: its encoder's last activation; figure 1's has (B, 192, 24, 24)."""
        tower = f"towers.{task}." if self.config["sharing"] == "soft" else ""
        layer = self.get_submodule(f"{tower}encoder").activation
        assert isinstance(layer, nn.Module)
        return layer

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        expected = (self.input_channels, self.input_size, self.input_size)
        if x.ndim != 4 or tuple(x.shape[1:]) != expected:
            raise ValueError(f"images should be (B, {', '.join(map(str, expected))}), got {tuple(x.shape)}")
        if not self._mirrors:
            return self._outputs(x)
        both = self._outputs(torch.cat([x, x.flip(3)]))
        return {name: 0.5 * (output[: len(x)] + output[len(x) :]) for name, output in both.items()}

    def _outputs(self, x: Tensor) -> dict[str, Tensor]:
        if self.config["sharing"] == "soft":
            return {name: tower(x)[name] for name, tower in self.towers.items()}
        return self.sharing(self.attention(self.encoder(x)))

    @property
    def _mirrors(self) -> bool:
        return bool(self.config["mirror"]) and not self.training

    def per_picture(self, maps: Tensor) -> Tensor:
        """Maps of whatever went through the layers, (n, h, w), to maps of the pictures asked for, (B, h, w): those of a
        mirror image are turned back and added, since the output is the mean of both."""
        if not self._mirrors:
            return maps
        own, mirrored = maps.chunk(2)
        return own + mirrored.flip(2)

    def shared_parameters(self) -> list[nn.Parameter]:
        """What more than one task has a say in, in the order of the forward pass; with soft sharing what tie() ties."""
        if self.config["sharing"] == "soft":
            return [weight for tied in self._tied() for weight in tied]
        return [*self.encoder.parameters(), *self.attention.parameters(), *self.sharing.shared]

    def last_shared(self) -> list[nn.Parameter]:
        """The weights of the last layer that all tasks read, as GradNorm wants them; one per task with soft sharing."""
        if self.config["sharing"] == "soft":
            return self._tied()[-1]
        everyones = [*self.encoder.parameters(), *self.attention.parameters()]
        if self.config["sharing"] == "hard":
            everyones += self.sharing.shared
        return [[p for p in everyones if p.ndim > 1][-1]]

    def tie(self) -> Tensor:
        """Soft sharing's regulariser: the sum over pairs of tasks of the squared distance of their convolutions.

        After Duong et al. 2015, which the paper cites; 0 for the other schemes.
        """
        if self.config["sharing"] != "soft":
            return torch.zeros(())
        pairs = [(a - b).square().sum() for tied in self._tied() for a, b in combinations(tied, 2)]
        return torch.stack(pairs).sum()

    def _tied(self) -> list[list[nn.Parameter]]:
        """Per convolution of a tower, its weights in each tower."""
        towers = [[m.weight for m in tower.modules() if isinstance(m, nn.Conv2d)] for tower in self.towers.values()]
        return [list(tied) for tied in zip(*towers, strict=True)]


def count_values(module: nn.Module) -> int:
    """Parameters and running statistics, the way Keras (and so the paper) counts them."""
    statistics = sum(b.numel() for name, b in module.named_buffers() if not name.endswith("num_batches_tracked"))
    return sum(p.numel() for p in module.parameters()) + statistics
