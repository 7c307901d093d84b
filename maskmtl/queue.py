"""The process that trains queued runs, one at a time per device, whatever becomes of the one that started it."""

import fcntl
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch

from maskmtl.files import write_json
from maskmtl.manifest import load_faces, training_folder
from maskmtl.paths import ROOT
from maskmtl.runs import FACES, LOG, STATUS, Every, Run, Runs, Status, device_name
from maskmtl.training import Progress, Stopped, train, variants_folder

TOLD, ASKED = 0.5, 1.0  # s between two writings of the status, and two looks at the index
MOST = 400  # losses of single batches that are told
PATIENCE = 5  # looks before another worker is believed to be there


def start_worker(runs: Runs, device: str = "", threads: int | None = None) -> None:
    """Start a detached process that trains the queued runs of a device, `threads` as `work` has them; nothing where one
    does already."""
    name = device_name(device)
    with _sole(runs, name) as free:
        if not free or not runs.queued(name):
            return
    command = [sys.executable, "-m", "maskmtl.cli", "runs", "work", "--device", name, "--runs", str(runs.folder)]
    command += ["--threads", str(threads)] if threads else []
    with open(runs.folder / f"worker-{name.replace(':', '-')}.log", "ab") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    threading.Thread(target=process.wait, daemon=True).start()  # so that it leaves no zombie


def work(
    runs: Runs,
    device: str = "",
    *,
    threads: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    log: Callable[[Run, dict], object] | None = None,
) -> None:
    """Train the queued runs of a device until there are none; at once done where another process does.

    threads: of the CPU; by default one less than there are, so that the workbench stays alive. stop: ends the work
    after the batch; the run is 'stopped'.
    """
    name = device_name(device)
    torch.set_num_threads(threads or max(1, (os.cpu_count() or 2) - 1))
    refused = 0
    while runs.queued(name) and not stop():  # again after the lock is given back: one may have come in between
        with _sole(runs, name) as free:
            while free and not stop() and _next(runs, name, stop, log):
                pass
        refused = 0 if free else refused + 1
        if refused == PATIENCE:
            return
        if refused:  # by a worker, or by someone who looked whether there is one
            time.sleep(0.2)


def _next(runs: Runs, device: str, stop: Callable[[], bool], log: Callable[[Run, dict], object] | None) -> bool:
    """Train the oldest run; False where there is none."""
    with runs.claimed(device) as run:
        if run is None:
            return False
        with (
            open(run.folder / LOG, "a", encoding="utf-8", buffering=1) as out,
            redirect_stdout(out),
            redirect_stderr(out),
        ):
            try:
                _train(runs, run, stop, log)
            except Stopped as stopped:
                print(stopped)
            except Exception as error:
                runs.finish(run, error)
                with suppress(OSError):  # the disk may be full
                    traceback.print_exc()
            else:
                runs.finish(run)
    return True


def _train(runs: Runs, run: Run, stop: Callable[[], bool], log: Callable[[Run, dict], object] | None) -> None:
    config, started = run.config(), time.monotonic()
    told, asked = Every(TOLD), Every(ASKED)

    def tell(status: Status) -> None:
        write_json(run.folder / STATUS, asdict(status))

    def halt() -> bool:
        return stop() or (asked() and runs.asked_to_stop(run))

    def preparing(done: int, total: int | None) -> None:
        if halt():
            raise Stopped("stopped before the first batch")
        if told():
            seconds = time.monotonic() - started
            tell(Status("preparing", 0, config.epochs, done, total or 0, 0.0, seconds, None))

    tell(Status("preparing", 0, config.epochs, 0, 0, 0.0, 0.0, None))
    folder = training_folder(run.faces, runs.folder / FACES, progress=preparing)
    faces = replace(load_faces(folder, config.protocol), name=Path(run.faces).name.split(".")[0] or folder.name)
    first: list[tuple[int, float]] = []
    losses: list[tuple[int, float]] = []

    def training(p: Progress) -> None:
        now = time.monotonic()
        first[:] = first or [(p.done, now)]
        if told() or p.done == p.total:
            done, spent = p.done - first[0][0], now - first[0][1]
            left = spent / done * (p.total - p.done) if done else None
            losses.append((p.done, p.loss))
            if len(losses) > MOST:
                del losses[::2]
            tell(Status("training", p.epoch, p.epochs, p.batch, p.batches, p.loss, now - started, left, losses))

    def epoch(line: dict) -> None:
        if log is not None:
            log(run, line)

    train(
        faces, run.folder, resume=True, device=run.device, cache=variants_folder(folder), drawing=preparing,
        progress=training, log=epoch, stop=halt,
    )  # fmt: skip


@contextmanager
def _sole(runs: Runs, device: str) -> Iterator[bool]:
    """Whether this process alone works for the device while the block lasts."""
    runs.folder.mkdir(parents=True, exist_ok=True)
    with open(runs.folder / f".worker-{device.replace(':', '-')}", "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
