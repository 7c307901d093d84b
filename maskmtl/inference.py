"""Faces to the predictions table."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from maskmtl.dataset import as_tensor, check_masks, wear
from maskmtl.manifest import Faces
from maskmtl.networks import MaskMTL
from maskmtl.photo import shrink
from maskmtl.tasks import Classes, TaskSpec

COLUMNS = ["face_id", "split", "mask", "task", "y_true", "y_pred", "probabilities", "model"]


def to_input(images: np.ndarray, model: MaskMTL) -> Tensor:
    """Aligned crops (N, H, H, 3) uint8 RGB to the model's input (N, C, S, S) in 0..1, on its device."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images should be uint8 (N, H, H, 3), got {images.dtype} {images.shape}")
    size = model.input_size
    small = (
        np.stack([shrink(image, size) for image in images]) if len(images) else np.zeros((0, size, size, 3), np.uint8)
    )
    device = next(model.parameters()).device
    return as_tensor(small, model.input_channels).to(device, memory_format=torch.channels_last)


def predict(
    model: MaskMTL,
    faces: Faces,
    *,
    masks: Iterable[str] = ("none",),
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """Predict every task for every face under every mask.

    Returns a long table, one row per face, mask and task: face_id, split, mask, task, y_true (NaN where there is no
    label), y_pred (a class index, or a value in the task's unit), probabilities (a list per row for classes, else
    None), model. The model is left in the mode in which it came.
    """
    masks = check_masks(masks)
    mode = model.training
    model.eval()
    try:
        tables = []
        for start in range(0, len(faces), batch_size):
            rows = np.arange(start, min(start + batch_size, len(faces)))
            for i, mask in enumerate(masks):
                tables.append(_predict_batch(model, faces, rows, mask, seed))
                if progress is not None:
                    progress(start * len(masks) + (i + 1) * len(rows), len(faces) * len(masks))
    finally:
        model.train(mode)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def predict_draws(
    model: MaskMTL,
    faces: Faces,
    draws: int,
    *,
    masks: Iterable[str],
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> pd.DataFrame:
    """`predict` under several drawings of each mask: its table with a column draw, 0..draws - 1; bare faces are draw 0.

    The seeds are seed, seed + 1 and so on. ValueError for draws below 1.
    """
    if draws < 1:
        raise ValueError(f"draws should be at least 1, got {draws}")
    masks = check_masks(masks)
    worn = [mask for mask in masks if mask != "none"]
    rounds = [masks, *([worn] * (draws - 1) if worn else [])]
    total, tables = len(faces) * sum(map(len, rounds)), []
    for draw, of_round in enumerate(rounds):
        before = len(faces) * sum(map(len, rounds[:draw]))

        def further(done: int, _: int, before: int = before) -> None:
            if progress is not None:
                progress(before + done, total)

        tables.append(predict(model, faces, masks=of_round, seed=seed + draw, progress=further).assign(draw=draw))
    return pd.concat(tables, ignore_index=True)


def decode(model: MaskMTL, x: Tensor) -> dict[str, dict[str, Any]]:
    """One forward pass of inputs (N, C, S, S): task -> y_pred (N,) and probabilities (N, K) or None, in NumPy."""
    with torch.inference_mode():
        logits = {name: output.float() for name, output in _forward(model, x).items()}
    decoded = {}
    for name, spec in model.specs.items():
        probabilities = (
            spec.target.probabilities(logits[name]).cpu().numpy() if isinstance(spec.target, Classes) else None
        )
        decoded[name] = {"y_pred": spec.target.decode(logits[name]).cpu().numpy(), "probabilities": probabilities}
    return decoded


def _forward(model: MaskMTL, x: Tensor) -> dict[str, Tensor]:
    """The outputs; by halves where the GPU's memory runs out, at last on the CPU, where the model then stays."""
    try:
        return dict(model(x))
    except torch.OutOfMemoryError:
        if len(x) == 1 and x.device.type == "cpu":
            raise
        torch.cuda.empty_cache()
    if len(x) == 1:
        leave_gpu(model)
        return _forward(model, x.cpu())
    halves = [_forward(model, half.to(next(model.parameters()).device)) for half in x.chunk(2)]
    return {name: torch.cat([half[name].to(halves[1][name].device) for half in halves]) for name in halves[0]}


def leave_gpu(model: MaskMTL) -> None:
    """Move a model that has no room on its GPU to the CPU, for good."""
    torch.cuda.empty_cache()
    with torch.inference_mode(False):  # or its values could have no gradients any more
        model.cpu()


def _predict_batch(model: MaskMTL, faces: Faces, rows: np.ndarray, mask: str, seed: int) -> pd.DataFrame:
    table = faces.table.iloc[rows]
    images = faces.images[rows]
    points = faces.landmarks.points[rows]
    worn = [wear(i, p, f, mask, seed) for i, p, f in zip(images, points, table["face_id"], strict=True)]
    decoded = decode(model, to_input(np.stack(worn), model))
    parts = []
    for task, result in decoded.items():
        probabilities = result["probabilities"]
        parts.append(
            pd.DataFrame(
                {
                    "face_id": table["face_id"].to_numpy(),
                    "split": table["split"].to_numpy(),
                    "mask": mask,
                    "task": task,
                    "y_true": table[task].to_numpy(float) if task in table else np.nan,
                    "y_pred": result["y_pred"].astype(float),
                    "probabilities": [None] * len(rows) if probabilities is None else probabilities.tolist(),
                    "model": model.name,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def wide(predictions: pd.DataFrame, specs: Mapping[str, TaskSpec]) -> pd.DataFrame:
    """The table for people: one row per face, mask and model, classes by name, one column per probability."""
    frames, keys = [], ["face_id", "mask", "model"]
    for task, part in predictions.groupby("task", sort=False):
        target = specs[str(task)].target
        frame = part.set_index(keys)[["y_true", "y_pred"]].rename(
            columns={"y_true": f"{task}_true", "y_pred": f"{task}_pred"}
        )
        if isinstance(target, Classes):
            names = dict(enumerate(target.names))
            frame = frame.apply(lambda column, names=names: column.map(names))
            p = np.array(part["probabilities"].tolist())
            for i, name in enumerate(target.names):
                frame[f"{task}_p_{name}"] = p[:, i]
        frames.append(frame)
    return pd.concat(frames, axis=1).reset_index()
