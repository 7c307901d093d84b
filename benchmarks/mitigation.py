"""Does mitigation after training serve the groups better, and what does it cost?

    python -m benchmarks.mitigation PREPARED [--split val] [--masks none,surgical] [--seed 0] [--predictions FILE]

The default model's answers on the split, halved at random with near-duplicates on one side: each method of
analyses/fairness/mitigation.py is fitted on one half and measured on the other, before and after on the same faces.
Figures in points, the Brier score times 100; intervals of a change at 95 %, each for itself. With --predictions the
answers are kept there and not computed again. 'by chance': the share of answers that hang on the seed.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from analyses.fairness import audit
from analyses.fairness.mitigation import mitigate
from analyses.fairness.models import compare_models
from analyses.fairness.samples import ALL
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.evaluation import choose
from maskmtl.files import write_atomic
from maskmtl.inference import predict
from maskmtl.manifest import load_faces

PLAN = (  # task, method, by, judged by
    ("gender", "temperature", ALL, "ethnicity"),
    ("gender", "temperature", "ethnicity", "ethnicity"),
    ("gender", "temperature", "age_band", "age_band"),
    ("gender", "equalized_odds", "ethnicity", "ethnicity"),
    ("gender", "true_positive_rate_parity", "ethnicity", "ethnicity"),
    ("gender", "demographic_parity", "ethnicity", "ethnicity"),
    ("gender", "equalized_odds", "age_band", "age_band"),
    ("gender", "true_positive_rate_parity", "age_band", "age_band"),
    ("ethnicity", "temperature", ALL, "gender"),
    ("ethnicity", "temperature", "gender", "gender"),
    ("ethnicity", "temperature", "age_band", "age_band"),
)
SHOWN = (  # metric, statistic
    ("accuracy", "value"),
    ("calibration_error", "value"),
    ("brier", "value"),
    ("accuracy", "worst"),
    ("equalized_odds", "range"),
)


def answers(prepared: Path, split: str, masks: list[str]) -> pd.DataFrame:
    faces = choose(load_faces(prepared), DEFAULT_MODEL, split)
    predictions = predict(load_model(DEFAULT_MODEL, "cpu"), faces, masks=masks)
    return predictions.merge(faces.table[["face_id", "group_id"]])


def halves(predictions: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    groups = np.random.default_rng(seed).permutation(np.unique(predictions["group_id"]))
    first = predictions["group_id"].isin(groups[: len(groups) // 2])
    return predictions[first], predictions[~first]


def cell(rows: list[pd.DataFrame], metric: str, statistic: str, by: str) -> str:
    """'93.8 → 89.3 [-5.9, -3.2]' of audits before and after and their comparison."""
    before, after, change = (
        table[(table["metric"] == metric) & (table["statistic"] == of) & (table["by"] == by)]
        for table, of in zip(rows, (statistic, statistic, "change" if statistic == "value" else statistic), strict=True)
    )
    if before.empty:
        return "–"
    if after.empty:
        return f"{100 * before['value'].item():.1f} → none"
    text = f"{100 * before['value'].item():.1f} → {100 * after['value'].item():.1f}"
    low, high = change["ci_low"].item(), change["ci_high"].item()
    return text if np.isnan(low) else f"{text} [{100 * low:+.1f}, {100 * high:+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prepared", metavar="PREPARED", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--masks", type=lambda text: text.split(","), default=["none", "surgical"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--predictions", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.predictions and args.predictions.is_file():
        predictions = pd.read_parquet(args.predictions)
    else:
        predictions = answers(args.prepared, args.split, args.masks)
        if args.predictions:
            write_atomic(args.predictions, lambda partial: predictions.to_parquet(partial, index=False))
    fit, assessed = halves(predictions, args.seed)
    print(f"{DEFAULT_MODEL}, {args.split}: fitted on {fit['face_id'].nunique():,} faces, measured on")
    print(f"{assessed['face_id'].nunique():,} others, seed {args.seed}.\n")
    names = [*(f"{statistic} {metric}".removeprefix("value ").replace("_", " ") for metric, statistic in SHOWN)]
    head = ["task", "method", "by", "mask", *names, "by chance, %"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for task, method, by, judged in PLAN:
        after = mitigate(fit, assessed, task=task, method=method, by=by, seed=args.seed)
        again = mitigate(fit, assessed, task=task, method=method, by=by, seed=args.seed + 1)
        tables = [audit(assessed, by=[judged]), audit(after, by=[judged]), compare_models(assessed, after, by=[judged])]
        for mask in args.masks:
            rows = [table[(table["task"] == task) & (table["mask"] == mask)] for table in tables]
            cells = [cell(rows, metric, of, ALL if of == "value" else judged) for metric, of in SHOWN]
            here = (after["task"] == task) & (after["mask"] == mask)
            chance = (after.loc[here, "y_pred"] != again.loc[here, "y_pred"]).mean()
            print("| " + " | ".join([task, method, by, mask, *cells, f"{100 * chance:.1f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
