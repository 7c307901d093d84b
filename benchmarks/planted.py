"""Which methods find the evidence where it is known to be, and does the gate tell right maps from wrong ones?

    python -m benchmarks.planted [--n 500] [--encoders compact,conv3] [--methods all] [--gate hirescam]
        [--gate-n 200] [--threads N] [--out DIR]

Trains a network for each encoder on planted faces (analyses/planted.py) and asks every method where the evidence of
right answers lies, on faces that it has not seen; 'random' are smooth random maps. Columns per question: the pointing
game with its 95 % interval, and the lift of the positive energy on the cue. A hit is a maximum in a cell of the map's
own grid that holds some of the cue; 'chance' is what a maximum anywhere would score. The region methods are told four
regions, the three cues and all else, as landmarks tell them on faces, so their chance is one in four.

The gate is asked about --gate-n faces' maps by the methods of --gate: right maps, whose maximum is in the cue; the same
method's maps of the network with redrawn weights; and random maps of the same norm. The check for noise explains each
picture again, which would tell the last two as foreign at once, so they are judged without it. Wanted: at least .95 of
the first pass, at most .05 of the others. With --out, planted.md and planted.json are written as well.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch

from analyses.attribution import METHODS, Attribution, explain, options_of
from analyses.attribution.gate import Thresholds, gate
from analyses.attribution.randomisation import redrawn
from analyses.fairness.intervals import wilson
from analyses.planted import PlantedFaces, cue_table, find_cues, planted_faces, planted_labels, train_planted
from maskmtl.dataset import as_tensor
from maskmtl.files import write_json, write_text
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes

STEPS = {"compact": 240, "conv3": 300}
LAYERS = {  # beside the encoder's last activation
    "compact": ("encoder.early.0", "encoder.early.2", "encoder.early.4", "attention"),
    "conv3": ("encoder.norm1", "encoder.norm2", "attention"),
}
SEED, UNSEEN = 0, 1
BATCH = 50


def regions_of(faces: PlantedFaces) -> np.ndarray:
    """(N, 4, 48, 48) the three cues and all else."""
    cues = np.stack(list(faces.regions.values()), axis=1)
    return np.concatenate([cues, ~cues.any(axis=1, keepdims=True)], axis=1).astype(np.float32)


def random_maps(like: Attribution, rng: np.random.Generator) -> Attribution:
    """Smooth noise on the grid of the maps that it replaces, of their norm."""
    values = {}
    for task, maps in like.values.items():
        coarse = rng.normal(size=(len(maps), 6, 6)).astype(np.float32)
        noise = np.stack([cv2.resize(one, maps.shape[:0:-1], interpolation=cv2.INTER_LINEAR) for one in coarse])
        size = np.linalg.norm(maps, axis=(1, 2)) / np.linalg.norm(noise, axis=(1, 2))
        values[task] = noise * size[:, None, None]
    return replace(like, values=values)


def attributions(
    model: MaskMTL, faces: PlantedFaces, method: str, options: Mapping[str, Any]
) -> Iterator[tuple[PlantedFaces, torch.Tensor, Attribution]]:
    """In batches."""
    for first in range(0, len(faces), BATCH):
        few = faces.select(slice(first, first + BATCH))
        x = as_tensor(few.images, 3)
        own = {"regions": regions_of(few)} if "regions" in options_of(method) else {}
        yield few, x, explain(model, x, method=method, **own, **options)


def accuracy(model: MaskMTL, faces: PlantedFaces) -> dict[str, float]:
    """Task -> share of right classes, or mean absolute error in years."""
    found = {task: [] for task in model.specs}
    with torch.inference_mode():
        for first in range(0, len(faces), BATCH):
            for task, logits in model(as_tensor(faces.images[first : first + BATCH], 3)).items():
                found[task].append(model.specs[task].target.decode(logits).numpy())
    figures = {}
    for task, spec in model.specs.items():
        off = np.abs(np.concatenate(found[task]) - faces.labels[task].to_numpy())
        figures[task] = float((off == 0).mean() if isinstance(spec.target, Classes) else off.mean())
    return figures


def localisation(model: MaskMTL, faces: PlantedFaces, methods: list[str], layers: tuple[str, ...]) -> pd.DataFrame:
    jobs: list[tuple[str, str, dict[str, Any]]] = [(method, method, {}) for method in methods]
    jobs += [
        (f"{method} at {layer}", method, {"layer": layer})
        for method in ("gradcam", "hirescam")
        if method in methods
        for layer in layers
    ]
    tables, rng = [], np.random.default_rng(SEED)
    for name, method, options in jobs:
        started = time.process_time()
        for few, _, attribution in attributions(model, faces, method, options):
            found = find_cues(attribution, few, model.specs).assign(method=name)
            if "regions" in options_of(method):
                found["chance"] = 1 / attribution.options["regions"].shape[1]
            tables.append(found)
            if name == methods[0]:
                tables.append(find_cues(random_maps(attribution, rng), few, model.specs).assign(method="random"))
        print(f"{name}: {time.process_time() - started:.0f} s", file=sys.stderr, flush=True)
    return cue_table(pd.concat(tables), seed=SEED)


def gate_table(model: MaskMTL, faces: PlantedFaces, methods: list[str]) -> pd.DataFrame:
    """One row per method, kind of map and question: share passed, its Wilson interval, n, and why others failed."""
    learnt = [name for name, module in model.named_modules() if [*module.parameters(recurse=False)]]
    other = redrawn(model, learnt, seed=SEED + 100)  # not the gate's own draws
    rng = np.random.default_rng(SEED)
    verdicts = []
    for method in methods:
        for few, x, attribution in attributions(model, faces, method, {}):
            found = find_cues(attribution, few, model.specs)
            hits = found[found["hit"]]
            wrong = explain(other, x, method=method, index=attribution.index, **attribution.options)
            kinds = {
                "right": attribution,
                "redrawn": replace(attribution, values=wrong.values),
                "random": random_maps(attribution, rng),
            }
            for kind, maps in kinds.items():
                wanted = Thresholds() if kind == "right" else Thresholds(noise=math.inf)
                judged = gate(model, x, maps, thresholds=wanted, seed=SEED)
                for question, of_question in (hits if kind == "right" else found).groupby("question", sort=False):
                    rows = judged[judged["task"] == str(question).split(",")[0]].set_index("picture")
                    chosen = rows.loc[of_question["picture"], ["passed", "reason"]]
                    verdicts.append(chosen.assign(method=method, maps=kind, question=question))
    rows = []
    for (method, kind, question), of_kind in pd.concat(verdicts).groupby(["method", "maps", "question"], sort=False):
        n, passed = len(of_kind), int(of_kind["passed"].sum())
        low, high = wilson(passed, n)
        reasons = of_kind.loc[~of_kind["passed"], "reason"].str.split("; ").explode().value_counts().to_dict()
        labels = {"method": method, "maps": kind, "question": question}
        rows.append({**labels, "passed": passed / n, "low": low, "high": high, "n": n, "failed": reasons})
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """A row per method, two columns per question."""
    questions = list(dict.fromkeys(table["question"]))
    n = table[table["method"] == "random"].set_index("question")["n"]
    head = "| method | " + " | ".join(f"{q} (n {n[q]}) | chance | lift" for q in questions) + " |"
    lines = [head, "|---|" + "---|" * 3 * len(questions)]
    for method, of_method in table.groupby("method", sort=False):
        cells = []
        for row in of_method.set_index("question").loc[questions].itertuples():
            cells += [f"{row.pointing:.3f} ({row.pointing_low:.2f}–{row.pointing_high:.2f})", f"{row.chance:.2f}"]
            lift = f"{row.lift:.1f} ({row.lift_low:.1f}–{row.lift_high:.1f})"
            cells.append("silent" if row.silent == row.n else lift + (f", {row.silent} silent" if row.silent else ""))
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def gate_markdown(table: pd.DataFrame) -> str:
    lines = [
        "| method | maps | question | passed | n | most frequent reason of the others |",
        "|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        reason = next(iter(row.failed), "")
        passed = f"{row.passed:.3f} ({row.low:.2f}–{row.high:.2f})"
        lines.append(f"| {row.method} | {row.maps} | {row.question} | {passed} | {row.n} | {reason} |")
    return "\n".join(lines)


def main() -> None:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=500)
    parser.add_argument("--encoders", type=names, default=list(STEPS))
    parser.add_argument("--methods", type=names, default=list(METHODS))
    parser.add_argument("--gate", type=names, default=["hirescam"], help="methods; '' for none")
    parser.add_argument("--gate-n", type=int, default=200)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faces = planted_faces(planted_labels(args.n, UNSEEN), UNSEEN)
    pages, results = [], {}
    for encoder in args.encoders:
        started = time.process_time()
        model = train_planted(encoder, seed=SEED, steps=STEPS[encoder])
        seconds = time.process_time() - started
        right = accuracy(model, faces)
        figures = ", ".join(f"{task} {value:.3f}" for task, value in right.items())
        pages.append(
            f"## {encoder}\n\nAccuracy (age: mean absolute error, years): {figures}; trained in {seconds:.0f} s."
        )
        table = localisation(model, faces, args.methods, LAYERS[encoder])
        pages.append(markdown(table))
        known = table.astype(object).where(table.notna(), None)  # a silent map has no lift
        results[encoder] = {"accuracy": right, "seconds": seconds, "n": args.n, "methods": known.to_dict("records")}
        if args.gate:
            judged = gate_table(model, faces.select(slice(args.gate_n)), args.gate)
            pages.append(gate_markdown(judged))
            results[encoder]["gate"] = judged.to_dict("records")
    page, result = "\n\n".join(pages) + "\n", json.dumps(results, indent=2)
    print(page)
    print(result)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(args.out / "planted.md", page)
        write_json(args.out / "planted.json", results)


if __name__ == "__main__":
    main()
