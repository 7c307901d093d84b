"""Runs: a folder each, and an index of them in SQLite that several processes may write at once.

A run's folder holds what training.py writes, and
    run.json      id, name, parent, faces, device, created, versions, and whether it has finished
    status.json   where it stands, while it runs
    log.txt       what it said
The index adds state and place in the queue. It can be lost: folders beside it that it doesn't know are taken up again.
Whether a run is alive is told by a lock on its folder, which the kernel frees when its process ends, however it ends.
"""

import fcntl
import json
import platform
import re
import shutil
import sqlite3
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from io import BufferedWriter
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import torch

from maskmtl import __version__
from maskmtl.checkpoint import CARD, WEIGHTS, usable_device
from maskmtl.files import write_json
from maskmtl.paths import runs_folder
from maskmtl.training import TrainConfig

STATES = ("queued", "running", "stopped", "done", "failed")
INDEX, STATUS, LOG, ABOUT, LOCK = "runs.sqlite", "status.json", "log.txt", "run.json", ".lock"
FACES = "faces"  # beside the runs: what sources that were not prepared were prepared into
BUSY = 30.0  # s to wait for another writer
LOOKS = 20  # at a lock, which whoever looks for life holds for a moment
_NAME = re.compile(r"[\w+][\w.+-]{0,79}")
_COLUMNS = ("id", "name", "folder", "state", "parent", "faces", "device", "created", "error")
_OF_ABOUT = ("id", "name", "parent", "faces", "device", "created")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, folder TEXT NOT NULL UNIQUE, state TEXT NOT NULL,
    parent TEXT NOT NULL, faces TEXT NOT NULL, device TEXT NOT NULL, created TEXT NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    place INTEGER NOT NULL DEFAULT 0, stop INTEGER NOT NULL DEFAULT 0
)"""


@dataclass(frozen=True)
class Status:
    """Where a run stands.

    phase: 'preparing' or 'training'. batch, batches: of the epoch; while preparing, pictures. seconds: since it was
    started or resumed. left: seconds left by the pace so far, None before that is known. losses: (batches of the run
    done, loss of the batch), some hundred of them, since it was started or resumed.
    """

    phase: str
    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    seconds: float
    left: float | None
    losses: list[tuple[int, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One run as the index knows it.

    parent: what it is a variant of, a model's name or a run's folder; '' for none. faces: 'demo' or a path. created:
    ISO 8601, UTC. error: why it failed, a sentence, else ''.
    """

    id: str
    name: str
    folder: Path
    state: str
    parent: str
    faces: str
    device: str
    created: str
    error: str

    @property
    def active(self) -> bool:
        """Whether it trains or waits for its turn."""
        return self.state in ("running", "queued")

    def config(self) -> TrainConfig:
        return TrainConfig.from_json(_read_json(self.folder / "config.json"))

    def has_model(self) -> bool:
        """Whether there are weights to load; a run that was stopped may have some."""
        return (self.folder / CARD).is_file() and (self.folder / WEIGHTS).is_file()

    def status(self) -> Status | None:
        """Live progress of a running run."""
        try:
            return Status(**_read_json(self.folder / STATUS))
        except (ValueError, TypeError):
            return None

    def metrics(self) -> pd.DataFrame:
        """Long: epoch, part ('train', 'val'), mask ('' for train), task, metric (loss, accuracy, mae), value."""
        rows = []
        for line in self.lines():
            rows += [(line["epoch"], "train", "", task, "loss", value) for task, value in line["train_loss"].items()]
            for mask, figures in line["val"].items():
                for name, value in figures.items():
                    rows.append((line["epoch"], "val", mask, *name.rsplit("_", 1), value))
        return pd.DataFrame(rows, columns=["epoch", "part", "mask", "task", "metric", "value"])

    def lines(self) -> list[dict[str, Any]]:
        """Of metrics.jsonl, an epoch each."""
        path = self.folder / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []

    def best(self) -> dict[str, Any] | None:
        """The line of the epoch whose weights were kept."""
        return max(self.lines(), key=lambda line: line["score"], default=None)


class Runs:
    """The index of the runs in a folder, by default `paths.runs_folder()`. Nothing is made before a run is."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder or runs_folder()).absolute()

    def all(self) -> list[Run]:
        """Newest first. A run whose process has died is 'stopped'; a folder that has gone is no run."""
        known = self._known()
        here = {run.folder for run in known}
        unknown = [path.parent for path in self.folder.glob(f"*/{ABOUT}") if path.parent not in here]
        if lost := [run for folder in sorted(unknown) if (run := _from_folder(folder)) is not None]:
            self._take_up(lost)
            known = self._known()
        return [_true(run) for run in known if _is_run(run.folder)]

    def get(self, name: str) -> Run:
        """By name, id or folder; ValueError with the names there are."""
        runs = self.all()
        for run in runs:
            if name in (run.name, run.id, str(run.folder)) or Path(name).absolute() == run.folder:
                return run
        raise ValueError(f"run should be one of {[run.name for run in runs]}, got {name!r}")

    def add(self, config: TrainConfig, faces: str, *, name: str = "", parent: str = "", device: str = "") -> Run:
        """Queue a run. Raises ValueError for a name that is none; one that is taken gets a number."""
        name = name.strip() or f"{config.encoder}-{config.sharing}-{config.balancing}"
        check_name(name)
        if not faces:
            raise ValueError("faces should be 'demo' or a path, got none")
        with self._writing() as database:
            taken = {FACES, *_others(database), *(path.name for path in self.folder.iterdir())}
            free = _free(name, taken)
            run = _new(self.folder / free, free, _source(faces), parent, device_name(device), "queued")
            run.folder.mkdir(parents=True)
            write_json(run.folder / "config.json", asdict(config))
            write_about(run)
            _insert(database, run)
        return run

    def stop(self, name: str) -> None:
        """Ask a running run to stop, or take one out of the queue."""
        run = self.get(name)
        with self._writing() as database:
            database.execute("UPDATE runs SET stop = 1 WHERE id = ? AND state = 'running'", (run.id,))
            database.execute("UPDATE runs SET state = 'stopped' WHERE id = ? AND state = 'queued'", (run.id,))

    def resume(self, name: str, device: str = "") -> None:
        """Queue a stopped or failed run again, behind the others, for its own device or another.

        ValueError for a run that is neither, and for a device that is not here.
        """
        run = self.get(name)
        device = device_name(device or run.device)
        if run.state not in ("stopped", "failed"):
            raise ValueError(f"run should be stopped or failed to be resumed, {run.name} is {run.state}")
        with self._writing() as database:
            _check_idle(run)
            database.execute(
                "UPDATE runs SET state = 'queued', error = '', stop = 0, device = ?, "
                "place = (SELECT 1 + MAX(place) FROM runs) WHERE id = ?", (device, run.id),
            )  # fmt: skip
            write_json(run.folder / ABOUT, {**_read_json(run.folder / ABOUT), "device": device})

    def delete(self, name: str) -> None:
        """Remove a run and its folder, weights and all. ValueError while it runs."""
        run = self.get(name)
        with self._writing() as database:
            _check_idle(run)
            database.execute("DELETE FROM runs WHERE id = ?", (run.id,))
            shutil.rmtree(run.folder)

    def asked_to_stop(self, run: Run) -> bool:
        """Whether someone has. A run whose folder has gone has no reason to go on; one whose index has, does."""
        if not _is_run(run.folder):
            return True
        with suppress(OSError), self._reading() as database:
            if database is not None:
                marks = database.execute("SELECT stop FROM runs WHERE id = ?", (run.id,)).fetchall()
                return any(mark for (mark,) in marks)
        return False

    @contextmanager
    def claimed(self, device: str) -> Iterator[Run | None]:
        """The oldest queued run of a device, running while the block lasts; None where there is none.

        Whoever leaves the block says by `finish` what came of it; one that says nothing was stopped.
        """
        with self._writing() as database:
            rows = database.execute(_select("state = ? AND device = ?", "place"), ("queued", device)).fetchall()
            run = next((run for run in map(_run, rows) if _is_run(run.folder)), None)
            lock = None if run is None else _locked(run.folder)
            if run is not None:
                database.execute("UPDATE runs SET state = 'running', stop = 0, error = '' WHERE id = ?", (run.id,))
        if run is None or lock is None:
            yield None
            return
        with self._running(run, lock):
            yield run

    @contextmanager
    def recorded(self, folder: Path, faces: str, device: str) -> Iterator[Run]:
        """As `claimed`, for a run that someone trains in a folder of their own. ValueError where another one does."""
        folder = folder.absolute()
        found = _from_folder(folder) or _new(folder, folder.name, "", "", "", "")
        with self._writing() as database:
            lock = _locked(folder)
            run = replace(_own(database, found), state="running", faces=_source(faces), device=device_name(device))
            write_about(run)
            _insert(database, run)
        with self._running(run, lock):
            yield run

    @contextmanager
    def _running(self, run: Run, lock: BufferedWriter) -> Iterator[None]:
        with lock:
            try:
                yield
            finally:
                (run.folder / STATUS).unlink(missing_ok=True)
                with self._writing() as database:
                    database.execute("UPDATE runs SET state = 'stopped' WHERE id = ? AND state = 'running'", (run.id,))

    def finish(self, run: Run, error: BaseException | None = None) -> None:
        """Say that a run is done, or why it failed."""
        state, reason = ("done", "") if error is None else ("failed", _sentence(error))
        with self._writing() as database:
            database.execute("UPDATE runs SET state = ?, error = ? WHERE id = ?", (state, reason, run.id))
        if error is None:
            write_about(run, finished=True)

    def queued(self, device: str) -> int:
        return sum(run.state == "queued" and run.device == device for run in self.all())

    def _known(self) -> list[Run]:
        with self._reading() as database:
            return [] if database is None else [_run(row) for row in database.execute(_select())]

    def _take_up(self, lost: Sequence[Run]) -> None:
        """Enter runs that the index does not know: it was lost, or their folder was moved, copied or brought here."""
        with self._writing() as database:
            here = {row[0] for row in database.execute("SELECT folder FROM runs")}
            for run in lost:
                if str(run.folder) not in here:  # another process may have been faster
                    own = _own(database, run)
                    about = _read_json(run.folder / ABOUT)
                    write_json(run.folder / ABOUT, {**about, "id": own.id, "name": own.name})
                    _insert(database, own)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that no other writer can come into."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._connected() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                database.execute(_SCHEMA)
                yield database
            except BaseException:
                if database.in_transaction:  # a full disk has ended it
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        if not (self.folder / INDEX).is_file():
            yield None
            return
        with self._connected() as database:
            yield database if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'runs'").fetchone() else None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        path = self.folder / INDEX
        try:
            with closing(sqlite3.connect(path, timeout=BUSY, isolation_level=None)) as database:
                yield database
        except sqlite3.OperationalError as error:
            raise OSError(f"the index of runs should be usable, got {str(path)!r}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise OSError(
                f"the index of runs should be SQLite's, got {str(path)!r}: {error}; delete it, the folders make it anew"
            ) from error


class Every:
    """True at the first call and then at most once in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, -float("inf")

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._last < self._seconds:
            return False
        self._last = now
        return True


def compare(runs: Sequence[Run]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What differs in the settings of several runs, and their best epochs' validation figures; a column each."""
    configs = {run.name: asdict(run.config()) for run in runs}
    settings = pd.DataFrame({name: {k: _plain(v) for k, v in config.items()} for name, config in configs.items()})
    settings.loc["faces"] = {run.name: run.faces for run in runs}
    figures: dict[str, dict[str, float]] = {}
    for run in runs:
        best = run.best() or {"val": {}}
        figures[run.name] = {
            f"{m} {name}": value for m, of_mask in best["val"].items() for name, value in of_mask.items()
        }
        card = _read_json(run.folder / CARD) if run.has_model() else {}
        figures[run.name] |= {"epoch": best.get("epoch", np.nan), "n": card.get("data", {}).get("val", np.nan)}
    return settings[settings.astype(str).nunique(axis=1) > 1], pd.DataFrame(figures)


def write_about(run: Run, finished: bool = False) -> None:
    """run.json, from which the index can be made again."""
    about = {key: getattr(run, key) for key in _OF_ABOUT}
    versions = {
        "maskmtl": __version__, "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()
    }  # fmt: skip
    write_json(run.folder / ABOUT, {**about, "finished": finished, "versions": versions})


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"name should be letters, digits, '.', '_', '+' and '-', at most 80, got {name!r}")


def device_name(device: str = "") -> str:
    """Of a device, '' for the best one; 'cuda' and 'cuda:0' are one. ValueError when torch can't use it here."""
    found = usable_device(device or None)
    return f"cuda:{found.index or 0}" if found.type == "cuda" else str(found)


def is_alive(folder: Path) -> bool:
    """Whether some process holds the lock of a run's folder."""
    try:
        with open(folder / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # it has gone, or nobody here may look at it
        return False
    return False


def _locked(folder: Path) -> BufferedWriter:
    """Hold the lock of a run's folder until the file is closed; ValueError while another process does."""
    file = open(folder / LOCK, "ab")  # noqa: SIM115
    for _ in range(LOOKS):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(0.05)
    file.close()
    raise ValueError(f"run should be trained by one process at a time, another one is at {str(folder)!r}")


def _check_idle(run: Run) -> None:
    if is_alive(run.folder):
        raise ValueError(f"run should not be running, {run.name} is: stop it first")


def _is_run(folder: Path) -> bool:
    try:
        return (folder / ABOUT).is_file()
    except OSError:  # a folder of another user, or on a disk that has gone: the other runs are still to be seen
        return False


def _from_folder(folder: Path) -> Run | None:
    """As its run.json tells; None where there is none of ours."""
    try:
        about = _read_json(folder / ABOUT)
        state = "running" if is_alive(folder) else "done" if about["finished"] else "stopped"
        of_run = {key: str(about[key]) for key in _OF_ABOUT}
    except (ValueError, TypeError, KeyError):
        return None
    return Run(**of_run, folder=folder, state=state, error="")


def _own(database: sqlite3.Connection, run: Run) -> Run:
    """With an id and a name that no other folder has: a copied folder brings its original's."""
    others = _others(database, run.folder)
    return replace(run, name=_free(run.name, others), id=_new_id() if run.id in others.values() else run.id)


def _others(database: sqlite3.Connection, folder: Path | None = None) -> dict[str, str]:
    """Ids by name of the runs whose folders are there, but for this one."""
    rows = database.execute("SELECT name, id, folder FROM runs")
    return {name: key for name, key, place in rows if place != str(folder) and _is_run(Path(place))}


def _source(faces: str) -> str:
    return faces if faces == "demo" else str(Path(faces).absolute())


def _sentence(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if isinstance(error, (ValueError, OSError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}; {LOG} in its folder says more"


def _free(name: str, taken: Container[str]) -> str:
    """The name, or with the first number that is free."""
    return name if name not in taken else next(n for i in count(2) if (n := f"{name}-{i}") not in taken)


def _new(folder: Path, name: str, faces: str, parent: str, device: str, state: str) -> Run:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Run(_new_id(), name, folder, state, parent, faces, device, created, "")


def _new_id() -> str:
    return uuid4().hex[:12]


def _insert(database: sqlite3.Connection, run: Run) -> None:
    values = [str(getattr(run, column)) for column in _COLUMNS]
    marks = ", ".join("?" * len(values))
    database.execute(
        f"INSERT OR REPLACE INTO runs ({', '.join(_COLUMNS)}, place) "
        f"VALUES ({marks}, (SELECT 1 + COALESCE(MAX(place), 0) FROM runs))", values,
    )  # fmt: skip


def _select(where: str = "1", order: str = "created DESC, place DESC") -> str:
    return f"SELECT {', '.join(_COLUMNS)} FROM runs WHERE {where} ORDER BY {order}"


def _run(row: Sequence[str]) -> Run:
    values: dict[str, Any] = dict(zip(_COLUMNS, row, strict=True))
    return Run(**{**values, "folder": Path(values["folder"])})


def _true(run: Run) -> Run:
    if run.state == "running" and not is_alive(run.folder):
        return replace(run, state="stopped")
    return run


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ValueError(f"run should have a readable {path.name}, got {str(path)!r}: {error}") from error
