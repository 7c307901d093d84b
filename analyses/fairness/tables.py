"""Any model's predictions as the predictions table: long, of one task, or wide as `maskmtl predict` writes them."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyses.fairness.metrics import of_answers
from maskmtl.tasks import TASKS, Classes

NAMES = ("face_id", "task", "mask", "model", "y_true", "y_pred", "probabilities")
KEYS = ("face_id", "mask", "task", "model")
BARE = "none"
OFF_ONE = 1e-3  # how far the probabilities of a row may be from adding up to 1

_LISTS = pa.list_(pa.float64())


def parse_mapping(texts: Sequence[str]) -> dict[str, str]:
    """Our column names to a table's own, from arguments such as 'y_true=label' and 'probabilities=p_male,p_female'."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, theirs = (part.strip() for part in text.partition("="))
        if not (name and equals and theirs):
            raise ValueError(f"column should be OURS=THEIRS, such as y_true=label, got {text!r}")
        if name in found:
            raise ValueError(f"column should name {name!r} once, got {found[name]!r} and {theirs!r}")
        found[name] = theirs
    return found


def read_predictions(
    path: str | os.PathLike,
    columns: Mapping[str, str] | None = None,
    *,
    task: str | None = None,
    classes: Sequence[str] = (),
) -> pd.DataFrame:
    """A CSV or Parquet file of predictions as the long predictions table; every other column is kept, for groupings.

    Args:
        path: a long table, one row per face, mask and task; a table of one task; or a wide table with `<task>_true`,
            `<task>_pred` and, of classes, `<task>_p_<class>`, as `maskmtl predict --out x.csv` writes it.
        columns: names among NAMES to those of the file. 'probabilities' may name one column of lists, one per class
            with commas between, in the order of the classes, or one of numbers: those of the second of two classes.
        task: of a table without such a column.
        classes: names of that task's classes, in their order; without them a task that TASKS does not know, has no
            probabilities and no names or truth values among its answers is one of numbers, which should not all be 0
            or 1.

    Without face_id a row is a face and its number the id; without mask faces are bare; without model it is the file's
    name. y_true and y_pred may be names of classes: of a task in TASKS in any case of letters and its order there, else
    in sorted order, or that of a wide table's columns. `attrs["classes"]` has the names: {task: [names]};
    `attrs["names_model"]` is False where model is the file's name. face_id, mask, task and model are categories, and
    probabilities Arrow lists (see `probability_matrix`), so that ten million rows fit into memory.

    Raises:
        ValueError: for a file that can't be read, columns that are missing or stand twice, class names that are
            unknown, numbers that may be of classes or not, answers that are not finite, or probabilities that don't
            add up to 1 within OFF_ONE or mostly are highest for another class than the answer.
    """
    path, mapping = Path(path), dict(columns or {})
    if unknown := [name for name in mapping if name not in NAMES]:
        raise ValueError(f"columns should map names among {list(NAMES)}, got {unknown[0]!r}")
    frame, several = _renamed(_open(path, [mapping.get(name, name) for name in KEYS]), mapping)
    tasks = [] if {"y_true", "y_pred"} & set(frame) else _wide_tasks(frame)
    if missing := [name for name in ("y_true", "y_pred") if name not in frame and not tasks]:
        raise ValueError(
            f"{path.name} should have a column {missing[0]!r}, or one mapped to it as in {missing[0]}=label; "
            f"it has {list(frame)}"
        )
    if classes and task is None:
        raise ValueError(f"classes should be given with the task that they are of, got {list(classes)}")
    if (tasks or "task" in frame) and task is not None:
        raise ValueError(f"task should be given for a table that names none, got {task!r} beside {path.name}'s own")
    if not tasks and "task" not in frame and not task:
        raise ValueError(f"task should be given, since {path.name} has no column 'task', only {list(frame)}")
    if "face_id" not in frame:
        frame["face_id"] = pd.Series(np.arange(len(frame)).astype(str), dtype="category")
    names_model = "model" in frame
    frame = frame.assign(**{name: frame.get(name, one) for name, one in (("mask", BARE), ("model", path.stem))})
    if tasks:
        frame, named = _long(frame, tasks)
    else:
        lists = _lists(frame, several)
        frame = frame.drop(columns=several).assign(task=frame.get("task", task), probabilities=lists)
        named = {task: list(classes)} if task is not None and classes else {}
    for name in KEYS:
        if frame[name].isna().any():
            raise ValueError(f"{name} should stand in each row, got {int(frame[name].isna().sum())} without")
        frame[name] = frame[name].astype("category")
    of_task = _decode(frame, named)
    _check_probabilities(frame, of_task)
    first = [name for name in ("face_id", "split", "mask", "task", *NAMES[4:], "model") if name in frame]
    frame = frame[[*first, *(name for name in frame if name not in first)]]
    frame.attrs |= {"classes": of_task, "names_model": names_model}
    return frame


def column_names(path: str | os.PathLike, most: int | None = None) -> list[str]:
    """Of a CSV or Parquet file; ValueError for one that can't be read, and for Parquet of more than `most` rows."""
    if most is not None and Path(path).suffix.lower() == ".parquet":
        _check_rows(Path(path), most)
    return _open(Path(path), []).column_names


def probability_matrix(probabilities: pd.Series) -> NDArray[np.float64]:
    """(N, K) of a column of N lists of K probabilities; ValueError where one is missing or of another length."""
    lists = _arrow(probabilities)
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    if len(np.unique(lengths)) > 1 or lists.null_count:  # a missing list has the length NaN
        raise ValueError(f"probabilities should be lists of one length, got the lengths {np.unique(lengths).tolist()}")
    return lists.flatten().to_numpy(zero_copy_only=False).reshape(len(lists), -1)


def _arrow(lists: pd.Series) -> pa.Array:
    found = pa.array(lists.array if isinstance(lists.dtype, pd.ArrowDtype) else lists.tolist())
    whole = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    try:
        return whole.cast(_LISTS)
    except pa.ArrowException as error:
        raise ValueError(f"probabilities should be lists of numbers, got {whole.type}") from error


def _open(path: Path, text: Sequence[str]) -> pa.Table:
    """The file's columns, those of `text` as text."""
    from pyarrow import csv, parquet

    kind = path.suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise ValueError(f"predictions should be a .csv or .parquet file, got {path.name!r}")
    if not path.is_file():
        raise ValueError(f"predictions should be a file, got {str(path)!r}, which is none")
    try:
        if kind == ".parquet":
            with parquet.ParquetFile(path) as file:
                table = file.read().replace_schema_metadata(None)
        else:
            # types are inferred from the first block: it should be all of the file
            block = min(max(path.stat().st_size, 1), 2**31 - 2) + 1
            table = csv.read_csv(
                path,
                csv.ReadOptions(block_size=block),
                csv.ParseOptions(newlines_in_values=True),
                csv.ConvertOptions(column_types=dict.fromkeys(text, pa.string()), strings_can_be_null=True),
            )
            if bad := [field.name for field in table.schema if pa.types.is_binary(field.type)]:
                raise ValueError(f"the text of column {bad[0]!r} is not UTF-8")
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path.name} should be a whole, readable {kind} file, but {reason}") from error
    # an index that pandas wrote without a name
    unnamed = [name for name in table.column_names if not name or name.startswith("__index_level_")]
    table = table.drop_columns(unnamed)
    if again := {name for name in table.column_names if table.column_names.count(name) > 1}:
        raise ValueError(f"{path.name} should have each column once, got {sorted(again)} more than once")
    if not len(table):
        raise ValueError(f"{path.name} should have rows, got none under {table.column_names}")
    return table


def _check_rows(path: Path, most: int) -> None:
    """Before any is read: a few bytes may say that millions of rows are alike."""
    from pyarrow import parquet

    try:
        n = parquet.read_metadata(path).num_rows
    except (pa.ArrowException, OSError):
        return  # _open says what is wrong with it
    if n > most:
        raise ValueError(f"{path.name} should have at most {most:,} rows here, got {n:,}: use `maskmtl audit`")


def _renamed(table: pa.Table, mapping: Mapping[str, str]) -> tuple[pd.DataFrame, list[str]]:
    """With our names; the columns of probabilities, where the mapping names several, keep theirs."""
    theirs = {ours: [its] for ours, its in mapping.items()}
    several: list[str] = []
    if "," in mapping.get("probabilities", "") and mapping["probabilities"] not in table.column_names:
        several = theirs["probabilities"] = [name.strip() for name in mapping["probabilities"].split(",")]
    wanted = [name for names in theirs.values() for name in names]
    if absent := [name for name in wanted if name not in table.column_names]:
        raise ValueError(f"columns should map to columns of the table {table.column_names}, got {absent[0]!r}")
    if again := [name for name in wanted if wanted.count(name) > 1]:
        raise ValueError(f"columns should map to each column once, got {again[0]!r} twice")
    if clash := [name for name in mapping if name in table.column_names and name not in wanted]:
        raise ValueError(
            f"columns maps {clash[0]!r} to {mapping[clash[0]]!r}, but the table has a column {clash[0]!r} too: "
            "rename or drop it"
        )
    ours = {its[0]: name for name, its in theirs.items() if its is not several}
    table = table.rename_columns([ours.get(name, name) for name in table.column_names])
    for name in (*KEYS, "split"):
        if name in table.column_names and not pa.types.is_null(table.schema.field(name).type):
            try:
                coded = table[name].cast(pa.string()).dictionary_encode()
            except pa.ArrowException as error:
                raise ValueError(f"{name} should be text or a number, got {table.schema.field(name).type}") from error
            table = table.set_column(table.column_names.index(name), name, coded)
    frame = table.to_pandas(
        types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_nested(kind) else None, split_blocks=True
    )
    return frame, several


def _wide_tasks(frame: pd.DataFrame) -> list[str]:
    ends = [name.removesuffix("_pred") for name in frame if name.endswith("_pred")]
    return [task for task in ends if f"{task}_true" in frame]


def _long(frame: pd.DataFrame, tasks: Sequence[str]) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A wide table's rows, task by task, and the names of the classes that have probabilities."""
    of = {task: [name for name in frame if name.startswith(f"{task}_p_")] for task in tasks}
    own = [name for task in tasks for name in (f"{task}_true", f"{task}_pred", *of[task])]
    kept, parts, classes = frame.drop(columns=own), [], {}
    for task, names in of.items():
        if names:
            classes[task] = [name.removeprefix(f"{task}_p_") for name in names]
            if known := _class_names(task):
                if set(known) != set(classes[task]):
                    raise ValueError(f"{task}_p_<class> should be columns of {known}, got {classes[task]}")
                classes[task] = known
        in_order = [f"{task}_p_{name}" for name in classes.get(task, ())]
        y = {name: _worded(frame[f"{task}_{name[2:]}"]) for name in ("y_true", "y_pred")}
        parts.append(kept.assign(task=task, **y, probabilities=_lists(frame, in_order)))
    return pd.concat(parts, ignore_index=True), classes


def _lists(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The probabilities of each row as an Arrow list, from these columns or from 'probabilities' as it is."""
    if not columns and "probabilities" not in frame:
        found = pa.nulls(len(frame), _LISTS)
    elif not columns and isinstance(frame["probabilities"].dtype, pd.ArrowDtype):
        found = _arrow(frame["probabilities"])
    elif not columns and not pd.api.types.is_numeric_dtype(frame["probabilities"]):
        found = pa.array([_parsed(text) for text in frame["probabilities"]], _LISTS)
    else:
        given = frame[list(columns) or ["probabilities"]]
        if words := [name for name in given if not pd.api.types.is_numeric_dtype(given[name])]:
            raise ValueError(f"probabilities should be numbers, got {words[0]!r} with {given[words[0]].iloc[0]!r}")
        matrix = given.to_numpy(float)
        if matrix.shape[1] == 1:
            matrix = np.concatenate([1 - matrix, matrix], axis=1)
        there = ~np.isnan(matrix).all(axis=1)
        ends = np.concatenate([[0], np.cumsum(there * matrix.shape[1])]).astype(np.int32)
        found = pa.ListArray.from_arrays(ends, matrix[there].ravel(), mask=pa.array(~there))
    return pd.Series(found, frame.index, dtype=pd.ArrowDtype(_LISTS))


def _parsed(text: object) -> list[float] | None:
    """A list as CSV files hold it: '[0.1, 0.9]'."""
    if not isinstance(text, str):
        return None
    try:
        return [float(value) for value in json.loads(text)]
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"probabilities should be lists such as [0.1, 0.9], or columns, got {text[:40]!r}") from error


def _class_names(task: str) -> list[str] | None:
    target = TASKS[task].target if task in TASKS else None
    return list(target.names) if isinstance(target, Classes) else None


def _decode(frame: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Makes y_true and y_pred numbers, in place; the names of the classes, by task.

    `classes` are the names that a wide table's columns give.
    """
    given = {name: _worded(frame[name]) for name in ("y_true", "y_pred")}
    numbers = {
        name: pd.to_numeric(values, errors="coerce").to_numpy(float, na_value=np.nan).copy()
        for name, values in given.items()
    }
    words = {name: np.isnan(numbers[name]) & values.notna().to_numpy() for name, values in given.items()}
    found: dict[str, list[str]] = {}
    without = frame["probabilities"].isna().to_numpy()
    for task, at in frame.groupby("task", sort=False).indices.items():
        task, names = str(task), _class_names(str(task)) or classes.get(str(task))
        worded = [name for name in given if words[name][at].any()]
        if worded and names is None:
            if task in TASKS:
                first = given[worded[0]].iloc[at[words[worded[0]][at]][0]]
                raise ValueError(f"{worded[0]} of {task!r} should be numbers, got {first!r}")
            if any(not np.isnan(numbers[name][at]).all() for name in given):
                raise ValueError(f"y_true and y_pred of {task!r} should be all numbers or all class names, got both")
            names = sorted(set().union(*(given[name].iloc[at].dropna().astype(str) for name in given)))
        if names is None:
            labels = numbers["y_true"][at]
            known = labels[~np.isnan(labels)]
            if task not in TASKS and known.size and np.isin(known, (0, 1)).all() and without[at].all():
                raise ValueError(
                    f"y_true of {task!r} should not be 0 or 1 alone: name the classes (--classes no,yes) where the "
                    "table has this task only, else put their names in place of numbers, or give probabilities"
                )
            continue
        found[task] = list(names)
        index = {str(name).casefold() if task in TASKS else str(name): i for i, name in enumerate(names)}
        if task not in TASKS and len(names) == 2:
            index = {"False": 0, "True": 1} | index
        for name in worded:
            rows = at[words[name][at]]
            texts = given[name].iloc[rows].astype(str).astype("category")
            codes = [index.get(text.strip().casefold() if task in TASKS else text, -1) for text in texts.cat.categories]
            if -1 in codes:
                strange = texts.cat.categories[codes.index(-1)]
                raise ValueError(f"{name} of {task!r} should be among {list(names)}, got {strange!r}")
            numbers[name][rows] = np.array(codes)[texts.cat.codes]
        for name in given:
            _check_indices(numbers[name][at], name, task, len(names))
    for name in given:
        wrong = np.isinf(numbers[name]) if name == "y_true" else ~np.isfinite(numbers[name])
        if wrong.any():
            what = "finite or empty, got infinity" if name == "y_true" else "finite, got NaN or infinity"
            face = frame["face_id"].iloc[int(np.argmax(wrong))]
            raise ValueError(f"{name} should be {what} in {int(wrong.sum())} rows, the first of face {face!r}")
        frame[name] = numbers[name]
    return found


def _worded(values: pd.Series) -> pd.Series:
    """Truth values as the words 'False' and 'True'; all others as they are."""
    return values.map(str, na_action="ignore") if pd.api.types.infer_dtype(values) == "boolean" else values


def _check_indices(values: NDArray[np.float64], name: str, task: str, n_classes: int) -> None:
    known = values[np.isfinite(values)]
    if (strange := known[~np.isin(known, np.arange(n_classes))]).size:
        raise ValueError(f"{name} of {task!r} should hold class indices 0..{n_classes - 1}, got {strange[0]:g}")


def _check_probabilities(frame: pd.DataFrame, classes: Mapping[str, Sequence[str]]) -> None:
    for task, at in frame.groupby("task", sort=False).indices.items():
        lists = frame["probabilities"].iloc[at]
        if lists.isna().all():
            continue
        if lists.isna().any():
            raise ValueError(f"probabilities of {task!r} should stand in all of its rows or in none, got some")
        matrix, task = probability_matrix(lists), str(task)
        n_classes = matrix.shape[1]
        if task in TASKS and _class_names(task) is None:
            raise ValueError(f"probabilities should be of classes, got some for {task!r}, which is a number")
        if task in classes and len(classes[task]) != n_classes:
            raise ValueError(f"probabilities of {task!r} should be one per class of {classes[task]}, got {n_classes}")
        sums = matrix.sum(axis=1)
        off = ~(np.abs(sums - 1) <= OFF_ONE) | (matrix < 0).any(axis=1)
        if off.any():
            row = int(np.argmax(off))
            raise ValueError(
                f"probabilities of {task!r} should be at least 0 and add up to 1 within {OFF_ONE}, got "
                f"{matrix[row].tolist()}, sum {sums[row]:.4g}, for face {frame['face_id'].iloc[at[row]]!r} "
                f"({int(off.sum())} such rows)"
            )
        for name in ("y_true", "y_pred"):
            _check_indices(frame[name].to_numpy()[at], name, task, n_classes)
        others = matrix.max(axis=1) > of_answers(matrix, frame["y_pred"].to_numpy()[at])
        if others.mean() > 0.5:
            raise ValueError(
                f"probabilities should be in the order of the classes {list(classes.get(task, range(n_classes)))}, got "
                f"another class than the answer of {task!r} as the most probable in {others.mean():.0%} of its rows"
            )
