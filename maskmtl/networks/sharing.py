"""Which parameters the tasks share behind the encoder: hard and hierarchical sharing (section 2 of the paper)."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from maskmtl.networks.encoders import Encoder
from maskmtl.tasks import TaskSpec


class Hard(nn.Module):
    """Hard sharing (Caruana 1997): all tasks share everything but their last layer."""

    def __init__(self, specs: Mapping[str, TaskSpec], encoder: Encoder) -> None:
        super().__init__()
        self.trunk, features = encoder.trunk()
        self.heads = nn.ModuleDict({name: nn.Linear(features, s.target.out_features) for name, s in specs.items()})

    @property
    def shared(self) -> Iterable[nn.Parameter]:
        return self.trunk.parameters()

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        vector = self.trunk(features)
        return {name: head(vector) for name, head in self.heads.items()}


class Hierarchical(nn.Module):
    """Hierarchical sharing (section 2): each task joins at the depth that its difficulty asks for.

    Age reads the encoder's map; gender adds a convolution; ethnicity continues from gender's convolution.
    """

    depths: ClassVar = {"age": 0, "gender": 1, "ethnicity": 2}

    def __init__(self, specs: Mapping[str, TaskSpec], encoder: Encoder) -> None:
        super().__init__()
        unknown = set(specs) - set(self.depths)
        if unknown:
            raise ValueError(
                f"task should be one of {sorted(self.depths)} for hierarchical sharing, got {sorted(unknown)}"
            )
        wide = encoder.block_channels
        self.blocks = nn.ModuleList([encoder.block(encoder.out_channels), encoder.block(wide)])
        places = ((encoder.out_channels, encoder.side), (wide, encoder.side // 2), (wide, encoder.side // 4))
        self.heads = nn.ModuleDict(
            {name: encoder.head(*places[self.depths[name]], spec.target.out_features) for name, spec in specs.items()}
        )

    @property
    def shared(self) -> Iterable[nn.Parameter]:
        return self.blocks[0].parameters()

    def forward(self, features: Tensor) -> dict[str, Tensor]:
        maps = [features]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return {name: head(maps[self.depths[name]]) for name, head in self.heads.items()}
