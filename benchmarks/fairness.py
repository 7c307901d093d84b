"""What does minding groups cost, and what does it bring the group that is read worst?

    python -m benchmarks.fairness PREPARED --run DIR [--epochs 16] [--split val] [--threads N]
        [--trainings none,balanced,...]

Trains the default recipe for --epochs: plainly, with balanced sampling, group DRO and an adversary each, and plainly
with another seed, which says how much is chance. Faces are read bare and under a mix of masks; groups are annotated
ethnicity by gender, of at least 100 faces. One line a mask, task and training: over all faces, in the group that the
plain run reads worst, and in its own worst. Changes are against the plain run on the same faces, with 95 % intervals,
each for itself, which know of the faces' chance and not of the training's. Run it again to go on where it was stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from analyses.fairness import audit
from analyses.fairness.audit import select
from analyses.fairness.models import compare_models
from analyses.fairness.samples import ALL
from maskmtl.checkpoint import load_model
from maskmtl.evaluation import choose
from maskmtl.fairness import FAIRNESS
from maskmtl.files import write_atomic
from maskmtl.inference import predict
from maskmtl.manifest import Faces, load_faces
from maskmtl.recipes import RECIPES
from maskmtl.training import train

PLAIN = "none"
VARIANTS = {name: {"fairness": name} for name in FAIRNESS} | {"none, another seed": {"seed": 1}}
MASKS = ("none", "mixed")
METRICS = {"gender": "accuracy", "ethnicity": "accuracy", "age": "mae"}
GROUPS = "ethnicity*gender"
HEAD = ("mask", "task", "training", "all", "change", "the plain run's worst", "change", "own worst")


def answers(prepared: Path, faces: Faces, run: Path, name: str, epochs: int, split: str) -> pd.DataFrame:
    """Predictions of one variant, which is trained where it is missing."""
    folder = run / f"{name.replace(', ', '-').replace(' ', '-')}-{epochs}"
    found = folder.with_name(f"{folder.name}-{split}.parquet")
    if not found.is_file():
        config = replace(RECIPES["default"].config, epochs=epochs, **VARIANTS[name])
        train(
            faces,
            folder,
            config,
            resume=(folder / "config.json").is_file(),
            cache=prepared / "variants",
            log=lambda line: print(name, line["epoch"], flush=True),
        )
        predictions = predict(load_model(folder, "cpu"), choose(faces, str(folder), split), masks=list(MASKS))
        write_atomic(found, lambda partial: predictions.assign(model=name).to_parquet(partial, index=False))
    return pd.read_parquet(found)


def text(metric: str, value: float, form: str = "") -> str:
    """A share in points, an error in years."""
    return f"{100 * value:{form}.1f}" if metric == "accuracy" else f"{value:{form}.2f}"


def cells(metric: str, own: pd.DataFrame, changes: pd.DataFrame, worst: str) -> list[str]:
    """Of one variant, mask and task: HEAD from 'all' on. `own` are rows of audit, `changes` of compare_models."""
    found = []
    for by, group in ((ALL, own.loc[own["by"] == ALL, "group"].iloc[0]), (GROUPS, worst)):
        value = select(own, by=by, group=group)
        found.append(text(metric, value["value"].item()))
        change = select(changes, by=by, group=group)
        if change.empty:  # the plain run itself
            low, high = (text(metric, value[name].item()) for name in ("ci_low", "ci_high"))
            found.append(f"n {value['n'].item():,}, {low} to {high}")
            continue
        figures = [text(metric, change[name].item(), "+") for name in ("value", "ci_low", "ci_high")]
        found.append("{} [{}, {}]".format(*figures))
    last = worst_of(metric, own)
    return [*found, f"{text(metric, last['value'])} {last['group']}, n {last['n']:,}"]


def worst_of(metric: str, own: pd.DataFrame) -> pd.Series:
    groups = own[(own["by"] == GROUPS) & (own["flag"] == "")]  # at least 100 faces
    if groups.empty:
        raise SystemExit("faces should have a group of ethnicity and gender of at least 100 in the split, got none")
    return groups.loc[groups["value"].idxmin() if metric == "accuracy" else groups["value"].idxmax()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", metavar="PREPARED", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--split", default="val")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--trainings", type=lambda text: text.split(","), default=list(VARIANTS), metavar="NAMES")
    args = parser.parse_args()
    names = list(dict.fromkeys([PLAIN, *args.trainings]))
    torch.set_num_threads(args.threads)
    faces = load_faces(args.prepared)
    tables = {name: answers(args.prepared, faces, args.run, name, args.epochs, args.split) for name in names}
    audits = {name: select(audit(table, by=[GROUPS]), statistic="value") for name, table in tables.items()}
    changes = {
        name: select(compare_models(tables[PLAIN], table, by=[GROUPS]), statistic="change")
        for name, table in tables.items()
        if name != PLAIN
    }
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for mask in MASKS:
        for task, metric in METRICS.items():
            asked = {"mask": mask, "task": task, "metric": metric}
            worst = worst_of(metric, select(audits[PLAIN], **asked))["group"]
            for name in names:
                own = select(audits[name], **asked)
                change = select(changes[name], **asked) if name != PLAIN else own.iloc[:0]
                print("| " + " | ".join([mask, task, name, *cells(metric, own, change, worst)]) + " |")


if __name__ == "__main__":
    main()
