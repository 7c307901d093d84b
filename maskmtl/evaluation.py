"""Which faces a model may be judged on, and its figures on them."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd

from maskmtl.checkpoint import seen_digests
from maskmtl.inference import predict
from maskmtl.manifest import Faces
from maskmtl.metrics import summary
from maskmtl.networks import MaskMTL
from maskmtl.splits import SPLITS

CHOICES = ("unseen", "all", *SPLITS)


def choose(faces: Faces, model: str, split: str = "unseen") -> Faces:
    """The faces to evaluate `model` (a name or a folder) on.

    'unseen' leaves out every picture that the model was trained or selected on, by the pictures' digests and their
    near-duplicates here, and faces excluded for conflicting annotations; on the data a model was trained on that is
    the test split. 'all' leaves out nothing.
    Raises ValueError for an unknown split, or one without faces.
    """
    if split not in CHOICES:
        raise ValueError(f"split should be one of {list(CHOICES)}, got {split!r}")
    table = faces.table
    if split == "all":
        return faces
    if split == "unseen":
        seen = np.isin(faces.digests, seen_digests(model))
        rows = ~table["group_id"].isin(table["group_id"][seen]) & (table["excluded"] == "")
    else:
        rows = table["split"] == split
    if not rows.any():
        if split == "unseen":
            raise ValueError(
                f"{faces.name} should have faces that {model} has not seen, got none: choose others, or all"
            )
        raise ValueError(f"split {split!r} of {faces.name} should have faces, got none of {len(faces)}")
    return faces if rows.all() else faces.select(rows.to_numpy())


def evaluate(
    model: MaskMTL,
    faces: Faces,
    *,
    masks: Iterable[str] = ("none",),
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Figures per mask ({mask: {'gender_accuracy', 'ethnicity_accuracy', 'age_mae', 'n', ...}}) and the predictions."""
    predictions = predict(model, faces, masks=masks, seed=seed, progress=progress)
    return summary(predictions), predictions
