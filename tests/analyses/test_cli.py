import json

import pandas as pd
import pytest
import torch

from analyses.attribution import Attribution
from analyses.attribution.atlas import AtlasResult
from analyses.cli import main
from maskmtl.checkpoint import save_model
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS


@pytest.fixture(scope="module")
def arguments(tmp_path_factory, demo_face_paths):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("explain")
    save_model(MaskMTL(TASKS, channels=3, encoder="compact"), folder / "model", {"summary": "untrained"})
    (folder / "pictures").mkdir()
    for i, path in enumerate(demo_face_paths[:24]):
        (folder / "pictures" / f"{i}_{i % 2}_{i % 5}_2017010100000{i:04d}.jpg.chip.jpg").write_bytes(path.read_bytes())
    return [str(folder / "pictures"), "--model", str(folder / "model")]


def test_explain(arguments, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["explain", *arguments, "--methods", "hirescam,region_ablation", "--by", "gender", "--maps", "--json"]
    assert main([*command, "--out", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["n"] == 24 and {row["gender"] for row in result["leakage"]} == {"male", "female"}
    assert len(pd.read_parquet(out / "regions.parquet")) == 24 * 2 * 2 * 3 * 7
    maps = Attribution.load(out / "maps" / "hirescam-surgical-000000.safetensors")
    assert maps.values["ethnicity"].shape == (24, 12, 12)
    assert list(pd.read_csv(out / "maps" / "faces.csv")["row"]) == list(range(24))
    assert main(["explain", *arguments, "--out", str(out)]) == 0
    assert "loss of score without it" in capsys.readouterr().out


def test_atlas(arguments, tmp_path, capsys):
    assert main(["atlas", *arguments, "--by", "gender", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {row["group"] for row in result["maps"]} == {"male", "female"}
    assert AtlasResult.load(tmp_path).n == (12, 12)


def test_wrong_input(arguments, tmp_path, capsys):
    assert main(["explain", *arguments, "--methods", "tealeaves", "--out", str(tmp_path / "a")]) == 2
    assert "methods should be among" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    for inside in ("", "below"):
        assert main(["explain", *arguments, "--out", str(tmp_path / "file" / inside)]) == 2
        assert "out should be a folder" in capsys.readouterr().err
    assert main(["atlas", *arguments, "--by", "height", "--out", str(tmp_path / "b")]) == 2


def test_all_commands_are_there(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(name in out for name in ("prepare", "train", "explain", "atlas"))
