"""Against a real store: what a team's tracker would show."""

import sys
from dataclasses import replace

import pytest

from maskmtl.cli import main
from maskmtl.queue import work
from maskmtl.tracking import export
from tests.maskmtl.test_runs import TINY

mlflow = pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'maskmtl[mlflow]'")


@pytest.fixture
def run(runs, few):
    runs.add(replace(TINY, masks=("none", "cloth:checks:#aa3300")), few, name="mine", parent="maskmtl-fig1")
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
    seconds = sum(line["seconds"] for line in run.lines())
    assert curve[1].timestamp == found.info.end_time
    assert found.info.end_time - found.info.start_time == pytest.approx(1000 * seconds, abs=2)
    names = {file.path for file in client.list_artifacts(there)}
    assert names == {"config.json", "metrics.jsonl", "model.json", "model.safetensors", "seen.npy"}
    assert main(["runs", "export", str(run.folder), "--mlflow", uri, "--experiment", "audits", "--runs",
                 str(run.folder.parent)]) == 0  # fmt: skip
    assert there in capsys.readouterr().out  # the same one, not a second
    assert len(client.get_metric_history(there, "val.none.gender_accuracy")) == 2


def test_a_run_that_goes_on_is_the_same_there(run, runs, tmp_path, monkeypatch):
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient(f"file://{tmp_path}/store")
    lines = (run.folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    for state, text, status in (("running", lines[:1], "RUNNING"), ("stopped", lines, "KILLED")):
        (run.folder / "metrics.jsonl").write_text("".join(text))
        there = export(replace(run, state=state), client.tracking_uri)
        assert client.get_run(there).info.status == status
        assert len(client.get_metric_history(there, "train_loss.age")) == len(text)
    assert len(client.search_runs([client.get_run(there).info.experiment_id])) == 1


def test_without_mlflow_or_its_server(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ValueError, match=r"the MLflow server at http://127\.0\.0\.1:9 should take the run"):
        export(run, "http://me:secret@127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(ValueError, match=r"pip install 'maskmtl\[mlflow\]'"):
        export(run, "file:///nowhere")
