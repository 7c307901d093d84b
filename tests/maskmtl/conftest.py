"""What the tests of runs share."""

from pathlib import Path

import pandas as pd
import pytest

from maskmtl.prepare import prepare
from maskmtl.runs import Runs


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


@pytest.fixture(scope="session")
def few(demo_face_paths: list[Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A prepared folder of forty demo faces, thirty to train on; beside it the CSV that it comes from."""
    folder, demo = tmp_path_factory.mktemp("few"), demo_face_paths[0].parent
    table = pd.read_csv(demo / "faces.csv").iloc[::11].head(40)
    table["path"] = [str(demo / name) for name in table["path"]]
    table.assign(split=["train", "train", "train", "val"] * 10).to_csv(folder / "faces.csv", index=False)
    prepare(folder / "faces.csv", folder / "few", align=False)
    return str(folder / "few")
