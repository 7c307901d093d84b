"""A run in a team's own tracker: MLflow gets its parameters, curves and artefacts. Needs the extra `mlflow`."""

import json
import os
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from maskmtl.checkpoint import SEEN
from maskmtl.runs import ABOUT, Run

ARTEFACTS = ("config.json", "metrics.jsonl", "model.safetensors", "model.json", SEEN)
ID = "maskmtl.run_id"
ENDS = {"done": "FINISHED", "failed": "FAILED", "stopped": "KILLED"}


def export(run: Run, uri: str, experiment: str = "maskmtl") -> str:
    """Send a run to the MLflow tracking server or store at `uri`; gives the id it has there.

    Parameters are the settings; metrics are lr, seconds, train_loss.<task> and val.<mask>.<figure>, a step an epoch;
    tags say parent, faces and versions. The time of an epoch is that of the run plus the seconds of all so far.
    Exported again, the same MLflow run gets what is new. Raises ValueError where MLflow is not installed or the server
    refuses.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would tell others of its use
    try:
        from mlflow.entities import Metric, Param, RunTag
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient
    except ImportError as error:
        raise ValueError(f"MLflow should be installed: pip install 'maskmtl[mlflow]' ({error})") from error
    try:
        client = MlflowClient(tracking_uri=uri)
        known = client.get_experiment_by_name(experiment)
        place = known.experiment_id if known is not None else client.create_experiment(experiment)
        found = client.search_runs([place], f"tags.`{ID}` = '{run.id}'", max_results=1)
        time = round(1000 * datetime.fromisoformat(run.created).timestamp())  # ms
        there = found[0] if found else client.create_run(place, time, {ID: run.id}, run.name)
        there_id = there.info.run_id
        about = json.loads((run.folder / ABOUT).read_text())
        tags = {"parent": Path(run.parent).name, "faces": Path(run.faces).name, "state": run.state, **about["versions"]}
        params = {name: str(value) for name, value in asdict(run.config()).items() if name not in there.data.params}
        client.log_batch(
            there_id, params=[Param(name, value) for name, value in params.items()],
            tags=[RunTag(f"maskmtl.{name}", str(value)) for name, value in tags.items()],
        )  # fmt: skip
        sent = int(there.data.tags.get("maskmtl.epochs", 0))
        for line in run.lines():
            epoch = line["epoch"]
            time += round(1000 * line["seconds"])
            if epoch > sent:
                client.log_batch(there_id, metrics=[Metric(*pair, time, epoch) for pair in _metrics(line).items()])
                client.set_tag(there_id, "maskmtl.epochs", epoch)
        for name in ARTEFACTS:
            if (run.folder / name).is_file():
                client.log_artifact(there_id, str(run.folder / name))
        if run.state in ENDS:
            client.set_terminated(there_id, ENDS[run.state], time)
    except (MlflowException, ImportError) as error:  # the latter from stores that need more than the thin client
        words = f"the MLflow server at {uri} should take the run, it says: {error}"
        raise ValueError(re.sub(r"(?<=://)[^/@\s]+@", "", words)) from error  # a page and a log show it: no password
    return str(there_id)


def _metrics(line: dict) -> dict[str, float]:
    found = {"lr": line["lr"], "seconds": line["seconds"], "score": line["score"]}
    found |= {f"train_loss.{task}": value for task, value in line["train_loss"].items()}
    for mask, figures in line["val"].items():
        found |= {f"val.{mask}.{name}".replace(":", "_").replace("#", ""): value for name, value in figures.items()}
    return found
