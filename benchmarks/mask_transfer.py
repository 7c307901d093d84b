"""Do networks learn masks or a renderer? Train on one way to draw masks, test on another.

    python -m benchmarks.mask_transfer PREPARED --run DIR [--faces 6000] [--epochs 12] [--seed 0]

Two networks of the same settings and faces: one trained on bare faces and our masks, one on bare faces and flat ones
(tests/maskmtl/flat_masks.py: templates on six points, after MaskTheFace). Both are tested on test faces under both, of
the same kinds: surgical, cloth, n95. drop = how much worse a network is on the other renderer's masks than on those it
was trained on, the same faces in pairs, with a 95 % bootstrap interval: points of accuracy, years of mean absolute
error. Run it again to go on where it was stopped; the folder keeps the pictures and is larger than the networks.
"""

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.fairness.intervals import bootstrap_mean
from maskmtl.checkpoint import load_model
from maskmtl.files import write_array, write_json
from maskmtl.inference import predict
from maskmtl.manifest import Faces, Pixels, load_faces
from maskmtl.masks import MIXED, mask_seed, overlay
from maskmtl.metrics import errors
from maskmtl.photo import shrink
from maskmtl.tasks import TASKS, Classes
from maskmtl.training import TrainConfig, train
from maskmtl.workers import Workers
from tests.maskmtl.flat_masks import KINDS, flat_overlay

SIDE = 96  # px of the pictures kept, twice the networks' input
CHUNK = 64
SHARES = {"train": 1.0, "val": 0.25, "test": 0.5}  # of --faces


def ours(image: np.ndarray, points: np.ndarray, mask: str, seed: int) -> np.ndarray:
    return overlay(image, points, mask=mask, seed=seed).image


def flat(image: np.ndarray, points: np.ndarray, mask: str, seed: int) -> np.ndarray:
    return flat_overlay(image, points, mask=mask, seed=seed)[0]


def bare(image: np.ndarray, points: np.ndarray, mask: str, seed: int) -> np.ndarray:
    return image


RENDERERS: dict[str, Callable[[np.ndarray, np.ndarray, str, int], np.ndarray]] = {"ours": ours, "flat": flat}


def draw_chunk(job: tuple[np.ndarray, np.ndarray, np.ndarray], *, renderer: Callable, seed: int) -> np.ndarray:
    drawn = []
    for image, points, face_id in zip(*job, strict=True):
        own = mask_seed(seed, face_id, MIXED)
        drawn.append(shrink(renderer(image, points, KINDS[own % len(KINDS)], own), SIDE))
    return np.stack(drawn)


def pictures(faces: Faces, renderer: Callable, seed: int, path: Path) -> np.ndarray:
    """Every face as a renderer draws it, (N, SIDE, SIDE, 3) uint8, kept in a file."""
    if not path.is_file():
        ids = faces.table["face_id"].to_numpy()
        cuts = [slice(i, i + CHUNK) for i in range(0, len(faces), CHUNK)]
        jobs = ((faces.images[c], faces.landmarks.points[c], ids[c]) for c in cuts)
        with Workers(os.cpu_count() or 1) as pool:
            write_array(path, np.concatenate(list(pool.map(partial(draw_chunk, renderer=renderer, seed=seed), jobs))))
    return np.load(path, mmap_mode="r")


def sample(faces: Faces, n: int, seed: int) -> Faces:
    """About n faces for training, and as many more to choose the epoch and to test as SHARES says."""
    rng, rows = np.random.default_rng(seed), []
    usable = faces.landmarks.method != "template"
    for split, share in SHARES.items():
        own = np.flatnonzero(((faces.table["split"] == split) & usable).to_numpy())
        rows.append(rng.permutation(own)[: max(2, round(n * share))])
    return faces.select(np.sort(np.concatenate(rows)))


def masked_and_bare(faces: Faces, masked: np.ndarray, naked: np.ndarray) -> Faces:
    """Each face twice: as drawn and bare."""
    both = faces.select(np.tile(np.arange(len(faces)), 2))
    table = both.table.assign(face_id=[f"{i}-{k}" for k in ("masked", "bare") for i in faces.table["face_id"]])
    return replace(both, table=table, images=Pixels(np.concatenate([masked, naked])))


def report(wrong: dict[tuple[str, str], dict[str, np.ndarray]], seed: int) -> list[dict[str, Any]]:
    """One row per task and network: figures on both renderers' masks and on bare faces, and the drop."""
    rows: list[dict[str, Any]] = []
    for task, spec in TASKS.items():
        classes = isinstance(spec.target, Classes)
        scale = 100 if classes else 1  # accuracy in percent, mean absolute error in years
        for own, other in (("ours", "flat"), ("flat", "ours")):
            row: dict[str, Any] = {
                "task": task,
                "measure": "accuracy, %" if classes else "MAE, years",
                "trained on": own,
            }
            for shown in (*RENDERERS, "bare"):
                mean = scale * float(wrong[own, shown][task].mean())
                row[f"on {shown}"] = round(100 - mean if classes else mean, 2)
            drop = scale * (wrong[own, other][task] - wrong[own, own][task])
            interval = [None if np.isnan(end) else round(end, 2) for end in bootstrap_mean(drop, seed)]
            rows.append({**row, "drop": round(float(drop.mean()), 2), "ci": interval, "n": len(drop)})
    return rows


def tell(name: str, line: dict[str, Any]) -> None:
    print(f"{name}, epoch {line['epoch']}: {line['val']['none']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faces_folder", metavar="PREPARED", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    settings = {"faces": args.faces, "epochs": args.epochs, "seed": args.seed}
    args.run.mkdir(parents=True, exist_ok=True)
    kept = args.run / "settings.json"
    if kept.is_file() and json.loads(kept.read_text()) != settings:
        parser.error(f"--run should be a new folder or one with these settings, got {kept.read_text().strip()}")
    write_json(kept, settings)

    faces = sample(load_faces(args.faces_folder), args.faces, args.seed)
    drawn = {
        name: pictures(faces, renderer, args.seed, args.run / f"{name}.npy")
        for name, renderer in {**RENDERERS, "bare": bare}.items()
    }
    test = np.flatnonzero((faces.table["split"] == "test").to_numpy())
    config = TrainConfig(precision="bf16", masks=("none",), epochs=args.epochs, seed=args.seed)
    wrong = {}
    for name in RENDERERS:
        folder = args.run / name
        train(
            masked_and_bare(faces, drawn[name], drawn["bare"]),
            folder,
            config,
            resume=(folder / "config.json").is_file(),
            log=partial(tell, name),
        )
        model = load_model(folder, "cpu")
        for shown, images in drawn.items():
            chosen = replace(faces, images=Pixels(images)).select(test)
            wrong[name, shown] = errors(predict(model, chosen))
    rows = report(wrong, args.seed)
    write_json(args.run / "transfer.json", rows)
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
