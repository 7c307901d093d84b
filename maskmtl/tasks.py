"""What the networks read from a face: the tasks and the two kinds of target they have."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor


@runtime_checkable
class Target(Protocol):
    """All behaviour of one kind of target; `logits` are (B, out_features), `y` is (B,)."""

    @property
    def out_features(self) -> int: ...
    def loss(self, logits: Tensor, y: Tensor) -> Tensor: ...
    def imitation(self, logits: Tensor, other: Tensor, of: "Target") -> Tensor: ...
    def constant(self, y: Tensor) -> Tensor: ...
    def decode(self, logits: Tensor) -> Tensor: ...
    def score(self, logits: Tensor, index: int | Tensor | None = None) -> Tensor: ...


@dataclass(frozen=True)
class Classes:
    """A nominal target. Two classes share one logit (of the second class), as in figure 1 of the paper."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) < 2:
            raise ValueError(f"names should hold at least two classes, got {self.names!r}")

    @property
    def binary(self) -> bool:
        return len(self.names) == 2

    @property
    def out_features(self) -> int:
        return 1 if self.binary else len(self.names)

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """Cross-entropy per face, (B,), in nats: binary with one logit, categorical otherwise."""
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits[:, 0], y.to(logits.dtype), reduction="none")
        return F.cross_entropy(logits, y.long(), reduction="none")

    def imitation(self, logits: Tensor, other: Tensor, of: Target) -> Tensor:
        """(B,) cross-entropy with the probabilities of `other` logits (B, K) of the same classes, in nats."""
        if self.binary:
            return F.binary_cross_entropy_with_logits(logits[:, 0], torch.sigmoid(other[:, 0]), reduction="none")
        return F.cross_entropy(logits, F.softmax(other, dim=1), reduction="none")

    def constant(self, y: Tensor) -> Tensor:
        """(K,) logits of the answer that costs least for all labels (N,): their shares."""
        shares = torch.bincount(y.long(), minlength=len(self.names)) / len(y)
        return torch.logit(shares[1:], eps=1e-7) if self.binary else shares.clamp(min=1e-7).log()

    def probabilities(self, logits: Tensor) -> Tensor:
        """(B, len(names)), each row sums to 1."""
        if self.binary:
            p = torch.sigmoid(logits[:, 0])
            return torch.stack([1 - p, p], dim=1)
        return F.softmax(logits, dim=1)

    def decode(self, logits: Tensor) -> Tensor:
        """(B,) index of the most probable class, as float."""
        return self.probabilities(logits).argmax(dim=1).float()

    def score(self, logits: Tensor, index: int | Tensor | None = None) -> Tensor:
        """(B,) logit of class `index` (an int, a (B,) tensor, or None for the predicted class).

        With one logit the score of the first class is its negative.
        """
        chosen = self.decode(logits) if index is None else torch.as_tensor(index, device=logits.device)
        chosen = chosen.long().expand(len(logits))
        if ((chosen < 0) | (chosen >= len(self.names))).any():
            raise ValueError(f"index should be in 0..{len(self.names) - 1} for classes {list(self.names)}, got {index}")
        if self.binary:
            return torch.where(chosen == 1, logits[:, 0], -logits[:, 0])
        return logits.gather(1, chosen[:, None])[:, 0]


@dataclass(frozen=True)
class Scalar:
    """A quantity in `unit`, valid from `low` to `high`; the network's output is (value - mean) / std.

    With mean 0 and std 1 the network works in raw units, as the paper does; mean and std of the training split
    put the loss on a scale with the other tasks'. `criterion` is 'l1' (the paper) or 'mse' (the authors' notebook).
    """

    unit: str
    low: float
    high: float
    mean: float = 0.0
    std: float = 1.0
    criterion: str = "l1"

    def __post_init__(self) -> None:
        if self.criterion not in ("l1", "mse"):
            raise ValueError(f"criterion should be one of ['l1', 'mse'], got {self.criterion!r}")
        if not self.std > 0:
            raise ValueError(f"std should be positive, got {self.std}")

    @property
    def out_features(self) -> int:
        return 1

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """(B,) absolute or squared error in units of `std`."""
        error = logits[:, 0] - (y.to(logits.dtype) - self.mean) / self.std
        return error.abs() if self.criterion == "l1" else error.square()

    def imitation(self, logits: Tensor, other: Tensor, of: Target) -> Tensor:
        """(B,) the loss with the values of `other` logits (B, 1) for labels, as their own target `of` reads them."""
        return self.loss(logits, of.decode(other))

    def constant(self, y: Tensor) -> Tensor:
        """(1,) the output that costs least for all labels (N,): their median or mean."""
        middle = y.mean() if self.criterion == "mse" else y.median()
        return ((middle - self.mean) / self.std)[None]

    def decode(self, logits: Tensor) -> Tensor:
        """(B,) value in `unit`, within low..high."""
        return (logits[:, 0].float() * self.std + self.mean).clamp(self.low, self.high)

    def score(self, logits: Tensor, index: int | Tensor | None = None) -> Tensor:
        """(B,) the output itself: a positive attribution raises the value. `index` has no meaning here."""
        return logits[:, 0]

    def standardised(self, mean: float, std: float) -> "Scalar":
        return replace(self, mean=float(mean), std=float(std))


@dataclass(frozen=True)
class Distribution(Scalar):
    """A quantity read as a distribution over the whole units from `low` to `high`; the value is its median.

    The loss is DLDL-v2's (Gao et al. 2018, arXiv 1807.03756, equations 4 and 7): half the cross-entropy with a Gaussian
    of deviation `sigma` units around the label, and the distance of the expected value from it in units of `std`.
    """

    sigma: float = 2.0

    @property
    def out_features(self) -> int:
        return round(self.high - self.low) + 1

    def values(self, logits: Tensor) -> Tensor:
        return torch.arange(self.out_features, device=logits.device) + self.low

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """(B,), in nats and units of `std`."""
        away = self.values(logits) - y[:, None]
        cross_entropy = -(self._wanted(away) * F.log_softmax(logits, dim=1)).sum(dim=1)
        return 0.5 * cross_entropy + (F.softmax(logits, dim=1) * away).sum(dim=1).abs() / self.std

    def _wanted(self, away: Tensor) -> Tensor:
        """(B, K) shares around the label, from how far each value lies from it."""
        return F.softmax(-away.square() / (2 * self.sigma**2), dim=1)

    def imitation(self, logits: Tensor, other: Tensor, of: Target) -> Tensor:
        """(B,) half the cross-entropy with the distribution of `other` logits (B, K) over the same values, in nats."""
        return 0.5 * F.cross_entropy(logits, F.softmax(other, dim=1), reduction="none")

    def constant(self, y: Tensor) -> Tensor:
        """(K,) logits of about the answer that costs least for all labels (N,): the mean of what is wanted."""
        return self._wanted(self.values(y) - y[:, None]).mean(dim=0).clamp(min=1e-12).log()

    def decode(self, logits: Tensor) -> Tensor:
        """(B,) median in `unit`: what costs least in absolute error."""
        below = F.softmax(logits.float(), dim=1).cumsum(dim=1) < 0.5
        return self.low + below.sum(dim=1).clamp(max=self.out_features - 1).float()

    def score(self, logits: Tensor, index: int | Tensor | None = None) -> Tensor:
        """(B,) the expected value in units of `std`: a positive attribution raises it. `index` has no meaning here."""
        return (F.softmax(logits, dim=1) * self.values(logits)).sum(dim=1) / self.std


@dataclass(frozen=True)
class TaskSpec:
    """A task: its name, which is its label column in a manifest, and its target."""

    name: str
    target: Classes | Scalar  # or Distribution, which is a Scalar

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "kind": type(self.target).__name__, **asdict(self.target)}

    @staticmethod
    def from_json(card: Mapping[str, Any]) -> "TaskSpec":
        kinds = {"Classes": Classes, "Scalar": Scalar, "Distribution": Distribution}
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in card.items() if k not in ("name", "kind")}
        if card["kind"] not in kinds:
            raise ValueError(f"kind of task {card['name']!r} should be one of {sorted(kinds)}, got {card['kind']!r}")
        return TaskSpec(card["name"], kinds[card["kind"]](**fields))


# UTKFace's own coding: gender 0 male, 1 female; ethnicity 0..4; ages 0 to 116. They are annotations, not identities.
TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("age", Scalar("years", 0, 116)),
        TaskSpec("gender", Classes(("male", "female"))),
        TaskSpec("ethnicity", Classes(("white", "black", "asian", "indian", "others"))),
    )
}
