"""The paper's table: train its rows where they are missing, evaluate them, and set paper and ours side by side."""

import html
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from maskmtl.checkpoint import load_model, usable_device
from maskmtl.evaluation import choose
from maskmtl.files import write_json, write_text
from maskmtl.inference import predict
from maskmtl.manifest import Faces, load_faces
from maskmtl.metrics import errors, wilson
from maskmtl.page import html_page, html_table
from maskmtl.recipes import ROWS, Recipe, recipe
from maskmtl.splits import PROTOCOLS
from maskmtl.tasks import TASKS, Classes
from maskmtl.training import Progress, TrainConfig, train, variants_folder

FIGURES = "figures.json"
_TESTED_ON_PARTS = ("maskmtl-bare", "maskmtl", "default")
_TEACHER = "teacher"  # the recipe of the teacher that comes with the project, which has seen faces of `random` alone


@dataclass(frozen=True)
class Entry:
    """One run of the table."""

    name: str
    protocol: str = "random"
    seed: int = 0

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.protocol}-seed{self.seed}"


def plan(
    names: Iterable[str] | None = None, protocols: Iterable[str] = PROTOCOLS, seeds: Iterable[int] = (0,)
) -> list[Entry]:
    """What the table is made of: every row on `random`; the MaskMTL rows with the non-local block and the default model
    on `parts`. ValueError for a row that is asked for and that none of these protocols has."""
    asked, protocols = None if names is None else list(names), list(protocols)
    for name in asked or ():
        if "random" not in protocols and name not in _TESTED_ON_PARTS:
            raise ValueError(f"recipes should be of {list(_TESTED_ON_PARTS)} for protocols {protocols}, got {name!r}")
    if asked == []:
        raise ValueError(f"recipes should be of {list(ROWS)}, got none")
    return [
        Entry(name, protocol, seed)
        for protocol in protocols
        for name in asked or (ROWS if protocol == "random" else _TESTED_ON_PARTS)
        if protocol == "random" or name in _TESTED_ON_PARTS
        for seed in seeds
    ]


def make(
    faces_folder: Path,
    runs: Path,
    entries: Iterable[Entry],
    *,
    device: str | None = None,
    train_missing: bool = True,
    drawing: Callable[[int, int], object] | None = None,
    progress: Callable[[str, Progress], object] | None = None,
    log: Callable[[str, dict[str, Any]], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> pd.DataFrame:
    """A line per mask of each entry that is there: see `lines_of`. Each has a folder in `runs`; one stopped goes on.

    What learns from a teacher on another protocol than `random` gets one that was trained on that protocol first.
    Raises training.Stopped when `stop` says so, and ValueError for an unknown recipe, faces that lack what the table
    tells, and a run in `runs` of other faces or settings.
    """
    where = usable_device(device)
    chosen = [(entry, recipe(entry.name, where)) for entry in entries]
    faces = {protocol: load_faces(faces_folder, protocol) for protocol in {entry.protocol for entry, _ in chosen}}
    for protocol, of_protocol in faces.items() if train_missing else ():
        _check_test_faces(of_protocol, protocol)

    def config_of(entry: Entry, row: Recipe) -> TrainConfig:
        config = replace(row.config, protocol=entry.protocol, seed=entry.seed)
        if config.teacher and entry.protocol != "random":
            config = replace(config, teacher=str((runs / Entry(_TEACHER, entry.protocol).folder).resolve()))
        return config

    def trained(entry: Entry, row: Recipe) -> Path:
        folder, config = runs / entry.folder, config_of(entry, row)
        _follow_teacher(folder, config)
        if config.teacher and entry.protocol != "random":
            trained(Entry(_TEACHER, entry.protocol), recipe(_TEACHER, where))
        return train(
            faces[entry.protocol], folder, config, resume=(folder / "config.json").is_file(),
            device=where, cache=variants_folder(faces_folder), stop=stop, drawing=drawing,
            progress=progress and partial(progress, entry.folder), log=log and partial(log, entry.folder),
        )  # fmt: skip

    lines: list[dict[str, Any]] = []
    for entry, row in chosen:
        folder, about = runs / entry.folder, partial(_about, faces[entry.protocol])
        if not (folder / FIGURES).is_file():
            if not train_missing:
                continue
            found = figures(faces[entry.protocol], trained(entry, row), entry, row, where)
            write_json(folder / FIGURES, about(config_of(entry, row)) | found)
        found = json.loads((folder / FIGURES).read_text())
        there = torch.device(found["device"])  # which settles the size of ResNet's pictures
        if problem := _differs(found, about(config_of(entry, recipe(entry.name, there)))):
            raise ValueError(
                f"runs should be of these faces and this version's recipes, {str(folder)!r} {problem}: name another "
                f"folder for runs, or remove {FIGURES} there to evaluate it again"
            )
        lines += lines_of(entry, row, found)
    return pd.DataFrame(lines)


def _follow_teacher(folder: Path, config: TrainConfig) -> None:
    """Where a table's folder was moved its teacher has moved as well: a run that goes on looks for it there."""
    path = folder / "config.json"
    if path.is_file():
        saved = TrainConfig.from_json(json.loads(path.read_text()))
        if Path(saved.teacher).name == Path(config.teacher).name and replace(saved, teacher=config.teacher) == config:
            write_json(path, asdict(config))


def _check_test_faces(faces: Faces, protocol: str) -> None:
    """ValueError, before anything is trained, for a test split that has not two labels of each task."""
    table = faces.in_split("test").table
    for task in TASKS:
        if (n := int(table[task].notna().sum())) < 2:
            raise ValueError(f"faces should have at least two test faces with {task} in protocol {protocol!r}, got {n}")


def _differs(found: dict[str, Any], about: dict[str, Any]) -> str:
    """What figures are not of, in words; settings that came later are passed over."""
    if lacking := [name for name in about if name not in found]:
        return f"does not say of which {' and '.join(lacking)} it is"
    known = {name: value for name, value in about["config"].items() if name in found["config"]}
    other = [name for name, value in (about | {"config": known}).items() if found[name] != value]
    return f"is of other {' and '.join(other)}" if other else ""


def _about(faces: Faces, config: TrainConfig) -> dict[str, Any]:
    """What figures are of: the test faces and their labels, and the settings but for where a teacher lies."""
    settings = json.loads(json.dumps({**asdict(config), "teacher": Path(config.teacher).name}))
    return {"faces": faces.in_split("test").identity(TASKS), "config": settings}


def figures(faces: Faces, run: Path, entry: Entry, row: Recipe, device: torch.device) -> dict[str, Any]:
    """Figures of a run's best epoch on the test split, with 95 % intervals, and what the training took."""
    model = load_model(run, device)
    predictions = predict(model, choose(faces, str(run), "test"), masks=row.masks, seed=entry.seed)
    tested: dict[str, Any] = {}
    for mask, of_mask in predictions.groupby("mask", sort=False):
        found = tested[mask] = {}
        for task, wrong in errors(of_mask).items():
            if isinstance(TASKS[task].target, Classes):
                hits = int((wrong == 0).sum())
                value, (low, high) = hits / len(wrong), wilson(hits, len(wrong))
            else:
                value, reach = float(wrong.mean()), 1.96 * float(wrong.std(ddof=1)) / np.sqrt(len(wrong))
                low, high = value - reach, value + reach
            found[task] = {"value": value, "low": float(low), "high": float(high), "n": len(wrong)}
    epochs = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    seconds = max(sum(epoch["seconds"] for epoch in epochs), 0.1)  # an epoch's are rounded to this
    return {
        "test": tested,
        "epochs": len(epochs),
        "best_epoch": model.card["epoch"],
        "images_per_second": round(len(epochs) * model.card["data"]["train"] / seconds, 1),
        "size": model.input_size,
        "values": sum(p.numel() for p in model.parameters()),
        "device": device.type,
        "threads": torch.get_num_threads(),
    }


def lines_of(entry: Entry, row: Recipe, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Lines of the table, one a mask: what was run, the paper's figures, ours, and what it took."""
    published = row.published
    encoder = row.config.encoder
    names = {"conv3": "MaskMTL", "fig1": "MaskMTL (figure 1)", "resnet18": "ResNet-18"}
    took = {key: found[key] for key in ("epochs", "images_per_second", "values", "device", "threads")}
    for mask, tested in found["test"].items():
        values: dict[str, Any] = {
            "recipe": entry.name,
            "method": published.method if published else "",
            "encoder": names.get(encoder, encoder),
            "size": found["size"],
            "mask": mask,
            "protocol": entry.protocol,
            "seed": entry.seed,
        }
        for task in ("gender", "ethnicity", "age"):
            ours = tested[task]
            values[f"paper_{task}"] = getattr(published, task) if published else None
            values |= {task: ours["value"], f"{task}_low": ours["low"], f"{task}_high": ours["high"]}
        yield {**values, "n": max(ours["n"] for ours in tested.values()), **took}


_HEAD = (
    "recipe",
    "method",
    "encoder, px",
    "mask",
    "split",
    "seed",
    "gender",
    "ethnicity",
    "age, years",
    "n",
    "epochs",
    "images/s",
)


def _cells(table: pd.DataFrame) -> Iterator[list[str]]:
    for row in table.itertuples():
        cells = [row.recipe, row.method, f"{row.encoder}, {row.size}", row.mask, row.protocol, str(row.seed)]
        for task, digits in (("gender", 4), ("ethnicity", 4), ("age", 2)):
            ours, low, high = (_number(getattr(row, name), digits) for name in (task, f"{task}_low", f"{task}_high"))
            paper = f"{_number(getattr(row, f'paper_{task}'), digits)} → " if row.method else ""
            cells.append(f"{paper}{ours} ({low}–{high})")
        yield [*cells, f"{row.n:,}", str(row.epochs), f"{row.images_per_second:.0f}"]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0")


NOTE = (
    "paper → ours (95 % interval) on the test split. The paper's figures are not comparable to the letter: its masks, "
    "split and faces are others, its Tables 2 and 3 contradict its Table 1, its ResNet-18 rows are Lin et al.'s and "
    "their Pareto row joins three models. Our MaskMTL rows read colour with three layers and learn from a teacher "
    "beside the labels (docs/trials.md). Labels are annotations, not identities; the ethnicity head is for audit and "
    "research, never for deciding about a person."
)


def markdown(table: pd.DataFrame) -> str:
    rows = [_HEAD, ["---"] * len(_HEAD), *_cells(table)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + f"\n\n{NOTE}\n"


def page(table: pd.DataFrame) -> str:
    """The table as a page of its own."""
    body = f"{html_table(_HEAD, _cells(table))}\n<p>{html.escape(NOTE)}</p>"
    return html_page("The paper's table, paper and ours", body)


def write(table: pd.DataFrame, folder: Path) -> None:
    """table.csv, table.md and table.html."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "table.csv", table.to_csv(index=False))
    write_text(folder / "table.md", markdown(table))
    write_text(folder / "table.html", page(table))
