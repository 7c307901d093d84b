"""What does minding groups cost, and what does it bring the group that is read worst?

    python -m benchmarks.fairness PREPARED --run DIR [--epochs 20] [--split val] [--threads N]

Trains the default recipe for --epochs, once plainly and once with balanced sampling, group DRO and an adversary each,
the same faces and seed, and evaluates each on bare faces and a mix of masks. Groups: annotated ethnicity by gender. One
line per variant, mask and task: the figure over all faces, the worst group with its n and 95 % interval, and both as
change against the plain run. Run it again to go on where it was stopped.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from analyses.fairness import group_table
from maskmtl.checkpoint import load_model
from maskmtl.evaluation import choose
from maskmtl.fairness import FAIRNESS
from maskmtl.files import write_text
from maskmtl.inference import predict
from maskmtl.manifest import Faces, load_faces
from maskmtl.recipes import RECIPES
from maskmtl.tasks import TASKS
from maskmtl.training import train

MASKS = ("none", "mixed")


def with_groups(faces: Faces) -> Faces:
    """Faces with the column 'group': 'black female'."""
    names = [TASKS[task].target.names for task in ("ethnicity", "gender")]
    known = faces.table[["ethnicity", "gender"]].dropna().astype(int)
    group = known.apply(lambda row: f"{names[0][row['ethnicity']]} {names[1][row['gender']]}", axis=1)
    return replace(faces, table=faces.table.assign(group=group, everyone="all"))


def figures(run: Path, faces: Faces, name: str) -> pd.DataFrame:
    model = load_model(run, "cpu")
    predictions = predict(model, faces, masks=list(MASKS))
    groups, everyone = (group_table(predictions, faces.table, by) for by in ("group", "everyone"))
    lines: list[dict[str, object]] = []
    for (mask, task, metric), rows in groups[groups["metric"].isin(("accuracy", "mae"))].groupby(
        ["mask", "task", "metric"], sort=False
    ):
        rows = rows[rows["flag"] == ""]  # at least 100 faces
        worst = rows.loc[rows["value"].idxmin() if metric == "accuracy" else rows["value"].idxmax()]
        same = (everyone["mask"] == mask) & (everyone["task"] == task) & (everyone["metric"] == metric)
        lines.append(
            {
                "variant": name,
                "mask": mask,
                "task": task,
                "metric": metric,
                "all": everyone.loc[same, "value"].item(),
                "worst": worst["value"],
                "worst_low": worst["ci_low"],
                "worst_high": worst["ci_high"],
                "worst_group": worst["group"],
                "worst_n": worst["n"],
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", metavar="PREPARED", type=Path)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--split", default="val")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    faces = load_faces(args.prepared)
    tables = {fairness: args.run / f"{fairness}-{args.split}.csv" for fairness in FAIRNESS}
    for fairness, found in tables.items():
        folder = args.run / fairness
        config = replace(RECIPES["default"].config, epochs=args.epochs, fairness=fairness)
        if not found.is_file():
            resume = (folder / "config.json").is_file()
            train(
                faces,
                folder,
                config,
                resume=resume,
                cache=args.prepared / "variants",
                log=lambda line: print(line["epoch"]),
            )
            chosen = with_groups(choose(faces, str(folder), args.split))
            write_text(found, figures(folder, chosen, fairness).to_csv(index=False))
    table = pd.concat([pd.read_csv(found) for found in tables.values()])
    plain = table[table["variant"] == "none"].set_index(["mask", "task"])
    at = pd.MultiIndex.from_frame(table[["mask", "task"]])
    for column in ("all", "worst"):
        table[f"{column}_change"] = table[column].to_numpy() - plain.loc[at, column].to_numpy()
    print(table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
