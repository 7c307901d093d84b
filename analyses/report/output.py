"""A report's content as JSON, under docs/report-schema.json, and both written to disk."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analyses.report import texts
from analyses.report.data import ReportData
from analyses.report.findings import findings, in_brief, verdicts
from analyses.report.page import page
from analyses.report.sections import limits, sections, unexamined
from maskmtl.files import write_json, write_text

FORMAT = 1


def as_json(data: ReportData) -> dict[str, Any]:
    """What the page says, as JSON can hold it: NaN is null; valid under docs/report-schema.json."""
    return _content(data, [key for key, _, _ in sections(data)])


def page_and_json(data: ReportData) -> tuple[str, dict[str, Any]]:
    """`report` and `as_json`, for which the sections are made once."""
    made = list(sections(data))
    return page(data, made), _content(data, [key for key, _, _ in made])


def _content(data: ReportData, there: list[str]) -> dict[str, Any]:
    counts = {name: verdicts(data.audit, declared=name == "declared") for name in ("declared", "exploratory")}
    keys = {"no gap": "no_gap", "not enough evidence": "not_enough_evidence", "too few": "too_few"}
    content = {
        "format": FORMAT,
        "model": data.model,
        "faces": data.faces,
        "split": data.split or None,
        "date": data.date,
        "level": data.level,
        "notice": texts.NOTICE,
        "sections": there,
        "summary": {
            "text": in_brief(data.audit, data.units),
            "findings": [asdict(finding) for finding in findings(data.audit, units=data.units)],
            "verdicts": {name: {keys.get(key, key): n for key, n in of.items()} for name, of in counts.items()},
        },
        "tasks": data.tasks,
        "masks": data.masks,
        "n": len(data.answers.faces),
        "annotated": data.annotated,
        "groups": data.groups.to_dict("records"),
        "confusions": [
            {"task": task, "mask": mask, "classes": names, "counts": counts}
            for task, mask, names, counts in data.confusions
        ],
        "audit": data.audit.to_dict("records"),
        "atlas": _atlas(data),
        "leakage": None if data.leakage is None else data.leakage.to_dict("records"),
        "not_examined": [{"text": text, "command": command or None} for text, command in unexamined(data)],
        "coupling": None if data.coupling is None else data.coupling.to_dict("records"),
        "limits": limits(data),
        "method": dict(texts.method(data.level)),
        "provenance": {"settings": data.settings, "versions": data.versions, "hashes": data.hashes},
        "card": data.card,
        "annex_iv": [asdict(heading) for heading in texts.ANNEX_IV],
    }
    plain: dict[str, Any] = _plain(content)
    return plain


def _atlas(data: ReportData) -> dict[str, Any] | None:
    if data.atlas is None:
        return None
    atlas = data.atlas
    arrays = {"groups": atlas.groups, "masks": atlas.masks, "n": atlas.n, "mean": atlas.mean}
    return {**arrays, "table": atlas.table().to_dict("records"), "about": atlas.about}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if value is None or value is pd.NA:
        return None
    return value if isinstance(value, (bool, int, str)) else str(value)


def write_report(data: ReportData, path: Path) -> None:
    """Write `path`, the page, and beside it the JSON under the same name with .json; each whole or not at all.

    ValueError as `check_path` has it.
    """
    check_path(path)
    html, content = page_and_json(data)
    write_json(path.with_suffix(".json"), content)
    write_text(path, html)


def check_path(path: Path) -> None:
    """ValueError for a path that does not end in .html, or beside which other JSON, as a card, would be lost."""
    if path.suffix.lower() != ".html":
        raise ValueError(f"path should end in .html, got {path.name!r}")
    beside = path.with_suffix(".json")
    if beside.is_file():
        try:
            there = json.loads(beside.read_text(encoding="utf-8"))
        except ValueError:
            there = None
        if not (isinstance(there, dict) and {"format", "audit", "provenance"} <= there.keys()):
            raise ValueError(f"path should be another: {str(beside)!r} is no report's JSON and would be replaced")
