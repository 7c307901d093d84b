"""What is known beforehand of faces like an uploaded one: how often a model errs on them, and whether it knows them.

A reference belongs to one model's weights. It holds no pixels: of each unseen annotated face 32 numbers, what the
network's shared features look like along their main directions, beside its annotations and the model's answers.

Unlike the training data: the squared Mahalanobis distance of a face's features in the main directions of the training
faces, plus the squared residual outside of them by its mean over the training faces (cf. Lee et al. 2018, arXiv
1807.03888; Wang et al. 2022, arXiv 2203.10807). Similar faces: the nearest in those directions, each scaled to unit
variance.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from torch import Tensor

from analyses.fairness.intervals import bootstrap_mean, wilson
from maskmtl.dataset import wear
from maskmtl.files import write_atomic
from maskmtl.inference import decode, to_input
from maskmtl.manifest import Faces
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

FILE, FORMAT = "reference.safetensors", "1"
DIRECTIONS = 32
WORN = ("none", "mixed")  # how the faces of a reference are seen
SIMILAR = 200  # faces that a cohort is made of
RARE = 0.01  # of the faces that the model was validated on are warned of
BATCH = 256


@dataclass(frozen=True)
class Reference:
    """See the module. First axis: WORN, where there is one.

    mean (C,), directions (C, D) scaled to unit variance, residual: a number. known: (2, V) distances of validation
    faces, sorted. seen: (2, N, D) faces that the model has not learnt from; y_true (N, T) with NaN where there is no
    annotation, y_pred (2, N, T), tasks in the model's order. split: where those come from.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    residual: float
    known: NDArray[np.float32]
    seen: NDArray[np.float16]
    y_true: NDArray[np.float32]
    y_pred: NDArray[np.float32]
    split: str

    def place(self, features: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (B, C) -> (B, D) in the main directions, and (B,) distances to the training faces."""
        away = features - self.mean
        main = (away @ self.directions).astype(np.float32)
        axes = self.directions / np.linalg.norm(self.directions, axis=0)
        rest = np.square(away).sum(axis=1) - np.square(away @ axes).sum(axis=1)
        distance = np.square(main).sum(axis=1) + np.maximum(rest, 0) / self.residual * self.directions.shape[1]
        return main, distance.astype(np.float32)

    def save(self, folder: Path, model: MaskMTL) -> None:
        """Write it beside the model's weights, which it names."""
        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}
        about = {"format": FORMAT, "model": weights_digest(model), "residual": repr(self.residual), "split": self.split}
        write_atomic(folder / FILE, lambda partial: save_file(arrays, partial, metadata=about))


_ARRAYS = ("mean", "directions", "known", "seen", "y_true", "y_pred")


@dataclass(frozen=True)
class Cohort:
    """Of one face. unlike: share of the validation faces that are farther from the training faces, 0..1; distance.

    table: a row per task: task, value (share right, or mean absolute error in the unit), ci_low, ci_high, n.
    """

    unlike: float
    distance: float
    table: pd.DataFrame

    @property
    def rare(self) -> bool:
        """Whether to warn: fewer than RARE of the validation faces are as unlike the training faces."""
        return self.unlike < RARE


def load_reference(folder: Path, model: MaskMTL) -> Reference | None:
    """The reference of a model's folder, or None where it has none. ValueError for one of other weights."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with safe_open(path, "numpy") as file:
            about, arrays = file.metadata(), {name: file.get_tensor(name) for name in _ARRAYS}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"reference should be a safetensors file, got {str(path)!r}: {error}") from error
    if about.get("format") != FORMAT or about.get("model") != weights_digest(model):
        raise ValueError(f"reference should belong to the weights of {model.name}, got another's: make it again")
    return Reference(**arrays, residual=float(about["residual"]), split=about["split"])


def make_reference(
    model: MaskMTL,
    train: Faces,
    val: Faces,
    unseen: Faces,
    *,
    split: str,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> Reference:
    """Of faces that the model was trained on, those its epoch was chosen by, and those it has not seen (`split`)."""
    total = len(WORN) * (len(train) + len(val) + len(unseen))
    done = 0

    def read(faces: Faces, mask: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        nonlocal done
        features, answers = [], []
        ids = faces.table["face_id"].astype(str).to_numpy()
        for start in range(0, len(faces), BATCH):
            rows = np.arange(start, min(start + BATCH, len(faces)))
            images, points = faces.images[rows], faces.landmarks.points[rows]
            worn = [wear(i, p, f, mask, seed) for i, p, f in zip(images, points, ids[rows], strict=True)]
            x = to_input(np.stack(worn), model)
            features.append(features_of(model, x))
            decoded = decode(model, x)
            answers.append(np.stack([decoded[task]["y_pred"] for task in model.specs], axis=1))
            done += len(rows)
            progress(done, total)
        return np.concatenate(features), np.concatenate(answers).astype(np.float32)

    learnt = np.concatenate([read(train, mask)[0] for mask in WORN])
    mean = learnt.mean(axis=0)
    values, axes = np.linalg.eigh(np.cov(learnt - mean, rowvar=False))
    order = np.argsort(values)[::-1][: min(DIRECTIONS, len(mean) - 1)]
    directions = (axes[:, order] / np.sqrt(np.maximum(values[order], 1e-12))).astype(np.float32)
    residual = float(max(values.sum() - values[order].sum(), 1e-12))
    empty = np.zeros(0, np.float32)
    reference = Reference(mean, directions, residual, empty, np.zeros(0, np.float16), empty, empty, split)
    known = np.stack([np.sort(reference.place(read(val, mask)[0])[1]) for mask in WORN])
    seen, y_pred = zip(*(read(unseen, mask) for mask in WORN), strict=True)
    y_true = np.stack([unseen.table[task].to_numpy(np.float32) for task in model.specs], axis=1)
    places = np.stack([reference.place(features)[0] for features in seen]).astype(np.float16)
    return Reference(mean, directions, residual, known.astype(np.float32), places, y_true, np.stack(y_pred), split)


def cohorts(
    reference: Reference, model: MaskMTL, images: NDArray[np.uint8], masked: Sequence[bool], similar: int = SIMILAR
) -> list[Cohort]:
    """A cohort for each aligned crop (B, H, H, 3) uint8; `masked` says which of them wear a mask."""
    places, distances = reference.place(features_of(model, to_input(images, model)))
    found = []
    for place, distance, worn in zip(places, distances, map(int, masked), strict=True):
        far = np.square(reference.seen[worn].astype(np.float32) - place).sum(axis=1)
        rows = np.argsort(far, kind="stable")[:similar]
        known = reference.known[worn]
        unlike = 1 - np.searchsorted(known, distance) / max(len(known), 1)
        table = _errors(reference, model, rows, worn)
        found.append(Cohort(float(unlike), float(distance), table))
    return found


def _errors(reference: Reference, model: MaskMTL, rows: NDArray[np.intp], worn: int) -> pd.DataFrame:
    lines = []
    for t, (task, spec) in enumerate(model.specs.items()):
        y_true, y_pred = reference.y_true[rows, t], reference.y_pred[worn, rows, t]
        labelled = ~np.isnan(y_true)
        y_true, y_pred, n = y_true[labelled], y_pred[labelled], int(labelled.sum())
        if isinstance(spec.target, Classes):
            hits = int((y_true == y_pred).sum())
            lines.append((task, hits / n if n else np.nan, *wilson(hits, n), n))
        else:
            errors = np.abs(y_true - y_pred)
            lines.append((task, float(errors.mean()) if n else np.nan, *bootstrap_mean(errors, 0), n))
    return pd.DataFrame(lines, columns=["task", "value", "ci_low", "ci_high", "n"])


@torch.inference_mode()
def features_of(model: MaskMTL, x: Tensor) -> NDArray[np.float32]:
    """(B, C): what the heads share, averaged over places; with the mirror image's where the model looks at both."""
    towers: list[Any] = list(model.towers.values()) if model.config["sharing"] == "soft" else [model]

    def pooled(x: Tensor) -> Tensor:
        return torch.cat([tower.attention(tower.encoder(x)).mean(dim=(2, 3)) for tower in towers], dim=1)

    found = 0.5 * (pooled(x) + pooled(x.flip(3))) if model.config["mirror"] else pooled(x)
    return found.float().cpu().numpy()


def weights_digest(model: MaskMTL) -> str:
    """Of all weights: tells one model from another."""
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).tobytes())
    return digest.hexdigest()
