"""One face under many masks: how far each head's answer drifts from the bare face's, and where it flips."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analyses.attribution import explain
from maskmtl.inference import decode, to_input
from maskmtl.masks import MaskSpec, mask_seed, overlay
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes, Target

COLUMNS = (
    "asked", "variant", "kind", "colour", "pattern", "wear", "seed", "coverage", "mask", "task", "y_pred", "answer",
    "bare", "probability", "drift", "flip",
)  # fmt: skip


@dataclass(frozen=True)
class MaskLab:
    """What `mask_lab` found.

    table: COLUMNS, a row per variant and task; asked is the variant's place among those that were asked for, variant
        that among those that could be drawn. drift is y_pred minus the bare face's, in the task's unit, or for
    classes the change of the probability of the bare answer, -1..1; flip: another class than bare (False for values).
    images: (V, H, W, 3) uint8, one a variant. maps: task -> (1 + V, h, w), the bare face's first, raw and signed, each
    for the bare face's answer, so that they can be compared. failed: reasons of the variants that could not be drawn.
    """

    table: pd.DataFrame
    images: np.ndarray
    maps: Mapping[str, np.ndarray]
    failed: Mapping[str, str]

    def flips(self) -> pd.DataFrame:
        """Per task: n variants, flips, the largest drift and the variant that shows it."""
        rows = []
        for task, of_task in self.table.groupby("task", sort=False):
            far = of_task.loc[of_task["drift"].abs().idxmax()]
            rows.append((task, len(of_task), int(of_task["flip"].sum()), far["drift"], int(far["variant"])))
        return pd.DataFrame(rows, columns=["task", "n", "flips", "drift", "variant"])


def mask_lab(
    model: MaskMTL,
    crop: np.ndarray,
    points: np.ndarray,
    variants: Sequence[tuple[MaskSpec, int]],
    *,
    face_id: str,
    presence: float = 1.0,
    method: str = "hirescam",
    progress: Callable[[int, int], object] = lambda done, total: None,
    turn: Callable[[], AbstractContextManager] = nullcontext,
) -> MaskLab:
    """Draw each variant (a mask and the number of its drawing) on an aligned crop (H, W, 3) and read them all at once.

    The drawings are those of every other page: `mask_seed(number, face_id, mask)`. A mask that can't be drawn on this
    face is left out and stands in `failed`. `progress` hears how many are drawn, of all; each is drawn within a `turn`,
    and all are read in one. ValueError where none can be drawn.
    """
    drawn, failed = [], {}
    for asked, (mask, number) in enumerate(variants):
        progress(asked, len(variants))
        try:
            with turn():
                found = overlay(crop, points, mask=mask, seed=mask_seed(number, face_id, mask), presence=presence)
        except ValueError as error:
            failed[f"{mask}, drawing {number}"] = str(error)
        else:
            drawn.append((asked, mask, number, found))
    if not drawn:
        raise ValueError(f"at least one mask should fit this face, got none of {len(variants)}")
    progress(len(variants), len(variants))
    images = np.stack([found.image for *_, found in drawn])
    with turn():
        x = to_input(np.concatenate([crop[None], images]), model)
        decoded = decode(model, x)
        index = {
            task: int(decoded[task]["y_pred"][0])
            for task, spec in model.specs.items()
            if isinstance(spec.target, Classes)
        }
        maps = explain(model, x, method=method, index=index).values
    rows = []
    for task, spec in model.specs.items():
        y_pred, probabilities = decoded[task]["y_pred"], decoded[task]["probabilities"]
        classes = isinstance(spec.target, Classes)
        for v, (asked, mask, number, found) in enumerate(drawn, start=1):
            own, bare = float(y_pred[v]), float(y_pred[0])
            sure = float(probabilities[v, int(bare)]) if classes else float("nan")
            drift = sure - float(probabilities[0, int(bare)]) if classes else own - bare
            made = found.spec
            rows.append((
                asked, v - 1, made.kind, made.colour, made.pattern, made.wear, number, found.coverage, str(mask), task,
                own, _words(spec.target, own), _words(spec.target, bare), sure, drift, classes and own != bare,
            ))  # fmt: skip
    return MaskLab(pd.DataFrame(rows, columns=COLUMNS), images, maps, failed)


def _words(target: Target, value: float) -> str:
    return target.names[int(value)] if isinstance(target, Classes) else f"{value:.1f}"
