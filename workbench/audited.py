"""Whose predictions the pages Fairness and Report speak of, and their audit, kept in the session."""

import tempfile
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pandas as pd
import streamlit as st

from analyses.fairness import audit
from analyses.fairness.samples import usual_groupings
from analyses.fairness.tables import column_names, read_predictions
from maskmtl.checkpoint import model_folder
from maskmtl.tasks import TASKS, Classes
from workbench import parts, resources
from workbench.address import kept
from workbench.assessed import ran_or_offer
from workbench.chooser import WORDS

T = TypeVar("T")
RUN, TABLE = "The last run over a data set", "A predictions table"
MAPPED = {
    "y_true": "Annotation", "y_pred": "Answer", "probabilities": "Probabilities", "face_id": "Face", "mask": "Mask",
    "task": "Task", "model": "Model",
}  # fmt: skip
KEPT, TASK, CLASSES, COLUMN = "fair_uploaded", "fair_task_name", "fair_classes", "fair_col_{}"
MOST_ROWS = 5_000_000  # of an upload
MOST = 50  # groups of a column that is offered as a grouping


class Source(NamedTuple):
    """Predictions, what they are called, and what tells them from others.

    faces: what a report calls the data set. settings: how the predictions were made. model: the folder of their model.
    """

    predictions: pd.DataFrame
    name: str
    key: Hashable
    faces: str
    settings: Mapping[str, Any] = {}
    model: Path | None = None


class Table(NamedTuple):
    """An uploaded file."""

    id: str
    name: str
    data: bytes


def choose_source() -> Source | None:
    """The widgets; None, with a sentence on what to do, while there is nothing to audit."""
    kind = kept(st.segmented_control, "Predictions", (RUN, TABLE), default=RUN, required=True, key="fair_kind")
    return _last_run() if kind == RUN else _uploaded()


def _last_run() -> Source | None:
    run = ran_or_offer()
    if run is None:
        return None
    if not run.assessment.tasks:
        st.info("These faces carry no annotations: there is nothing to audit. Run others, or upload a table.")
        return None
    order = run.order
    settings = {"split": WORDS[order.faces.split], "masks": list(order.masks), "mask_seed": order.seed}
    try:
        model = model_folder(run.model) if resources.version(run.model) == run.version else None
    except ValueError:  # it has been deleted since
        model = None
    faces = f"{run.faces.name}, {WORDS[order.faces.split]}"
    return Source(run.assessment.predictions, run.title, ("run", run.id), faces, settings, model)


def _uploaded() -> Source | None:
    table = _table()
    if table is None:
        st.info("Upload a table of predictions, .parquet or .csv.")
        return None
    try:
        columns = resources.remember(
            "fair_columns", table.id, lambda: _on_disk(table, partial(column_names, most=MOST_ROWS))
        )
        asked = _mapping(columns)
        if asked is None:
            return None
        key = ("file", table.id, tuple(asked.mapping.items()), asked.task, asked.classes)
        read = partial(read_predictions, columns=asked.mapping, task=asked.task, classes=asked.classes)
        return Source(
            resources.remember("fair_table", key, lambda: _on_disk(table, read)), table.name, key, Path(table.name).stem
        )
    except (ValueError, OSError) as error:
        st.error(parts.plain(f"This table can't be used: {error}."))
        return None


def _table() -> Table | None:
    """The uploader, and what was uploaded: it outlives the uploader, which Streamlit empties when the page is left."""
    file = st.file_uploader(
        "Predictions", ("parquet", "csv"), key="fair_file", on_change=_forget_table,
        help="What `maskmtl predict` writes, or any model's: a row per face (and mask and task), with annotation and "
        "answer. It stays in this session. For larger tables: `maskmtl audit` and `maskmtl report`.",
    )  # fmt: skip
    kept_one: Table | None = st.session_state.get(KEPT)
    if file is None:
        if kept_one is not None:
            st.caption(parts.plain(kept_one.name))
            st.button("Remove the table", icon=":material/delete:", on_click=_forget_table)
    elif kept_one is None or kept_one.id != file.file_id:
        _forget_table()
        kept_one = st.session_state[KEPT] = Table(file.file_id, file.name, file.getvalue())
    return kept_one


def _forget_table() -> None:
    """And what its columns are: another's may have the same names."""
    for key in (KEPT, TASK, CLASSES, *(COLUMN.format(ours) for ours in MAPPED)):
        st.session_state.pop(key, None)


def _on_disk(table: Table, read: Callable[[Path], T]) -> T:
    """What `read` makes of an upload, which is a file only as long as that takes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / table.name.replace("/", "_")
        path.write_bytes(table.data)
        return read(path)


class Asked(NamedTuple):
    """As read_predictions takes it."""

    mapping: dict[str, str]
    task: str | None
    classes: tuple[str, ...]


def _mapping(columns: Sequence[str]) -> Asked | None:
    """Which columns are which, where their names don't say it, and the task of a table that names none; None, with a
    sentence, while something is missing."""
    known = set(columns)
    long = "y_true" in known or "y_pred" in known
    wide = not long and any(name.endswith("_pred") and f"{name[:-5]}_true" in known for name in columns)
    if wide:
        return Asked({}, None, ())
    with st.expander("Columns", expanded=not {"y_true", "y_pred", "task"} <= known):
        fields = st.columns(3)
        mapping = {}
        for i, (ours, words) in enumerate(MAPPED.items()):
            field, key = fields[i % 3], COLUMN.format(ours)
            if ours in known:
                continue
            if ours == "probabilities":
                chosen = kept(field.multiselect, words, columns, key=key, help="One a class, in order.")
                if chosen:
                    mapping[ours] = ",".join(chosen)
            elif (one := kept(field.selectbox, words, columns, index=None, key=key)) is not None:
                mapping[ours] = str(one)
        unnamed = "task" not in {*known, *mapping}
        task, classes = _task() if unnamed else (None, ())
    if missing := [MAPPED[ours] for ours in ("y_true", "y_pred") if ours not in {*known, *mapping}]:
        st.info(f"Choose under Columns which column holds the {' and the '.join(missing).lower()}.")
        return None
    if task == "":
        st.info("Say under Columns which task the answers are of.")
        return None
    return Asked(mapping, task, classes)


def _task() -> tuple[str, tuple[str, ...]]:
    """The name of a table's task, '' while there is none, and of its classes."""
    left, right = st.columns(2)
    task = kept(left.text_input, "Name of the task", key=TASK, help="gender, age, ethnicity, or your own.")
    task = task.strip()
    if task not in TASKS:
        classes = kept(
            right.text_input, "Its classes", key=CLASSES, placeholder="no, yes",
            help="Where answers are numbers of classes: their names, in order, with commas between.",
        )  # fmt: skip
        return task, tuple(name.strip() for name in classes.split(",") if name.strip())
    if isinstance(target := TASKS[task].target, Classes):
        codes = ", ".join(f"{i} {name}" for i, name in enumerate(target.names))
        right.caption(f"Numbers are read as {codes}. If yours mean others, put names in place of numbers.")
    return task, ()


def choose_groupings(source: Source) -> tuple[str, ...]:
    """Groupings of the table and their intersections by two."""
    usual, single = resources.remember("fair_groupings", source.key, lambda: _groupings(source.predictions))
    pairs = [f"{one}*{other}" for one, other in combinations(single, 2)]
    chosen = kept(
        st.multiselect, "Groups", [*single, *pairs], default=usual, key="fair_by",
        format_func=lambda by: by.replace("*", " × ").replace("_", " "),
        help="Annotations of the pictures, never predictions. × are intersections.",
    )  # fmt: skip
    return tuple(chosen)


def _groupings(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Those that are usual, and all that are not intersections."""
    usual = usual_groupings(table)
    own = [name for name in usual if "*" not in name]
    taken = {"face_id", "split", "group_id", *MAPPED, "draw"}
    columns = [name for name in table if name not in taken and name not in own and 1 < _distinct(table[name]) <= MOST]
    return usual, [*own, *columns]


def _distinct(column: pd.Series) -> int:
    """How many values a column has; 0 where it has lists or the like, which are no groups."""
    try:
        return int(column.nunique())
    except (TypeError, NotImplementedError):
        return 0


def audited(source: Source, by: tuple[str, ...]) -> pd.DataFrame | None:
    """The audit of one model, computed once; None, with a sentence, where it can't be or was stopped."""
    try:
        found = parts.derive(
            "fair_audit", (source.key, by), "Resampling", " tasks and masks",
            lambda progress: audit(source.predictions, by=by, progress=progress),
        )  # fmt: skip
    except ValueError as error:
        st.error(parts.plain(f"This can't be audited: {error}."))
        return None
    if found is None:
        return None
    models = list(found["model"].unique())
    if len(models) > 1:
        model = kept(st.selectbox, "Model", models, key="fair_model")
        return found[found["model"] == model]
    return found
