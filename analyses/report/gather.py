"""What a report says of itself: versions, hashes, the model's card; and the explanations that lie in folders."""

import hashlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analyses.attribution.atlas import AtlasResult
from analyses.explanation import Explanation
from analyses.fairness.coupling import coupling
from analyses.report.data import ReportData
from maskmtl import __version__
from maskmtl.checkpoint import CARD, WEIGHTS, for_others
from maskmtl.paths import MODELS

PACKAGES = ("torch", "numpy", "pandas", "scipy")


def gather(
    predictions: pd.DataFrame,
    audit: pd.DataFrame,
    *,
    faces: str,
    date: str,
    level: float = 0.95,
    settings: Mapping[str, Any] | None = None,
    files: Mapping[str, Path] | None = None,
    model: Path | None = None,
    atlas: Path | None = None,
    explained: Path | None = None,
) -> ReportData:
    """The data of a report on one model's audit.

    Args:
        faces: the name of the data set.
        files: what the predictions were read from, by name: they are hashed.
        model: a folder with weights and card; else a model of data/models that has the audited model's name. Where its
            teacher lies on this machine is left out.
        atlas, explained: folders of `maskmtl atlas` and `maskmtl explain`.

    Raises:
        ValueError: for a folder that does not hold what it should, or is of another model than predictions that name
            theirs, or as `ReportData`.
    """
    names = sorted(map(str, audit["model"].unique())) or [""]
    ours = Path(names[0]).name == names[0] and len(os.fsencode(names[0])) < 256  # a table may name anything
    folder = model or MODELS / (names[0] if ours else "")
    if model is not None and not (folder / CARD).is_file():
        raise ValueError(f"model should be a folder with {CARD}, got {str(model)!r}")
    card = folder / CARD if names[0] and (folder / CARD).is_file() else None
    mean_maps = AtlasResult.load(atlas) if atlas else None
    regions = Explanation.load(explained) if explained else None
    if predictions.attrs.get("names_model", True):
        theirs = {
            "model": model and model.resolve().name,
            "atlas": mean_maps and mean_maps.about.get("model"),
            "explained": regions and regions.about.get("model"),
        }
        for what, name in theirs.items():
            if name and name != names[0]:
                raise ValueError(f"{what} should be of the model of the predictions, {names[0]!r}, got {name!r}")
    hashed = dict(files or {}) | ({"weights": folder / WEIGHTS} if card and (folder / WEIGHTS).is_file() else {})
    split = list(map(str, predictions["split"].dropna().unique())) if "split" in predictions else []
    asked = {name: value for name, value in (settings or {}).items() if name in ("seed", "replicates", "margins")}
    heads = coupling(predictions, level=level, **asked)
    return ReportData(
        predictions,
        audit,
        faces=faces,
        date=date,
        split=split[0] if len(split) == 1 else "",
        level=level,
        settings=dict(settings or {}),
        versions={"maskmtl": __version__, "python": platform.python_version(), **_versions()},
        hashes={name: sha256(path) for name, path in hashed.items()},
        card=for_others(json.loads(card.read_text(encoding="utf-8"))) if card else None,
        atlas=mean_maps,
        leakage=regions.leakage() if regions else None,
        coupling=heads if len(heads) else None,
    )


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in PACKAGES}
