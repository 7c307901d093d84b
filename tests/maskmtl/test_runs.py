import errno
import json
import os
import shutil
import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pandas as pd
import pytest
import torch

from maskmtl.checkpoint import load_model, save_model
from maskmtl.cli import main
from maskmtl.manifest import load_faces
from maskmtl.networks import MaskMTL
from maskmtl.runs import ABOUT, INDEX, Runs, compare, is_alive
from maskmtl.tasks import TASKS
from maskmtl.training import TrainConfig

TINY = TrainConfig(encoder="conv3", masks=("none",), draws=1, epochs=2, batch_size=16, augment=False)


def lose(runs):
    for file in runs.folder.glob(f"{INDEX}*"):
        file.unlink()


def add_many(folder, start):
    for i in range(start, start + 100):
        Runs(folder).add(TINY, "demo", name=f"run{i}")


def test_nothing_is_made_before_a_run_is(tmp_path):
    runs = Runs(tmp_path / "none")
    assert runs.all() == [] and not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"run should be one of \[\], got 'x'"):
        runs.get("x")


def test_two_processes_write_at_once(runs):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(add_many, [runs.folder] * 2, [0, 100]))
    assert {run.name for run in runs.all()} == {f"run{i}" for i in range(200)}
    assert all(run.state == "queued" and run.config() == TINY for run in runs.all())


def test_names(runs):
    first, second = runs.add(TINY, "demo", name="mine"), runs.add(TINY, "demo", name="mine")
    assert (first.name, second.name) == ("mine", "mine-2") and first.folder.parent == runs.folder
    assert runs.add(TINY, "demo", name="").name == "conv3-hierarchical-fixed"
    assert runs.add(TINY, "demo", name="faces").name == "faces-2"  # where faces are prepared into
    for hostile in ("../out", "a/b", ".hidden", "x" * 81, "a\nb", "-x", "a\x00b"):
        with pytest.raises(ValueError, match="name should be letters"):
            runs.add(TINY, "demo", name=hostile)
    with pytest.raises(ValueError, match="faces should be 'demo' or a path, got none"):
        runs.add(TINY, "")
    assert runs.get("mine-2") == runs.get(second.id) == runs.get(str(second.folder)) == second
    for hostile in ("../mine", "", "mine/../../.."):
        with pytest.raises(ValueError, match="run should be one of"):
            runs.get(hostile)


def test_a_lost_index_is_made_again(runs):
    first = runs.add(TINY, "demo", name="first", parent="maskmtl-fig1")
    runs.add(replace(TINY, seed=3), "demo", name="second")
    lose(runs)
    (runs.folder / "theirs").mkdir()
    (runs.folder / "theirs" / ABOUT).write_text("{}")
    again = {run.name: run for run in runs.all()}
    assert set(again) == {"first", "second"}
    assert again["first"] == replace(first, state="stopped") and again["second"].config().seed == 3
    runs.resume("first")
    assert runs.get("first").state == "queued"
    stamp = (runs.folder / INDEX).stat().st_mtime_ns
    runs.all()
    assert (runs.folder / INDEX).stat().st_mtime_ns == stamp  # whoever looks writes nothing


def test_an_index_that_is_lost_while_a_run_is_alive(runs):
    runs.add(TINY, "demo", name="mine")
    with runs.claimed("cpu") as run:
        lose(runs)
        assert not runs.asked_to_stop(run)
        assert runs.get("mine").state == "running"
        runs.stop("mine")
        assert runs.asked_to_stop(run)
        lose(runs)
        runs.all()
        runs.finish(run)
    assert runs.get("mine").state == "done"
    lose(runs)
    assert runs.get("mine").state == "done"


def test_an_index_that_is_broken_is_said_to_be(runs, capsys):
    runs.add(TINY, "demo")
    lose(runs)
    (runs.folder / INDEX).write_bytes(b"rubbish" * 1000)
    assert main(["runs", "list", "--runs", str(runs.folder)]) == 1
    err = capsys.readouterr().err
    assert "delete it, the folders make it anew" in err and "Traceback" not in err
    with pytest.raises(OSError, match="the index of runs should be SQLite's"):
        runs.add(TINY, "demo")


def test_folders_that_are_moved_and_copied(runs):
    run = runs.add(TINY, "demo", name="mine")
    shutil.copytree(run.folder, runs.folder / "copy")
    for _ in range(2):
        found = {run.name: run for run in runs.all()}
        assert set(found) == {"mine", "mine-2"} and found["mine"] == run
        assert found["mine-2"].folder.name == "copy" and found["mine-2"].id != run.id
    run.folder.rename(runs.folder / "elsewhere")
    found = {run.name: run for run in runs.all()}
    assert set(found) == {"mine", "mine-2"} and found["mine"].id == run.id
    assert found["mine"].folder.name == "elsewhere"


def test_a_folder_that_has_gone_is_no_run(runs):
    run, other = runs.add(TINY, "demo", name="gone"), runs.add(TINY, "demo", name="other")
    shutil.rmtree(run.folder)
    assert [run.name for run in runs.all()] == ["other"] and runs.asked_to_stop(run)
    with runs.claimed("cpu") as claimed:
        assert claimed.id == other.id
    assert runs.add(TINY, "demo", name="gone").name == "gone"


def test_stop_resume_delete(runs):
    run = runs.add(TINY, "demo")
    with pytest.raises(ValueError, match=r"stopped or failed to be resumed, .* is queued"):
        runs.resume(run.id)
    runs.stop(run.id)
    assert runs.get(run.id).state == "stopped"
    runs.resume(run.id)
    with runs.claimed("cpu") as claimed:
        assert claimed.id == run.id and runs.get(run.id).state == "running" and is_alive(run.folder)
        assert not runs.asked_to_stop(run)
        runs.stop(run.id)
        assert runs.asked_to_stop(run)
        with pytest.raises(ValueError, match="is: stop it first"):
            runs.delete(run.id)
        with runs.claimed("cpu") as other:
            assert other is None
    assert runs.get(run.id).state == "stopped" and not is_alive(run.folder)
    runs.delete(run.id)
    assert runs.all() == [] and not run.folder.exists()


def test_a_folder_is_trained_by_one_process_at_a_time(runs, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    with runs.recorded(folder, "demo", "cpu") as run:
        first = (folder / ABOUT).read_text()
        with pytest.raises(ValueError, match="one process at a time"), runs.recorded(folder, "elsewhere", "cpu"):
            pass
        assert runs.get("own") == run and (folder / ABOUT).read_text() == first
        runs.add(TINY, "demo", name="another")  # and the index is not held up
    assert runs.get("own").state == "stopped"
    with runs.recorded(folder, "demo", "cpu") as again:
        assert again.id == run.id


def test_whoever_looks_for_life_is_not_in_the_way(runs):
    run = runs.add(TINY, "demo")
    looking = threading.Event()

    def look():
        while not looking.is_set():
            is_alive(run.folder)

    threads = [threading.Thread(target=look) for _ in range(4)]
    (run.folder / ".lock").touch()
    for thread in threads:
        thread.start()
    try:
        with runs.claimed("cpu") as claimed:
            assert claimed is not None and is_alive(run.folder)
    finally:
        looking.set()
        for thread in threads:
            thread.join()


def test_a_gpu_has_one_queue_whatever_it_is_called(runs, monkeypatch):
    monkeypatch.setattr("maskmtl.runs.usable_device", lambda device: torch.device(device or "cuda"))
    names = {runs.add(TINY, "demo", device=device).device for device in ("", "cuda", "cuda:0")}
    assert names == {"cuda:0"} and runs.add(TINY, "demo", device="cuda:1").device == "cuda:1"


def test_a_runs_name_is_a_models_name(runs, monkeypatch):
    monkeypatch.setenv("MASKMTL_RUNS", str(runs.folder))
    run = runs.add(TINY, "demo", name="mine")
    assert not run.has_model()
    with pytest.raises(ValueError, match="model should be one of"):
        load_model("mine", "cpu")
    save_model(MaskMTL(TASKS), run.folder, {})
    assert run.has_model() and load_model("mine", "cpu").name == "mine"


def test_commands(runs, few, capsys):
    def say(*words):
        code = main(["runs", words[0], "--runs", str(runs.folder), *words[1:]])
        return code, capsys.readouterr()

    assert "no runs yet" in say("list")[1].out
    runs.add(TINY, few, name="one")
    runs.add(replace(TINY, lr=2e-3), few, name="two")
    assert [run["name"] for run in json.loads(say("list", "--json")[1].out)] == ["two", "one"]
    code, said = say("work", "--threads", "1")
    assert code == 0 and "one: epoch 2" in said.out and "two: epoch 2" in said.out
    out = say("compare", "one", "two")[1].out
    assert "lr" in out and "0.002" in out and "gender_accuracy" in out and "batch_size" not in out
    told = json.loads(say("compare", "one", "two", "--json")[1].out)
    assert told["settings"] == {"one": {"lr": 0.001}, "two": {"lr": 0.002}} and told["val"]["one"]["n"] == 10
    settings, figures = compare([runs.get("one"), runs.get("two")])
    assert list(settings.index) == ["lr"]
    best = runs.get("one").best()
    assert figures.loc["none gender_accuracy", "one"] == best["val"]["none"]["gender_accuracy"]
    assert "epoch 2" in say("show", "one")[1].out
    code, said = say("delete", "three")
    assert code == 2 and "['two', 'one']" in said.err
    assert say("delete", "one")[0] == 0 and [run.name for run in runs.all()] == ["two"]


@pytest.fixture
def train(few, runs, monkeypatch):
    """`maskmtl train`, on few faces."""
    monkeypatch.setenv("MASKMTL_RUNS", str(runs.folder))
    flags = ["--encoder", "conv3", "--masks", "none", "--epochs", "2", "--batch-size", "16", "--threads", "1"]
    return lambda folder, *more, faces=few: main(["train", faces, "--run", str(folder), *flags, *more])


class TestTrain:
    def test_is_recorded(self, train, runs, tmp_path, few, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert train("own", faces=os.path.relpath(few)) == 0
        (run,) = runs.all()
        assert (run.name, run.state, run.folder) == ("own", "done", tmp_path / "own")
        assert os.path.isabs(run.faces) and os.path.samefile(run.faces, few) and run.config().encoder == "conv3"
        assert train("own") == 2 and runs.all() == [run]

    def test_is_not_recorded_when_it_is_refused(self, train, runs, tmp_path, few, capsys):
        table = pd.read_parquet(f"{few}/manifest.parquet")
        shutil.copytree(few, tmp_path / "unlabelled")
        table.assign(gender=float("nan")).to_parquet(tmp_path / "unlabelled" / "manifest.parquet")
        assert train(tmp_path / "own", faces=str(tmp_path / "unlabelled")) == 2
        assert "labels for gender" in capsys.readouterr().err and runs.all() == []
        assert load_faces(tmp_path / "unlabelled").table["gender"].isna().all()

    def test_says_why_it_failed(self, train, runs, tmp_path, capsys, monkeypatch):
        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device", "last.safetensors")

        monkeypatch.setattr("maskmtl.training.save_tensors", full)
        assert train(tmp_path / "own") == 1
        (run,) = runs.all()
        assert (run.state, run.error) == ("failed", "No space left on device: last.safetensors")
        assert run.error in capsys.readouterr().err

    def test_stops_when_the_index_asks(self, train, runs, tmp_path, capsys, monkeypatch):
        monkeypatch.setattr("maskmtl.runs.Runs.asked_to_stop", lambda self, run: run.name == "own")
        assert train(tmp_path / "own") == 130
        assert "go on with --resume" in capsys.readouterr().out and runs.get("own").state == "stopped"

    def test_does_not_need_an_index(self, train, tmp_path, monkeypatch, capsys):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("MASKMTL_RUNS", str(tmp_path / "file"))
        assert train(tmp_path / "own") == 0
        assert "the index of runs does not know of this run" in capsys.readouterr().err
        assert (tmp_path / "own" / "model.safetensors").is_file()

    def test_leaves_nothing_when_it_is_refused(self, train, tmp_path, capsys):
        own = tmp_path / "own"
        assert train(own, "--encoder", "resnet18") == 2 and "sharing" in capsys.readouterr().err
        assert not own.exists()
        assert train(own, "--encoder", "conv3") == 0

    def test_without_enough_memory(self, train, tmp_path, capsys, monkeypatch):
        def full(*args, **settings):
            raise torch.OutOfMemoryError("CUDA out of memory")

        with monkeypatch.context() as small:
            small.setattr("maskmtl.training.learning_rate", full)
            assert train(tmp_path / "own") == 1
        assert "smaller --batch-size" in capsys.readouterr().err
        assert train(tmp_path / "own", "--batch-size", "8") == 0

    def test_finds_its_teacher_from_elsewhere(self, train, runs, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert train("teacher") == 0 and train("own", "--teacher", "teacher") == 0
        assert runs.get("own").config().teacher == str(tmp_path / "teacher")

    def test_on_faces_that_can_not_be_written_beside(self, train, few, tmp_path, monkeypatch):
        monkeypatch.setattr("maskmtl.training.os.access", lambda folder, mode: False)
        assert train(tmp_path / "own") == 0 and (tmp_path / "own" / "variants").is_dir()

    def test_outlives_its_index(self, train, tmp_path, runs, monkeypatch, capsys):
        def gone(self, run, error=None):
            raise OSError("database or disk is full")

        monkeypatch.setattr("maskmtl.runs.Runs.finish", gone)
        assert train(tmp_path / "own") == 0
        assert "disk is full" in capsys.readouterr().err and runs.get("own").state == "stopped"


def test_a_writer_waits_for_whoever_writes_or_reads(runs):
    """Also the first one, which makes the index."""
    runs.folder.mkdir()
    for begin in ("BEGIN IMMEDIATE", "BEGIN"):
        other = sqlite3.connect(runs.folder / INDEX, isolation_level=None, check_same_thread=False)
        other.execute(begin)
        other.execute("SELECT * FROM sqlite_master").fetchall()
        end = threading.Timer(0.3, lambda database=other: (database.execute("ROLLBACK"), database.close()))
        end.start()
        runs.add(TINY, "demo", name="mine")
        assert end.finished.is_set()
        end.join()
    assert len(runs.all()) == 2


def test_a_run_resumes_on_another_device(runs, few, capsys, monkeypatch):
    """As one that comes from a machine with a GPU."""
    run = runs.add(TINY, few, name="one")
    runs.stop("one")
    about = json.loads((run.folder / "run.json").read_text())
    (run.folder / "run.json").write_text(json.dumps({**about, "device": "cuda:7"}))
    for path in runs.folder.glob("runs.sqlite*"):  # the folder makes it anew
        path.unlink()
    started = []
    monkeypatch.setattr("maskmtl.queue.start_worker", lambda runs, device, threads: started.append((device, threads)))
    asked = ["runs", "resume", "one", "--runs", str(runs.folder)]
    assert main(asked) == 2 and "cuda" in capsys.readouterr().err and runs.get("one").state == "stopped"
    assert main([*asked, "--device", "cpu", "--threads", "0"]) == 2 and runs.get("one").state == "stopped"
    assert main([*asked, "--device", "cpu", "--threads", "1"]) == 0 and started == [("cpu", 1)]
    assert (runs.get("one").state, runs.get("one").device) == ("queued", "cpu")
    assert json.loads((run.folder / "run.json").read_text())["device"] == "cpu"
