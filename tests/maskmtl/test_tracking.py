"""Against a real store: what a team's tracker would show."""

import sys
from dataclasses import replace

import pytest

from maskmtl.cli import main
from maskmtl.queue import work
from maskmtl.runs import Runs
from maskmtl.tracking import export
from tests.maskmtl.test_runs import TINY

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'maskmtl[mlflow]'")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning:mlflow.*")


@pytest.fixture
def run(tmp_path):
    runs = Runs(tmp_path / "runs")
    runs.add(replace(TINY, masks=("none", "cloth:checks:#aa3300")), "demo", name="mine", parent="maskmtl-fig1")
    work(runs, "cpu", threads=1)
    return runs.get("mine")


def test_a_run_shows_parameters_curves_and_artefacts(run, tmp_path, capsys, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a store that needs no server and no database
    uri = f"file://{tmp_path}/store"
    there = export(run, uri, "audits")
    client = MlflowClient(uri)
    found = client.get_run(there)
    assert found.data.params["encoder"] == "conv3" and found.data.params["epochs"] == "2"
    assert found.data.tags["maskmtl.parent"] == "maskmtl-fig1" and found.info.status == "FINISHED"
    curve = client.get_metric_history(there, "val.none.gender_accuracy")
    figures = [line["val"]["none"]["gender_accuracy"] for line in run.lines()]
    assert [(point.step, point.value) for point in curve] == [(1, figures[0]), (2, figures[1])]
    names = {file.path for file in client.list_artifacts(there)}
    assert names == {"config.json", "metrics.jsonl", "model.json", "model.safetensors", "run.json"}
    assert main(["runs", "export", str(run.folder), "--mlflow", uri, "--experiment", "audits", "--runs",
                 str(run.folder.parent)]) == 0  # fmt: skip
    assert there in capsys.readouterr().out  # the same one, not a second
    assert len(client.get_metric_history(there, "val.none.gender_accuracy")) == 2


def test_without_mlflow_or_its_server(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"the MLflow server at http://127\.0\.0\.1:9 should take the run"):
        export(run, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(ValueError, match=r"pip install 'maskmtl\[mlflow\]'"):
        export(run, "file:///nowhere")
