"""Do the audit's verdicts and intervals keep what they promise? Simulated tables with known truth.

    python -m benchmarks.audit_simulation [--null 1000] [--planted 300] [--replicates 500] [--processes 2]

Prints three Markdown tables: how often a test alarms where nothing differs (5 % promised), how often an interval holds
the truth (95 % promised) where groups and masks do differ, and how often a gap of 0, 4, 8 and 12 points in one of ten
intersections of 300 faces is found and named.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from multiprocessing import get_context

import numpy as np
import pandas as pd

SIZES = np.array([40, 60, 100, 150, 250, 300, 500, 600])
GROUP = np.repeat([f"g{i}" for i in range(len(SIZES))], SIZES)
FACES = len(GROUP)
SHARES = "accuracy", "within_5", "minors_read_18"
KEY = ["task", "metric", "statistic"]


def faces(rng: np.random.Generator, *, differ: bool) -> pd.DataFrame:
    """Bare and masked answers: right with the chances `p`, ages off by a normal law of standard deviation `sd`."""
    p, sd, cost = chances(differ)
    at = np.repeat(np.arange(len(SIZES)), SIZES)
    truth, age, level = rng.integers(0, 2, FACES), rng.uniform(5, 80, FACES), rng.random(FACES)
    shift, parts = rng.normal(size=FACES), []
    for mask in ("none", "surgical"):
        lost = cost[at] if mask == "surgical" else 0.0
        # a face keeps most of its luck under a mask, as real ones do
        luck = np.where(rng.random(FACES) < 0.7, level, rng.random(FACES))
        right = luck < p[at] - lost
        said = np.clip(p[at] - lost + OVERSURE, 0, 1)
        answers = np.where(right, truth, 1 - truth)
        sure = np.where(answers[:, None] == np.arange(2), said[:, None], 1 - said[:, None])
        off = (0.8 * shift + 0.6 * rng.normal(size=FACES)) * sd[at] + 20 * lost
        common = {"face_id": np.arange(FACES), "mask": mask, "group": GROUP}
        parts.append(
            pd.DataFrame({**common, "task": "gender", "y_true": truth, "y_pred": answers, "probabilities": list(sure)})
        )
        parts.append(pd.DataFrame({**common, "task": "age", "y_true": age, "y_pred": age + off, "probabilities": None}))
    return pd.concat(parts, ignore_index=True)


OVERSURE = 0.03  # by how much confidence exceeds being right


def chances(differ: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each group: share of right answers, standard deviation of age errors, what a mask costs of that share."""
    n = len(SIZES)
    if not differ:
        return np.full(n, 0.9), np.full(n, 6.0), np.zeros(n)
    return np.linspace(0.95, 0.80, n), np.linspace(4, 8, n), np.linspace(0.0, 0.06, n)


def truths() -> dict[tuple[str, str, str], np.ndarray]:
    """(task, metric, statistic) -> the masked faces' true value in each group, where groups and masks differ."""
    p, sd, cost = chances(True)

    def gap(value: np.ndarray) -> np.ndarray:
        return value - (value @ SIZES - value * SIZES) / (FACES - SIZES)

    found = {}
    for task, metric, bare, masked in (
        ("gender", "accuracy", p, p - cost),
        ("gender", "balanced_accuracy", p, p - cost),
        ("gender", "calibration_error", np.full(len(p), OVERSURE), np.full(len(p), OVERSURE)),
        ("age", "mae", _folded(0, sd), _folded(20 * cost, sd)),
        ("age", "signed_error", 0 * sd, 20 * cost),
    ):
        found[task, metric, "value"] = masked
        found[task, metric, "change"] = masked - bare
        if metric not in ("balanced_accuracy", "calibration_error"):  # not means: no sum over the others
            found[task, metric, "gap"] = gap(masked)
            found[task, metric, "change_gap"] = gap(masked - bare)
    return found


def _folded(mean: np.ndarray | float, sd: np.ndarray) -> np.ndarray:
    """Mean absolute value of a normal variable."""
    from scipy.stats import norm

    return sd * np.sqrt(2 / np.pi) * np.exp(-(mean**2) / (2 * sd**2)) + mean * (1 - 2 * norm.cdf(-mean / sd))


def alarms(replicates: int, seed: int) -> pd.DataFrame:
    """Of each test of one table without differences: its p-value and verdict."""
    from analyses.fairness import audit

    found = audit(faces(np.random.default_rng(seed), differ=False), by=["group"], seed=seed, replicates=replicates)
    tested = found[found["p_value"].notna() & ((found["by"] == "group") | (found["statistic"] == "change"))]
    return tested[[*KEY, "mask", "by", "group", "n", "p_value", "p_adjusted", "family", "verdict"]].assign(seed=seed)


def held(replicates: int, seed: int) -> pd.DataFrame:
    """Whether each interval of one table with differences holds the truth."""
    from analyses.fairness import audit

    found = audit(faces(np.random.default_rng(seed), differ=True), by=["group"], seed=seed, replicates=replicates)
    found = found[(found["by"] == "group") & (found["mask"] == "surgical")]
    parts = []
    for (task, metric, statistic), truth in truths().items():
        rows = found[(found[KEY] == (task, metric, statistic)).all(axis=1)].dropna(subset="ci_low")
        wanted = rows["group"].str[1:].astype(int).map(dict(enumerate(truth)))
        parts.append(rows.assign(held=(rows["ci_low"] <= wanted) & (wanted <= rows["ci_high"])))
    return pd.concat(parts)[[*KEY, "n", "held"]]


def planted(replicates: int, share: float, gap: float, seed: int) -> tuple[bool, bool, int]:
    """One of ten intersections of 300 faces is read right in share - gap, the others in share.

    Whether it is found and named the worst, whether the range alarms, and how many others alarm.
    """
    from analyses.fairness import audit

    rng = np.random.default_rng(seed)
    cells = pd.MultiIndex.from_product([["a", "b", "c", "d", "e"], ["x", "y"]], names=["first", "second"]).repeat(300)
    table = cells.to_frame(index=False)
    bad = (table["first"] == "c") & (table["second"] == "y")
    right = rng.random(len(table)) < np.where(bad, share - gap, share)
    table = table.assign(face_id=np.arange(len(table)), task="gender", y_true=1.0, y_pred=right.astype(float))
    found = audit(table, by=["first*second"], seed=seed, replicates=replicates)
    here = found[(found["by"] == "first*second") & (found["metric"] == "accuracy")]
    gaps = here[here["statistic"] == "gap"].set_index("group")["verdict"] == "gap"
    worst = here.loc[here["statistic"] == "worst", "group"].item()
    spread = here.loc[here["statistic"] == "range", "verdict"].item() == "gap"
    return bool(gaps["c, y"] and worst == "c, y"), spread, int(gaps.drop("c, y").sum())


def _each(pool, function: Callable, n: int) -> Iterator:
    return pool.imap_unordered(function, range(n), chunksize=4)


def _start() -> None:
    import torch

    torch.set_num_threads(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--null", type=int, default=1000, help="tables without differences")
    parser.add_argument("--planted", type=int, default=300, help="tables with differences")
    parser.add_argument("--replicates", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    args = parser.parse_args()
    with get_context("spawn").Pool(args.processes, _start) as pool:
        null = pd.concat(_each(pool, partial(alarms, args.replicates), args.null))
        null["alarm"] = null["p_value"] <= 0.05
        print(f"\nAlarms without any difference, {args.null} tables of {FACES} faces in {len(SIZES)} groups\n")
        print("| task | metric | statistic | groups below 100 | groups from 100 | all |\n|---|---|---|---|---|---|")
        for key, rows in null.groupby(KEY, sort=False):
            small, large = rows.loc[rows["n"] < 100, "alarm"], rows.loc[rows["n"] >= 100, "alarm"]
            print(
                "|",
                " | ".join([*key, *(f"{it.mean():.3f}" if len(it) else "–" for it in (small, large, rows["alarm"]))]),
                "|",
            )
        declared = null[null["family"] == "declared"]
        family = (declared["verdict"] == "gap").groupby([declared[c] for c in (*KEY, "mask", "by", "seed")]).any()
        print(
            "\nAny alarm in a declared family, by the verdict\n\n"
            "| task | statistic | families with an alarm | families |\n|---|---|---|---|"
        )
        for (task, statistic), rows in family.groupby(level=["task", "statistic"], sort=False):
            print(f"| {task} | {statistic} | {rows.mean():.3f} | {len(rows):,} |")

        rows = pd.concat(_each(pool, partial(held, args.replicates), args.planted))
        print(f"\nIntervals that hold the truth, {args.planted} tables with differences\n")
        print("| task | metric | statistic | groups below 100 | groups from 100 | all |\n|---|---|---|---|---|---|")
        for key, of_key in rows.groupby(KEY, sort=False):
            small, large = of_key.loc[of_key["n"] < 100, "held"], of_key.loc[of_key["n"] >= 100, "held"]
            print("|", " | ".join([*key, *(f"{it.mean():.3f}" for it in (small, large, of_key["held"]))]), "|")

        print("\nA gap in one of ten intersections of 300 faces, 100 tables each\n")
        print(
            "| read right | planted gap | found and named | range found | other alarms a table |\n|---|---|---|---|---|"
        )
        for share, gap in product((0.95, 0.935, 0.90), (0.0, 0.04, 0.08, 0.12)):
            found = list(_each(pool, partial(planted, args.replicates, share, gap), 100))
            named, spread, others = (np.array(column) for column in zip(*found, strict=True))
            print(
                f"| {share} | {100 * gap:.0f} points | {named.sum()} | {spread.sum()} | {others.mean():.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
