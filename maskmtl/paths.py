"""Where the project's own data lies, and where it may cache."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "data" / "models"
DEMO = ROOT / "data" / "demo"


def cache_folder() -> Path:
    """The user's cache: $MASKMTL_CACHE, else $XDG_CACHE_HOME/maskmtl, else ~/.cache/maskmtl. Not created here."""
    if own := os.environ.get("MASKMTL_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "maskmtl"


def runs_folder() -> Path:
    """Where the workbench and `maskmtl runs` keep runs: $MASKMTL_RUNS, else runs/ of the project. Not created here."""
    return Path(os.environ.get("MASKMTL_RUNS") or ROOT / "runs")
