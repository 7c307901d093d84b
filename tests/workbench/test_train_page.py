"""Training from the sidebar, without a browser: what is queued, what the pages show of it."""

import json
import re
import shutil
import time
from dataclasses import asdict, replace

import pytest

from maskmtl.checkpoint import save_model
from maskmtl.networks import MaskMTL
from maskmtl.queue import work
from maskmtl.runs import Runs
from maskmtl.tasks import TASKS
from maskmtl.training import TrainConfig

TINY = TrainConfig(encoder="conv3", masks=("none",), draws=1, epochs=2, batch_size=64, augment=False)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """An index of its own; nothing is trained in the background."""
    monkeypatch.setenv("MASKMTL_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr("maskmtl.queue.start_worker", lambda runs, device: None)
    return Runs()


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """The folder of a run of two epochs, done."""
    runs = Runs(tmp_path_factory.mktemp("trained"))
    runs.add(TINY, "demo", name="tiny")
    work(runs, "cpu", threads=1)
    return runs.get("tiny").folder


def bring(runs, trained, name, parent=""):
    """That run among these, as a folder that someone copies there, under a name and with a parent."""
    folder = runs.folder / name
    shutil.copytree(trained, folder)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**about, "name": name, "id": name, "parent": parent}))
    return runs.get(name)


def press(at, label):
    return next(button for button in at.button if button.label == label).click().run()


def test_nothing_yet_says_what_to_do(app, runs, say):
    at = app.switch_page("views/train.py").run()
    assert not at.exception and "Nothing has been trained yet" in say(at)


def test_the_form_queues_what_it_shows(app, runs, say):
    at = app.run()
    at.selectbox(key="train_recipe").set_value("hard").run()
    at.selectbox(key="train_balancing_hard").set_value("uncertainty")
    at.multiselect(key="train_masks_hard").set_value(["none"])
    at.number_input(key="train_epochs_hard").set_value(3)
    at.number_input(key="train_seed_hard").set_value(11)
    at.text_input(key="train_name").set_value("mine")
    at = press(at, "Train")
    (run,) = runs.all()
    config = run.config()
    assert (run.name, run.state, run.faces, run.parent) == ("mine", "queued", "demo", "maskmtl-compact")
    assert (config.sharing, config.balancing, config.masks, config.bare) == ("hard", "uncertainty", ("none",), None)
    assert (config.epochs, config.seed, config.encoder) == (3, 11, "conv3")
    assert not at.exception and at.title[0].value == "Train" and "waits for the run before it" in say(at)


def test_the_form_follows_the_chosen_model(app, runs, models, tmp_path):
    """Its fields are those of the model that it starts from, not of the one that was chosen before."""
    for name, sharing in (("one", "hard"), ("two", "soft")):
        save_model(MaskMTL(TASKS), tmp_path / name, {"training": asdict(replace(TINY, sharing=sharing))})
        app.session_state["model"], app.session_state["model_folder"] = "a run folder …", str(tmp_path / name)
        at = app.run()
        assert not at.exception and [box.value for box in at.selectbox if box.label == "Sharing"] == [sharing]


def test_a_parent_may_be_named_in_other_ways_or_be_gone(app, runs, trained):
    first = str(bring(runs, trained, "first").folder)
    default = "maskmtl-compact"
    named = {"first": first, first + "/../first": first, "/gone/for/good": default, "": default}
    for parent, shown in named.items():
        run = bring(runs, trained, "tiny", parent)
        at = app.switch_page("views/train.py").run()
        at.selectbox(key="train_run").set_value(run.id).run()
        at = press(at, f"Compare with {'first (run)' if shown == first else shown}")
        assert not at.exception
        assert at.multiselect(key="compare_models").value == [shown, str(run.folder)]
        runs.delete("tiny")
        app.session_state["compare_models"] = []


def test_a_run_is_not_compared_with_itself(app, runs, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", tmp_path / "none")
    bring(runs, trained, "alone")
    at = app.switch_page("views/train.py").run()
    assert not at.exception and not [button for button in at.button if button.label.startswith("Compare with")]


def test_wrong_input_is_a_sentence(app, runs):
    at = app.run()
    at.text_input(key="train_faces").set_value("/nowhere/at/all")
    at = press(at, "Train")
    assert not at.exception and "There is nothing at /nowhere/at/all" in at.error[0].value
    at.text_input(key="train_faces").set_value("demo")
    at.text_input(key="train_name").set_value("../out")
    at = press(at, "Train")
    assert not at.exception and "name should be letters" in at.error[0].value and runs.all() == []


def test_a_finished_run_is_offered_everywhere(app, runs, trained, say):
    run = bring(runs, trained, "tiny", parent="maskmtl-compact")
    at = app.switch_page("views/train.py").run()
    text = say(at)
    assert not at.exception and "tiny" in text and "2 of 2" in text and "Curves begin" not in text
    best = run.best()["val"]["none"]
    shown = (f"age {best['age_mae']:.1f} years", f"gender {100 * best['gender_accuracy']:.1f} %")
    assert f"bare: {', '.join(shown)}, ethnicity " in text.replace("\N{NO-BREAK SPACE}", " ")
    assert not re.search(r"\bval\b", text, re.IGNORECASE) and "best on validation" in text
    axes = [json.loads(chart.proto.spec)["layout"]["yaxis"] for chart in at.get("plotly_chart")]
    assert {axis["title"]["text"]: axis.get("tickformat") for axis in axes} == {
        "Training loss": None, "Accuracy on validation": ".0%", "Mean absolute error of age on validation, years": None
    }  # fmt: skip
    assert "tiny (run)" in at.selectbox(key="model").options
    at = press(at, "Use this model")
    assert at.selectbox(key="model").value == str(run.folder)
    at = at.switch_page("views/face.py").run()
    assert not at.exception and not at.error and len(at.image) == 8
    at = app.switch_page("views/train.py").run()
    at = press(at, "Compare with maskmtl-compact")
    assert not at.exception and at.multiselect(key="compare_models").value == ["maskmtl-compact", str(run.folder)]
    assert "What tiny (run) changes against maskmtl-compact" in say(at) and "90 of 450" in say(at)


def test_stop_resume_and_delete(app, runs, say):
    run = runs.add(replace(TINY, epochs=4), "demo", name="tiny")
    at = app.switch_page("views/train.py").run()
    at = press(at, "Take it out of the queue")
    assert runs.get("tiny").state == "stopped"
    at = press(at.run(), "Resume")
    assert runs.get("tiny").state == "queued"
    runs.stop("tiny")
    at = press(app.run(), "Delete it")
    assert not at.exception and runs.all() == [] and not run.folder.exists()


def test_a_failed_run_says_why(app, runs, tmp_path, say):
    runs.add(TINY, str(tmp_path / "gone"), name="lost")
    work(runs, "cpu", threads=1)
    at = app.switch_page("views/train.py").run()
    assert not at.exception and "not there" in at.error[0].value


def test_the_end_of_a_run_opens_the_comparison(app, runs, say):
    runs.add(TINY, "demo", name="tiny", parent="maskmtl-compact")
    at = app.switch_page("views/train.py").run()
    assert "waits for the run before it" in say(at)
    work(runs, "cpu", threads=1)
    time.sleep(0.1)
    at = at.run()
    assert not at.exception and at.title[0].value == "Compare"
    assert "What tiny (run) changes against maskmtl-compact" in say(at)


def test_the_end_of_a_run_moves_nobody_who_looks_at_another(app, runs, trained, say):
    other = bring(runs, trained, "other", parent="maskmtl-compact")
    run = runs.add(TINY, "demo", name="mine", parent="maskmtl-compact")
    runs.add(TINY, "demo", name="waits")
    app.query_params["train_run"] = other.id
    at = app.switch_page("views/train.py").run()
    assert at.selectbox(key="train_run").value == other.id
    with runs.claimed("cpu") as claimed:
        assert claimed.id == run.id
        for path in trained.iterdir():
            if path.name in ("model.json", "model.safetensors", "metrics.jsonl", "seen.npy"):
                shutil.copy(path, run.folder)
        runs.finish(claimed)
    at = at.run()
    assert not at.exception and at.title[0].value == "Train" and "mine is done." in say(at)
    at = press(at, "Compare it")  # though another one waits
    assert not at.exception and at.title[0].value == "Compare"
    assert at.multiselect(key="compare_models").value == ["maskmtl-compact", str(run.folder)]


def test_any_page_sees_to_it_that_the_queue_is_worked_on(app, runs, monkeypatch):
    started = []
    monkeypatch.setattr("maskmtl.queue.start_worker", lambda runs, device: started.append(device))
    runs.add(TINY, "demo", name="left")
    at = app.run()
    at.run()
    assert not at.exception and started == ["cpu"]  # once: it may still be starting


def test_a_run_is_sent_to_mlflow(app, runs, trained, tmp_path, monkeypatch, say):
    pytest.importorskip("mlflow", reason="MLflow is not installed: pip install 'maskmtl[mlflow]'")
    from mlflow.tracking import MlflowClient

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    bring(runs, trained, "tiny")
    at = app.switch_page("views/train.py").run()
    at.text_input(key="mlflow_uri").set_value(f"file://{tmp_path}/store").run()
    at = at.button(key="mlflow_export").click().run()
    assert not at.exception and not at.error and "MLflow has the run" in at.success[0].value
    client = MlflowClient(f"file://{tmp_path}/store")
    (found,) = client.search_runs([client.get_experiment_by_name("maskmtl").experiment_id])
    assert found.info.run_name == "tiny" and found.data.metrics["val.none.gender_accuracy"] >= 0


def test_a_broken_index_is_a_sentence_and_the_pages_go_on(app, runs, say):
    runs.folder.mkdir(parents=True)
    (runs.folder / "runs.sqlite").write_bytes(b"nothing of SQLite's" * 100)
    at = app.run()
    assert not at.exception and "can’t be listed" in at.error[0].value and "delete it" in at.error[0].value
    assert at.selectbox(key="model").options == ["maskmtl-compact", "a run folder …"]
    at.switch_page("views/train.py").run()
    assert not at.exception and "can’t be listed" in at.error[0].value


def test_a_run_that_cannot_be_read_is_a_sentence(app, runs, say):
    broken, fine = runs.add(TINY, "demo", name="broken"), runs.add(TINY, "demo", name="fine")
    runs.stop("broken")
    runs.stop("fine")
    (broken.folder / "config.json").write_text("{")
    at = app.switch_page("views/train.py").run()
    text = say(at)
    assert not at.exception and "can’t be read" in text and "broken" in text and "fine" in text
    at.selectbox(key="train_run").set_value(broken.id).run()
    assert not at.exception and "config.json" in at.error[0].value
    (fine.folder / "run.json").unlink()
    at = press(at.selectbox(key="train_run").set_value(broken.id).run(), "Resume")
    assert not at.exception
