import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from maskmtl import queue
from maskmtl.checkpoint import load_tensors
from maskmtl.manifest import is_prepared, load_faces, training_folder
from maskmtl.paths import ROOT
from maskmtl.queue import start_worker, work
from maskmtl.runs import ABOUT
from maskmtl.training import Stopped
from tests.maskmtl.test_runs import TINY, lose

WAIT = 120  # s, on a busy machine


def until(asked, what):
    for _ in range(WAIT * 50):
        if asked():
            return
        time.sleep(0.02)
    pytest.fail(f"{what} within {WAIT} s")


def worker(runs):
    command = [sys.executable, "-m", "maskmtl.cli", "runs", "work", "--device", "cpu", "--threads", "1", "--runs"]
    return subprocess.Popen([*command, str(runs.folder)], cwd=ROOT, stdout=subprocess.DEVNULL)


def test_work_trains_what_is_queued_and_keeps_what_failed(runs, few, tmp_path):
    lost = runs.add(TINY, str(tmp_path / "nowhere"), name="lost")
    good = runs.add(TINY, few, name="good", parent="maskmtl-fig1")
    work(runs, "cpu", threads=1)
    lost, good = runs.get(lost.id), runs.get(good.id)
    assert lost.state == "failed" and "not there" in lost.error and "not there" in (lost.folder / "log.txt").read_text()
    assert good.state == "done" and good.has_model() and good.status() is None
    table = good.metrics()
    assert set(table["part"]) == {"train", "val"} and table["epoch"].max() == 2
    assert set(table.query("part == 'val' and task == 'gender'")["metric"]) == {"accuracy"}
    about = json.loads((good.folder / ABOUT).read_text())
    assert about["finished"] and about["parent"] == "maskmtl-fig1" and about["versions"]["torch"] == torch.__version__
    assert json.loads((good.folder / "model.json").read_text())["data"] == {"name": "few", "train": 30, "val": 10}
    lose(runs)
    assert runs.get("good").state == "done"


def test_a_killed_run_goes_on_and_ends_as_if_nothing_had_been(runs, few):
    config = replace(TINY, epochs=6)
    whole, broken = runs.add(config, few, name="whole"), runs.add(config, few, name="broken")
    work(runs, "cpu", threads=1, stop=lambda: runs.get("whole").state == "done")
    process = worker(runs)
    until(lambda: broken.lines(), "an epoch should be done")
    status = runs.get("broken").status()
    assert runs.get("broken").state == "running" and status.phase == "training" and status.epochs == 6
    process.kill()
    process.wait()
    assert runs.get("broken").state == "stopped" and len(broken.lines()) < 6
    runs.resume("broken")
    work(runs, "cpu", threads=1)
    assert runs.get("broken").state == "done"
    one, other = (load_tensors(run.folder / "last.safetensors") for run in (whole, broken))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_two_workers_train_one_after_another(runs, few):
    for name in ("first", "second"):
        runs.add(TINY, few, name=name)
    workers = [worker(runs), worker(runs)]
    most = 0
    while any(process.poll() is None for process in workers):
        most = max(most, sum(run.state == "running" for run in runs.all()))
        time.sleep(0.01)
    assert most == 1 and [run.state for run in runs.all()] == ["done", "done"]
    assert [process.returncode for process in workers] == [0, 0]


def test_a_detached_worker_stops_when_asked_and_one_goes_on(runs, few):
    run = runs.add(replace(TINY, epochs=400), few)
    start_worker(runs, "cpu")
    until(lambda: run.lines(), "an epoch should be done")
    start_worker(runs, "cpu")  # there is one
    runs.stop(run.id)
    until(lambda: runs.get(run.id).state == "stopped", "it should stop")
    done = len(run.lines())
    assert 1 <= done < 400
    runs.resume(run.id)
    process = worker(runs)
    until(lambda: len(run.lines()) > done, "it should go on")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0 and runs.get(run.id).state == "stopped"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "last.safetensors"), "No space left on device: last"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("odd"), "RuntimeError: odd; log.txt in its folder says more"),
    ],
)
def test_what_goes_wrong_is_kept_and_the_next_run_is_trained(runs, few, monkeypatch, error, words):
    def failing(faces, run, **options):
        if run.name == "first":
            monkeypatch.setattr(queue.traceback, "print_exc", full)
            raise error

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")  # for the log, too

    monkeypatch.setattr(queue, "train", failing)
    runs.add(TINY, few, name="first")
    runs.add(TINY, few, name="second")
    work(runs, "cpu", threads=1)
    assert runs.get("first").state == "failed" and words in runs.get("first").error
    assert runs.get("second").state == "done"
    runs.resume("first")
    assert runs.get("first").error == ""


def test_stopping_while_the_faces_are_read(runs, monkeypatch):
    run = runs.add(TINY, "demo")

    def slow(source, cache, *, progress):
        runs.stop(run.id)
        progress(1, 2)
        raise AssertionError("it should have been stopped")

    monkeypatch.setattr(queue, "training_folder", slow)
    work(runs, "cpu", threads=1)
    assert runs.get(run.id).state == "stopped" and Stopped.__name__ not in runs.get(run.id).error


def test_sources_are_prepared_once(demo_face_paths, tmp_path):
    folder = tmp_path / "utk"
    (folder / "more").mkdir(parents=True)
    for i, path in enumerate(demo_face_paths[:4]):
        (folder / "more" / f"2{i}_0_1_2017010912000{i:04}.jpg").write_bytes(path.read_bytes())
    (folder / os.fsdecode(b"J\xf6rg.jpg")).write_bytes(demo_face_paths[4].read_bytes())  # no UTF-8
    made = training_folder(str(folder), tmp_path / "cache")
    stamp = (made / "manifest.parquet").stat().st_mtime_ns
    assert training_folder(str(folder), tmp_path / "cache") == made and is_prepared(made)
    assert (made / "manifest.parquet").stat().st_mtime_ns == stamp
    assert training_folder(str(made), tmp_path / "cache") == made
    (folder / "more" / "20_0_1_20170109120000000.jpg").write_bytes(demo_face_paths[5].read_bytes())
    assert training_folder(str(folder), tmp_path / "cache") != made


def test_demo_faces_with_a_cache_of_the_user_and_without(tmp_path, few, monkeypatch):
    monkeypatch.setattr("maskmtl.manifest.DEMO", Path(few).parent)  # not all of them
    monkeypatch.setenv("MASKMTL_CACHE", str(tmp_path / "cache"))
    assert is_prepared(folder := training_folder("demo", tmp_path / "faces")) and folder.parent == tmp_path / "cache"
    assert set(load_faces(folder).table["split"]) == {"train", "val"}
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MASKMTL_CACHE", str(tmp_path / "file" / "cache"))
    folder = training_folder("demo", tmp_path / "faces")
    assert is_prepared(folder) and folder.parent == tmp_path / "faces"
