"""The audit's speed and memory, beside Fairlearn's own bootstrap on the same table and metrics.

    python -m benchmarks.audit [--rows 10000000]

10,000 synthetic faces, bare and masked, three tasks, 35 groups (ethnicity by age band), all metrics, 2,000 replicates;
then a table of `--rows` rows. Each part runs in a process of its own, so that its peak memory is its own.
"""

import argparse
import resource
import time
from multiprocessing import get_context

import numpy as np
import pandas as pd

GROUPS = ["ethnicity*age_band"]
REPLICATES = 2000
THEIRS = 3  # replicates of Fairlearn's bootstrap


def table(faces: int, masks: tuple[str, ...] = ("none", "surgical"), seed: int = 0) -> pd.DataFrame:
    """Answers to three tasks with probabilities, right as often as a fair model's."""
    import pyarrow as pa

    rng = np.random.default_rng(seed)
    labels = {
        "age": rng.integers(0, 90, faces),
        "gender": rng.integers(0, 2, faces),
        "ethnicity": rng.integers(0, 5, faces),
    }
    ids = pd.Series(np.arange(faces).astype(str)).map("face-{}".format)
    parts = []
    for task, truth in labels.items():
        for mask in masks:
            columns = {"face_id": ids, "mask": mask, "task": task, "y_true": truth.astype(float)}
            if task == "age":
                answers, probabilities = truth + rng.normal(0, 6, faces), pa.nulls(faces, pa.list_(pa.float32()))
            else:
                k = int(truth.max()) + 1
                p = rng.exponential(size=(faces, k)).astype(np.float32)
                p[np.arange(faces), truth] += 4
                p /= p.sum(axis=1, keepdims=True)
                answers = p.argmax(axis=1)
                probabilities = pa.ListArray.from_arrays(np.arange(0, faces * k + 1, k, dtype=np.int32), p.ravel())
            columns["y_pred"] = answers.astype(float)
            columns["probabilities"] = pd.Series(probabilities, dtype=pd.ArrowDtype(probabilities.type))
            parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def ours(faces: int) -> dict[str, float]:
    from analyses.fairness import audit

    predictions = table(faces)
    before, start = _memory(), time.perf_counter()
    found = audit(predictions, by=GROUPS, replicates=REPLICATES)
    return {
        "rows": len(predictions),
        "figures": len(found),
        "seconds": time.perf_counter() - start,
        "table": before,
        "peak": _memory(),
    }


def theirs(faces: int) -> dict[str, float]:
    """MetricFrame's bootstrap of the metrics that it can be given as functions of y_true and y_pred."""
    from fairlearn.metrics import MetricFrame
    from sklearn import metrics

    from maskmtl.metrics import age_band

    predictions = table(faces)
    wide = predictions.pivot(index="face_id", columns=["task", "mask"], values=["y_true", "y_pred"])
    groups = pd.DataFrame(
        {"ethnicity": wide["y_true", "ethnicity", "none"], "age_band": age_band(wide["y_true", "age", "none"])}
    )
    of_classes = {
        "accuracy": metrics.accuracy_score,
        "balanced_accuracy": metrics.balanced_accuracy_score,
        "macro_f1": lambda t, p: metrics.f1_score(t, p, average="macro"),
    }
    of_values = {
        "mae": metrics.mean_absolute_error,
        "signed_error": lambda t, p: float(np.mean(p - t)),
        "within_5": lambda t, p: float(np.mean(np.abs(p - t) <= 5)),
    }
    start = time.perf_counter()
    for task, chosen in (("age", of_values), ("gender", of_classes), ("ethnicity", of_classes)):
        for mask in ("none", "surgical"):
            MetricFrame(
                metrics=chosen, y_true=wide["y_true", task, mask], y_pred=wide["y_pred", task, mask],
                sensitive_features=groups,
                n_boot=THEIRS, ci_quantiles=[0.025, 0.975], random_state=0,
            )  # fmt: skip
    return {"seconds": time.perf_counter() - start, "peak": _memory()}


def _memory() -> float:
    """Peak of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _cost(found: dict[str, float]) -> str:
    return f"{found['seconds']:.1f} s, peak {found['peak']:,.0f} MB"


def apart(function, faces: int) -> dict[str, float]:
    import warnings

    warnings.simplefilter("ignore")
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (faces,))


def main() -> None:
    parser = argparse.ArgumentParser("python -m benchmarks.audit", description="The audit's speed and memory.")
    parser.add_argument("--faces", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the large table; 0 leaves it out")
    args = parser.parse_args()
    found, other = apart(ours, args.faces), apart(theirs, args.faces)
    ratio = (other["seconds"] / THEIRS) / (found["seconds"] / REPLICATES)
    print(f"{args.faces:,} faces, 35 groups, {found['figures']:,} figures, {REPLICATES:,} replicates: {_cost(found)}")
    print(f"Fairlearn, six of the metrics, {THEIRS} replicates: {_cost(other)}")
    print(f"a replicate costs Fairlearn {ratio:,.0f} times as much")
    if args.rows:
        found = apart(ours, args.rows // 6)
        print(f"{found['rows']:,} rows: {_cost(found)}, of it the table {found['table']:,.0f} MB")


if __name__ == "__main__":
    main()
