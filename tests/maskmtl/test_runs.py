import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest
import torch

from maskmtl.checkpoint import load_tensors
from maskmtl.cli import main
from maskmtl.manifest import is_prepared, training_folder
from maskmtl.paths import ROOT
from maskmtl.queue import start_worker, work
from maskmtl.runs import ABOUT, INDEX, Runs, compare, is_alive
from maskmtl.training import Stopped, TrainConfig

TINY = TrainConfig(encoder="conv3", masks=("none",), draws=1, epochs=2, batch_size=64, augment=False)
WAIT = 120  # s, on a busy machine


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "runs")


def until(asked, what):
    for _ in range(WAIT * 10):
        if asked():
            return
        time.sleep(0.1)
    pytest.fail(f"{what} within {WAIT} s")


def add_many(folder, start):
    for i in range(start, start + 25):
        Runs(folder).add(TINY, "demo", name=f"run{i}")


def test_nothing_is_made_before_a_run_is(tmp_path):
    runs = Runs(tmp_path / "none")
    assert runs.all() == [] and not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"run should be one of \[\], got 'x'"):
        runs.get("x")


def test_two_processes_write_at_once(runs):
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        list(pool.map(add_many, [runs.folder] * 2, [0, 25]))
    assert {run.name for run in runs.all()} == {f"run{i}" for i in range(50)}
    assert all(run.state == "queued" and run.config() == TINY for run in runs.all())


def test_names(runs):
    first, second = runs.add(TINY, "demo", name="mine"), runs.add(TINY, "demo", name="mine")
    assert (first.name, second.name) == ("mine", "mine-2") and first.folder.parent == runs.folder
    assert runs.add(TINY, "demo").name == "conv3-hierarchical-fixed"
    for hostile in ("../out", "a/b", ".hidden", "x" * 81, "a\nb"):
        with pytest.raises(ValueError, match="name should be letters"):
            runs.add(TINY, "demo", name=hostile)
    assert runs.get("mine-2") == runs.get(second.id) == runs.get(str(second.folder)) == second


def test_a_lost_index_is_made_again(runs):
    first = runs.add(TINY, "demo", name="first", parent="maskmtl-fig1")
    runs.add(replace(TINY, seed=3), "demo", name="second")
    for file in runs.folder.glob(f"{INDEX}*"):
        file.unlink()
    (runs.folder / "theirs").mkdir()
    (runs.folder / "theirs" / ABOUT).write_text("{}")
    again = {run.name: run for run in runs.all()}
    assert set(again) == {"first", "second"}
    assert again["first"] == replace(first, state="stopped") and again["second"].config().seed == 3
    runs.resume("first")
    assert runs.get("first").state == "queued"


def test_a_folder_that_has_gone_is_no_run(runs):
    run = runs.add(TINY, "demo", name="gone")
    for file in run.folder.iterdir():
        file.unlink()
    run.folder.rmdir()
    assert runs.all() == [] and runs.add(TINY, "demo", name="gone").name in ("gone", "gone-2")


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


def test_work_trains_what_is_queued_and_keeps_what_failed(runs, tmp_path):
    lost = runs.add(TINY, str(tmp_path / "nowhere"), name="lost")
    good = runs.add(TINY, "demo", name="good", parent="maskmtl-fig1")
    work(runs, "cpu", threads=1)
    lost, good = runs.get(lost.id), runs.get(good.id)
    assert lost.state == "failed" and "not there" in lost.error and "not there" in (lost.folder / "log.txt").read_text()
    assert good.state == "done" and good.has_model() and good.status() is None
    table = good.metrics()
    assert set(table["part"]) == {"train", "val"} and table["epoch"].max() == 2
    assert set(table.query("part == 'val' and task == 'gender'")["metric"]) == {"accuracy"}
    about = json.loads((good.folder / ABOUT).read_text())
    assert about["finished"] and about["parent"] == "maskmtl-fig1" and about["versions"]["torch"] == torch.__version__
    for file in runs.folder.glob(f"{INDEX}*"):
        file.unlink()
    assert runs.get("good").state == "done"


def worker(runs):
    command = [sys.executable, "-m", "maskmtl.cli", "runs", "work", "--device", "cpu", "--threads", "1", "--runs"]
    return subprocess.Popen([*command, str(runs.folder)], cwd=ROOT)


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(runs):
    config = replace(TINY, epochs=3)
    whole, broken = runs.add(config, "demo", name="whole"), runs.add(config, "demo", name="broken")
    work(runs, "cpu", threads=1, stop=lambda: runs.get("whole").state == "done")
    process = worker(runs)
    until(lambda: len(broken.lines()) == 1, "an epoch should be done")
    status = runs.get("broken").status()
    assert runs.get("broken").state == "running" and status.phase == "training" and status.epochs == 3
    process.kill()
    process.wait()
    assert runs.get("broken").state == "stopped"
    runs.resume("broken")
    work(runs, "cpu", threads=1)
    assert runs.get("broken").state == "done"
    one, other = (load_tensors(run.folder / "last.safetensors") for run in (whole, broken))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_workers_train_one_after_another(runs):
    for name in ("first", "second"):
        runs.add(TINY, "demo", name=name)
    workers = [worker(runs), worker(runs)]
    most = 0
    while any(process.poll() is None for process in workers):
        most = max(most, sum(run.state == "running" for run in runs.all()))
        time.sleep(0.05)
    assert most == 1 and [run.state for run in runs.all()] == ["done", "done"]


def test_a_detached_worker_stops_when_asked(runs):
    run = runs.add(replace(TINY, epochs=50), "demo")
    start_worker(runs, "cpu")
    until(lambda: run.lines(), "an epoch should be done")
    start_worker(runs, "cpu")  # there is one
    runs.stop(run.id)
    until(lambda: runs.get(run.id).state == "stopped", "it should stop")
    assert 1 <= len(run.lines()) < 50


def test_a_worker_that_is_ended_stops_its_run(runs):
    run = runs.add(replace(TINY, epochs=50), "demo")
    process = worker(runs)
    until(lambda: run.lines(), "an epoch should be done")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0 and runs.get(run.id).state == "stopped"


def test_sources_are_prepared_once(demo_face_paths, tmp_path, own_cache):
    assert is_prepared(training_folder("demo", tmp_path))
    folder = tmp_path / "utk"
    folder.mkdir()
    for i, path in enumerate(demo_face_paths[:4]):
        (folder / f"2{i}_0_1_2017010912000{i:04}.jpg").write_bytes(path.read_bytes())
    made = training_folder(str(folder), tmp_path / "cache")
    stamp = (made / "manifest.parquet").stat().st_mtime_ns
    assert training_folder(str(folder), tmp_path / "cache") == made and is_prepared(made)
    assert (made / "manifest.parquet").stat().st_mtime_ns == stamp
    assert training_folder(str(made), tmp_path / "cache") == made


def test_stopping_while_the_faces_are_read(runs, monkeypatch):
    run = runs.add(TINY, "demo")

    def slow(source, cache, *, progress):
        runs.stop(run.id)
        progress(1, 2)
        raise AssertionError("it should have been stopped")

    monkeypatch.setattr("maskmtl.queue.training_folder", slow)
    work(runs, "cpu", threads=1)
    assert runs.get(run.id).state == "stopped" and Stopped.__name__ not in runs.get(run.id).error


def test_commands(runs, capsys):
    def say(*words):
        code = main(["runs", words[0], "--runs", str(runs.folder), *words[1:]])
        return code, capsys.readouterr()

    assert "no runs yet" in say("list")[1].out
    runs.add(TINY, "demo", name="one")
    runs.add(replace(TINY, lr=2e-3), "demo", name="two")
    assert [run["name"] for run in json.loads(say("list", "--json")[1].out)] == ["two", "one"]
    assert say("work", "--threads", "1")[0] == 0
    out = say("compare", "one", "two")[1].out
    assert "lr" in out and "0.002" in out and "gender_accuracy" in out and "batch_size" not in out
    settings, figures = compare([runs.get("one"), runs.get("two")])
    assert list(settings.index) == ["lr"] and figures.loc["n", "one"] == figures.loc["n", "two"] > 50
    assert "epoch 2" in say("show", "one")[1].out
    code, said = say("delete", "three")
    assert code == 2 and "['two', 'one']" in said.err
    assert say("delete", "one")[0] == 0 and [run.name for run in runs.all()] == ["two"]


def test_train_is_recorded(tmp_path, demo_faces, monkeypatch, capsys):
    monkeypatch.setenv("MASKMTL_RUNS", str(tmp_path / "runs"))
    faces = str(training_folder("demo", tmp_path))
    flags = ["--encoder", "conv3", "--masks", "none", "--epochs", "1", "--batch-size", "64", "--threads", "1"]
    assert main(["train", faces, "--run", str(tmp_path / "own"), *flags]) == 0
    (run,) = Runs().all()
    assert (run.name, run.state, run.folder) == ("own", "done", tmp_path / "own")
    assert main(["train", faces, "--run", str(tmp_path / "own"), *flags]) == 2 and len(Runs().all()) == 1
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MASKMTL_RUNS", str(tmp_path / "file"))
    capsys.readouterr()
    assert main(["train", faces, "--run", str(tmp_path / "other"), *flags]) == 0
    assert "not in the index of runs" in capsys.readouterr().err
    assert os.listdir(tmp_path / "other")
