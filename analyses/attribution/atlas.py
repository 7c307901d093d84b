"""Where a model looks in each group of faces, bare and masked: mean maps, and the pixels in which they differ.

Maps are averaged as they come, raw and on the layer's grid. The crops are aligned already: turning each map to the mean
landmarks would move it by less than a cell, and the interpolation blurs more than that sharpens.
"""

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control, ttest_ind_from_stats

from analyses.attribution import explain
from analyses.fairness.groups import FEW, UNLABELLED, group_labels
from maskmtl import __version__
from maskmtl.dataset import check_masks, wear
from maskmtl.files import write_atomic, write_bytes
from maskmtl.inference import to_input
from maskmtl.manifest import Faces
from maskmtl.networks import MaskMTL

PERMUTATIONS = 1999  # p is at least 1/2000, so at q = .05 a difference in 1 % of a map's pixels can be found
ARRAYS = ("mean", "error", "change", "change_error", "p")
_MAPS, _TABLE = "maps.npz", "table.parquet"


@dataclass(frozen=True, eq=False)
class Contrast:
    """A difference of two mean maps, its standard error and its p per pixel; each (h, w), p NaN where there is no test:
    with fewer than 20 faces on a side."""

    difference: np.ndarray
    error: np.ndarray
    p: np.ndarray

    def found(self, q: float = 0.05) -> np.ndarray:
        """(h, w) bool: the pixels that differ, of which a share of at most q is expected to be false discoveries.

        Benjamini and Hochberg 1995; the family is the pixels of this one map.
        """
        if not 0 < q < 1:
            raise ValueError(f"q should be between 0 and 1, got {q}")
        if np.isnan(self.p).any():
            return np.zeros(self.p.shape, bool)
        return (false_discovery_control(self.p.ravel()) <= q).reshape(self.p.shape)


@dataclass(frozen=True, eq=False)
class AtlasResult:
    """Mean maps of groups of faces under masks, the first of which is 'none', the bare face.

    The arrays are task -> (G, M, h, w) float64: `mean`, raw and signed; `error`, its standard error; `change`, the mean
    of bare minus masked over the same faces, positive where the mask takes evidence away; `change_error`; and `p` of
    `change`. All are in the unit of the score but p. There is no error of a single face, no change of bare faces, and
    no p of fewer than 20 faces: these are NaN.
    """

    groups: tuple[str, ...]
    masks: tuple[str, ...]
    n: tuple[int, ...]  # faces of each group
    mean: dict[str, np.ndarray]
    error: dict[str, np.ndarray]
    change: dict[str, np.ndarray]
    change_error: dict[str, np.ndarray]
    p: dict[str, np.ndarray]
    about: dict[str, Any]  # what it was made of and with, as JSON can hold it

    def table(self) -> pd.DataFrame:
        """One row per task, group and mask: task, group, mask, n, and found, the share of pixels in which masked differ
        from bare faces at q = .05; NaN for bare faces and where there was no test."""
        rows = []
        for task in self.mean:
            for group, n in zip(self.groups, self.n, strict=True):
                for mask in self.masks:
                    tested = mask != "none" and n >= FEW
                    found = self.mask_change(task, group, mask).found().mean() if tested else np.nan
                    rows.append((task, group, mask, n, found))
        return pd.DataFrame(rows, columns=["task", "group", "mask", "n", "found"])

    def mask_change(self, task: str, group: str, mask: str) -> Contrast:
        """Bare minus masked, of the same faces of a group.

        p is two-sided, of a permutation test (Phipson and Smyth 2010, equation 2): if a mask changed nothing, a face's
        bare and masked map could be swapped. Near-duplicates are swapped together.
        """
        at = self._at(task, group, mask)
        if mask == "none":
            raise ValueError(f"mask should be one of {list(self.masks[1:])}, to compare with the bare face, got 'none'")
        return Contrast(self.change[task][at], self.change_error[task][at], self.p[task][at])

    def group_difference(self, task: str, group: str, mask: str = "none") -> Contrast:
        """A group minus all other faces that have a label, under one mask.

        p is two-sided, of Welch's t test (1947), an approximation; it takes faces as independent. A task with classes
        explains each face's own answer, unless `index` asked for one class of all: groups that are answered differently
        then differ for that alone.
        """
        own, m = self._at(task, group, mask)
        others = [i for i, name in enumerate(self.groups) if i != own and name != UNLABELLED]
        if not others:
            raise ValueError(f"groups should hold another one with labels beside {group!r}, are {list(self.groups)}")
        mean, error = self.mean[task][:, m], np.nan_to_num(self.error[task][:, m])
        size = np.array(self.n, float)[:, None, None]
        n, rest = size[own].item(), size[others].sum()
        rest_mean = (size * mean)[others].sum(axis=0) / rest
        squares = size * (size - 1) * error**2 + size * (mean - rest_mean) ** 2  # within each group, and between them
        rest_error = np.sqrt(squares[others].sum(axis=0) / max(1, rest - 1) / rest)
        p = np.full(rest_mean.shape, np.nan)
        if min(n, rest) >= FEW:
            with np.errstate(divide="ignore", invalid="ignore"):  # the same value in all faces
                p = ttest_ind_from_stats(
                    *(mean[own], error[own] * n**0.5, n), *(rest_mean, rest_error * rest**0.5, rest), equal_var=False
                ).pvalue
            p = np.nan_to_num(p, nan=1.0)
        return Contrast(mean[own] - rest_mean, np.hypot(error[own], rest_error), p)

    def _at(self, task: str, group: str, mask: str) -> tuple[int, int]:
        for name, given, known in (
            ("task", task, self.mean),
            ("group", group, self.groups),
            ("mask", mask, self.masks),
        ):
            if given not in known:
                raise ValueError(f"{name} should be one of {list(known)}, got {given!r}")
        return self.groups.index(group), self.masks.index(mask)

    def save(self, folder: Path) -> None:
        """Write all of it to maps.npz, and `table` to table.parquet for other programs, each at once."""
        head = {"groups": self.groups, "masks": self.masks, "n": self.n, "about": self.about}
        arrays = {f"{name}/{task}": maps for name in ARRAYS for task, maps in getattr(self, name).items()}
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, head=np.array(json.dumps(head)), **arrays)
        write_bytes(folder / _MAPS, buffer.getvalue())
        write_atomic(folder / _TABLE, self.table().to_parquet)

    @classmethod
    def load(cls, folder: Path) -> "AtlasResult":
        """Read what `save` wrote; ValueError for a folder that holds no atlas."""
        if not (folder / _MAPS).is_file():
            raise ValueError(f"folder should hold an atlas's {_MAPS}, got {str(folder)!r}")
        arrays: dict[str, dict[str, np.ndarray]] = {name: {} for name in ARRAYS}
        with np.load(folder / _MAPS, allow_pickle=False) as data:
            head = json.loads(data["head"].item())
            for key in data.files:
                name, _, task = key.partition("/")
                if task:
                    arrays[name][task] = data[key]
        groups, masks, n = (tuple(head[name]) for name in ("groups", "masks", "n"))
        return cls(groups, masks, n, about=head["about"], **arrays)


class _Sums:
    """Of one task: over the faces of each group, for each mask, for each pixel."""

    def __init__(self, groups: int, masks: int, grid: tuple[int, ...], permutations: int) -> None:
        self.maps = np.zeros((groups, masks, *grid))
        self.squares = np.zeros_like(self.maps)
        self.change_squares = np.zeros((groups, masks - 1, *grid))
        self.swapped = np.zeros((groups, 1 + permutations, masks - 1, *grid))  # changes, each time with other signs

    def add(self, group: int, maps: np.ndarray, signs: np.ndarray) -> None:
        """Maps (M, n, h, w) and signs (n, 1 + permutations), which are 1 in the first column."""
        self.maps[group] += maps.sum(axis=1)
        self.squares[group] += np.square(maps).sum(axis=1)
        changes = maps[:1] - maps[1:]
        self.change_squares[group] += np.square(changes).sum(axis=1)
        self.swapped[group] += np.tensordot(signs, changes, axes=(0, 1))

    def p(self, group: int) -> np.ndarray:
        """(M - 1, h, w)"""
        sizes = np.abs(self.swapped[group])
        return (sizes >= sizes[0] * (1 - 1e-9)).mean(axis=0)  # equal sums may differ in their rounding


class Atlas:
    """Sums over faces that come in batches of any size, in any order; memory does not grow with them.

    Args:
        groups: the names of the groups, in the order of the result.
        masks: the first is 'none'.
        permutations: of the test of bare against masked. Each takes the memory of a map in float64 for every task,
            group and mask: 1999 of 24x24 take 9 MB for one task, group and mask.
        seed: of the permutations. Each is drawn from the seed and a face's source alone.
    """

    def __init__(
        self, groups: Sequence[str], masks: Sequence[str], *, permutations: int = PERMUTATIONS, seed: int = 0
    ) -> None:
        if not groups or len(set(groups)) != len(groups):
            raise ValueError(f"groups should be names, at least one and none twice, got {list(groups)}")
        if not masks or masks[0] != "none" or len(set(masks)) != len(masks):
            raise ValueError(f"masks should be 'none' and others, none twice, got {list(masks)}")
        if permutations < 1:
            raise ValueError(f"permutations should be at least 1, got {permutations}")
        self._groups, self._masks = tuple(groups), tuple(masks)
        self._permutations, self._seed = permutations, seed
        self._n = [0] * len(groups)
        self._sums: dict[str, _Sums] = {}

    def add(self, values: Mapping[str, np.ndarray], groups: Sequence[str], sources: Sequence[str]) -> None:
        """Add B faces.

        Args:
            values: task -> (M, B, h, w), raw signed maps under each mask, which answer the same question; the same
                tasks and grids in every batch.
            groups: B names.
            sources: B ids; faces that share one, such as near-duplicates, are permuted as one.

        Raises:
            ValueError: for anything else, with nothing added.
        """
        of_group, wanted = np.array(groups, object), (len(self._masks), len(groups))
        if len(sources) != len(groups):
            raise ValueError(f"groups and sources should be of the same faces, got {len(groups)} and {len(sources)}")
        if unknown := sorted(set(groups) - set(self._groups)):
            raise ValueError(f"groups should be among {list(self._groups)}, got {unknown[0]!r}")
        if not values or (self._sums and set(values) != set(self._sums)):
            raise ValueError(f"values should be of the tasks {list(self._sums) or 'to come'}, got {list(values)}")
        for task, maps in values.items():
            grid = self._sums[task].maps.shape[2:] if self._sums else maps.shape[2:]
            if maps.ndim != 4 or maps.shape != (*wanted, *grid):
                raise ValueError(
                    f"maps of task {task!r} should be (masks, faces, h, w), {(*wanted, *grid)}, got {maps.shape}"
                )
            if not np.isfinite(maps).all():
                raise ValueError(f"maps of task {task!r} should be finite, got NaN or infinity")
        if not self._sums:
            size = len(self._groups), len(self._masks)
            self._sums = {task: _Sums(*size, maps.shape[2:], self._permutations) for task, maps in values.items()}
        signs = np.reshape([self._signs(source) for source in sources], (len(sources), 1 + self._permutations))
        for group, name in enumerate(self._groups):
            rows = np.flatnonzero(of_group == name)
            self._n[group] += len(rows)
            if len(rows):
                for task, maps in values.items():
                    self._sums[task].add(group, maps[:, rows].astype(float), signs[rows])

    def _signs(self, source: str) -> np.ndarray:
        """(1 + permutations,) of 1 and -1; the first, as observed, is 1."""
        drawn = hashlib.shake_256(f"{self._seed}|{source}".encode()).digest(-(-self._permutations // 8))
        bits = np.unpackbits(np.frombuffer(drawn, np.uint8), count=self._permutations)
        return np.concatenate([[1.0], 1.0 - 2.0 * bits])

    def result(self, about: Mapping[str, Any]) -> AtlasResult:
        """Of the faces added so far, of which there should be at least one in each group."""
        if empty := [name for name, n in zip(self._groups, self._n, strict=True) if n == 0]:
            raise ValueError(f"groups should have at least one face each, got none in {empty}")
        n = np.array(self._n, float)[:, None, None, None]
        arrays: dict[str, dict[str, np.ndarray]] = {name: {} for name in ARRAYS}
        for task, sums in self._sums.items():
            change = sums.swapped[:, 0]
            p = np.full(change.shape, np.nan)
            for group, faces in enumerate(self._n):
                if faces >= FEW:
                    p[group] = sums.p(group)
            arrays["mean"][task], arrays["error"][task] = sums.maps / n, _error(sums.maps, sums.squares, n)
            of_masks = {"change": change / n, "change_error": _error(change, sums.change_squares, n), "p": p}
            for name, maps in of_masks.items():
                arrays[name][task] = np.pad(maps, ((0, 0), (1, 0), (0, 0), (0, 0)), constant_values=np.nan)
        return AtlasResult(self._groups, self._masks, tuple(self._n), about=dict(about), **arrays)


def _error(sums: np.ndarray, squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Standard error of the mean, NaN for n = 1."""
    variance = (squares - sums**2 / n).clip(0) / np.where(n > 1, n - 1, np.nan)
    return np.sqrt(variance / n)


def atlas(
    model: MaskMTL,
    faces: Faces,
    *,
    masks: Sequence[str],
    by: str = "ethnicity",
    tasks: Sequence[str] | None = None,
    method: str = "hirescam",
    index: Mapping[str, int] | None = None,
    batch_size: int = 64,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
    turn: Callable[[], AbstractContextManager] = nullcontext,
    **options: Any,
) -> AtlasResult:
    """Mean maps of each group of faces, bare and under each of `masks`, and what each mask changes.

    A face's group is its annotation `by`, as in `group_table`, never a prediction. Masked faces are asked for the class
    that the bare face was given, so that both maps answer the same question; `index`, a class by task, asks the same of
    all. `method` and `options` are those of `explain`. Faces, which may be more than fit in memory, are read and drawn
    `batch_size` at a time. `seed` draws the masks, the same as `predict`, and the permutations. `turn` is entered for
    each batch under each mask: a lock, where others use the model too.
    """
    masks = check_masks(("none", *masks))
    if not len(faces):
        raise ValueError("faces should be at least one, got none")
    if batch_size < 1:
        raise ValueError(f"batch_size should be at least 1, got {batch_size}")
    labels = group_labels(faces.table, by).cat.remove_unused_categories()
    sums = Atlas(list(labels.cat.categories), masks, permutations=permutations, seed=seed)
    names, ids, sources = labels.to_numpy(object), *(faces.table[c].to_numpy() for c in ("face_id", "group_id"))
    for start in range(0, len(faces), batch_size):
        rows = np.arange(start, min(start + batch_size, len(faces)))
        images, points = faces.images[rows], faces.landmarks.points[rows]
        asked: Mapping[str, Any] | None = index
        found = []
        for i, mask in enumerate(masks):
            worn = np.stack([wear(*face, mask, seed) for face in zip(images, points, ids[rows], strict=True)])
            with turn():
                maps = explain(model, to_input(worn, model), tasks=tasks, method=method, index=asked, **options)
            asked = maps.index
            found.append(maps.values)
            if progress is not None:
                progress(start * len(masks) + (i + 1) * len(rows), len(faces) * len(masks))
        sums.add({task: np.stack([of[task] for of in found]) for task in maps.values}, names[rows], sources[rows])
    return sums.result(
        {
            "model": model.name,
            "faces": faces.name,
            "by": by,
            "method": method,
            "options": {name: str(value) for name, value in options.items()},
            "unit": maps.unit,
            "layers": maps.layers,
            "index": dict(index or {}),
            "permutations": permutations,
            "seed": seed,
            "versions": {"maskmtl": __version__, **maps.versions},
        }
    )
