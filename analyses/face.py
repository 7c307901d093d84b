"""One face, bare and masked: what a model reads from it, where that comes from, and what the mask changes."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from analyses.attribution import Attribution, explain, options_of
from analyses.attribution.gate import gate
from analyses.attribution.perturbation import blurred, grey, texture
from analyses.attribution.regions import map_energy, on_grid, worn_with_regions
from analyses.attribution.result import joined, options_for
from maskmtl.dataset import check_masks
from maskmtl.inference import COLUMNS, to_input
from maskmtl.masks import Overlay
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes, TaskSpec


@dataclass(frozen=True)
class FaceReading:
    """What `read_face` found; place i of `masks`, `images`, `regions` and each map is one variant, bare first."""

    masks: tuple[str, ...]
    images: np.ndarray  # (M, H, W, 3) uint8
    regions: np.ndarray  # (M, R, H, W) float32, as face_regions gives them
    material: np.ndarray | None  # (H, W, 3) uint8, nothing but the first mask's; None where no square of it is seen
    predictions: pd.DataFrame  # the table of maskmtl.inference.predict for this one face
    attributions: Mapping[str, Attribution]  # by method
    specs: Mapping[str, TaskSpec]

    def answer(self, task: str, mask: str) -> str:
        """The answer in words: '34.1 years' or 'white 81 %'."""
        value, probabilities = self._result(task, mask)
        target = self.specs[task].target
        if isinstance(target, Classes):
            return f"{target.names[int(value)]} {percent(probabilities[int(value)])}"
        return f"{value:.1f} {target.unit}"

    def change(self, task: str, mask: str) -> str:
        """What `mask` makes of the bare answer: '+3.2 years', 'unchanged, male 98 %', 'white 81 % → black 52 %'."""
        target = self.specs[task].target
        (before, was), (after, now) = self._result(task, "none"), self._result(task, mask)
        if not isinstance(target, Classes):
            difference = round(after, 1) - round(before, 1)  # of what is shown, so that the sum adds up
            return f"{signed(difference)} {target.unit}" if round(difference, 1) else "unchanged"
        old, new = self.answer(task, "none"), self.answer(task, mask)
        if old == new:
            return f"unchanged, {new}"
        if before == after:
            return f"{target.names[int(before)]} {percent(was[int(before)])} → {percent(now[int(after)])}"
        return f"{old} → {new}"

    def annotation(self, task: str) -> str | None:
        """The annotation in words, or None."""
        value = self.predictions.loc[self.predictions["task"] == task, "y_true"].iloc[0]
        return None if np.isnan(value) else label_in_words(self.specs[task], value)

    def has_classes(self, task: str) -> bool:
        return isinstance(self.specs[task].target, Classes)

    def probabilities(self, task: str) -> pd.DataFrame:
        """Classes as rows, variants as columns, 0..1; of a task with classes."""
        target = self.specs[task].target
        if not isinstance(target, Classes):
            raise ValueError(f"task should have classes, got {task!r}, which is in {target.unit}")
        return pd.DataFrame({mask: self._result(task, mask)[1] for mask in self.masks}, index=list(target.names))

    def explained(self, task: str, mask: str) -> str:
        """What the maps of a variant explain: the name of the predicted class, or the task's own name for a value."""
        target = self.specs[task].target
        return target.names[int(self._result(task, mask)[0])] if isinstance(target, Classes) else task

    def maps(self, task: str, method: str) -> dict[str, np.ndarray]:
        """Mask -> raw signed map (h, w)."""
        return dict(zip(self.masks, self.attributions[method].values[task], strict=True))

    def map_table(self) -> pd.DataFrame:
        """Raw map values, long: method, mask, task, explained, row, column, value."""
        frames = []
        for method, attribution in self.attributions.items():
            for task in attribution.values:
                for mask, values in self.maps(task, method).items():
                    row, column = np.indices(values.shape).reshape(2, -1)
                    of_map = {"method": method, "mask": mask, "task": task, "explained": self.explained(task, mask)}
                    frames.append(pd.DataFrame({**of_map, "row": row, "column": column, "value": values.ravel()}))
        return pd.concat(frames, ignore_index=True)

    def energy(self) -> pd.DataFrame:
        """The table of `region_energy` for every map."""
        ids = [str(self.predictions["face_id"].iloc[0])] * len(self.masks)
        tables = [map_energy(attribution, self.regions, ids, self.masks) for attribution in self.attributions.values()]
        return pd.concat(tables, ignore_index=True)

    def _result(self, task: str, mask: str) -> tuple[float, list[float]]:
        rows = self.predictions[(self.predictions["task"] == task) & (self.predictions["mask"] == mask)]
        return float(rows["y_pred"].item()), rows["probabilities"].item()


def read_face(
    model: MaskMTL,
    crop: np.ndarray,
    points: np.ndarray,
    *,
    masks: Iterable[str] = ("none", "surgical"),
    seed: int = 0,
    methods: Iterable[str] = ("gradcam",),
    face_id: str | None = None,
    labels: Mapping[str, float] | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    turn: Callable[[], AbstractContextManager] = nullcontext,
) -> FaceReading:
    """Predict and explain one aligned crop (H, H, 3) uint8 with landmarks (468, 3), bare and under `masks`.

    Each map explains the answer given for its own variant; answers and the maps of the first of `methods` come from one
    forward pass per variant. `seed` and `face_id` draw the mask; face_id defaults to the crop's digest, so that the
    same picture gets the same mask. `labels` are annotations by task, for the table. `progress` hears how many of a
    method's variants are explained, of all methods'; each is explained within a `turn`. ValueError as from `overlay`,
    `to_input` and `explain`, and where there is no method.
    """
    masks, methods = check_masks(("none", *masks)), tuple(dict.fromkeys(methods))
    if not methods:
        raise ValueError("methods should name at least one of METHODS, got none")
    face_id = face_id or "face-" + hashlib.blake2b(np.ascontiguousarray(crop).tobytes(), digest_size=4).hexdigest()
    with turn():
        variants = worn_with_regions(crop, points, face_id, masks, seed=seed, side=len(crop))
    images, regions = np.stack([image for image, _, _ in variants]), np.stack([of for _, of, _ in variants])
    x = to_input(images, model)
    attributions = {}
    for m, method in enumerate(methods):
        own: dict[str, Any] = {}
        if "regions" in options_of(method):
            own["regions"] = on_grid(regions, (model.input_size, model.input_size))
        explained = []
        for i in range(len(masks)):
            with turn():
                explained.append(explain(model, x[i : i + 1], method=method, **options_for(own, slice(i, i + 1))))
            progress(m * len(masks) + i + 1, len(methods) * len(masks))
        attributions[method] = joined(explained, own)
    logits = attributions[methods[0]].logits
    rows = []
    for task, spec in model.specs.items():
        output, label = torch.from_numpy(logits[task]), (labels or {}).get(task, np.nan)
        values = spec.target.decode(output).tolist()
        p = spec.target.probabilities(output).tolist() if isinstance(spec.target, Classes) else [None] * len(masks)
        for i, mask in enumerate(masks):
            rows.append((face_id, None, mask, task, label, values[i], p[i], model.name))
    predictions = pd.DataFrame(rows, columns=COLUMNS)
    material = _material([drawn for _, _, drawn in variants if drawn is not None])
    return FaceReading(masks, images, regions, material, predictions, attributions, model.specs)


def check_maps(
    model: MaskMTL,
    reading: FaceReading,
    *,
    seed: int = 0,
    progress: Callable[[int, int], object] = lambda done, total: None,
    turn: Callable[[], AbstractContextManager] = nullcontext,
) -> pd.DataFrame:
    """The table of `gate` for every map of a reading, with its mask in place of its picture.

    What maps mark is replaced by grey, by blur, and by the first mask's own material where that can be seen. `progress`
    and `turn` as in `gate`, over all methods.
    """
    x = to_input(reading.images, model)
    fills = {"grey": grey(x), "blur": blurred(x)}
    if reading.material is not None:
        fills["mask"] = to_input(np.stack([reading.material] * len(x)), model)
    tables, n = [], len(reading.attributions)
    for i, attribution in enumerate(reading.attributions.values()):

        def of_all(done: int, total: int, i: int = i) -> None:
            progress(i * total + done, n * total)

        tables.append(gate(model, x, attribution, fills=fills, seed=seed, progress=of_all, turn=turn))
    found = pd.concat(tables, ignore_index=True)
    found.insert(0, "mask", [reading.masks[picture] for picture in found.pop("picture")])
    return found


def _material(worn: list[Overlay]) -> np.ndarray | None:
    for drawn in worn:
        try:
            return texture(drawn)
        except ValueError:
            continue
    return None


def describe(specs: Mapping[str, TaskSpec], labels: Mapping[str, float]) -> str:
    """Annotations in words, 'age 27 years, gender female, ethnicity asian'; those that are missing are left out."""
    known = [f"{task} {label_in_words(specs[task], value)}" for task, value in labels.items() if not np.isnan(value)]
    return ", ".join(known) or "no annotations"


def label_in_words(spec: TaskSpec, value: float) -> str:
    """One annotation: 'female', or '27 years'."""
    target = spec.target
    return target.names[int(value)] if isinstance(target, Classes) else f"{value:g} {target.unit}"


def percent(share: float) -> str:
    """0.814 -> '81 %'; a share that is not whole never reads as 0 % or 100 %."""
    if 0 < share < 0.005:
        return "<1\N{NO-BREAK SPACE}%"
    if 0.995 <= share < 1:
        return ">99\N{NO-BREAK SPACE}%"
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def signed(value: float) -> str:
    """3.2 -> '+3.2', with a true minus sign; what rounds to zero is '0.0'."""
    tenths = round(value, 1)
    return f"{tenths:+.1f}".replace("-", "\N{MINUS SIGN}") if tenths else "0.0"
