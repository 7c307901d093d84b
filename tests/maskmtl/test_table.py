import json
import shutil
from dataclasses import asdict, replace

import pandas as pd
import pytest
import torch

from maskmtl import recipes, table
from maskmtl.balancing import BALANCINGS
from maskmtl.cli import main
from maskmtl.prepare import prepare
from maskmtl.recipes import RECIPES, ROWS, recipe
from maskmtl.training import Stopped

ARGUMENTS = ["--recipes", "hard,maskmtl", "--protocols", "random"]


@pytest.fixture(scope="module")
def prepared_demo(demo_face_paths, tmp_path_factory):
    """Sixty demo faces as a user would prepare them from a list."""
    folder = tmp_path_factory.mktemp("demo")
    faces = pd.read_csv(demo_face_paths[0].parent / "faces.csv")[["path", "age", "gender", "ethnicity"]][::7][:60]
    faces["path"] = [str(demo_face_paths[0].parent / name) for name in faces["path"]]
    faces.to_csv(folder / "faces.csv", index=False)
    prepare(folder / "faces.csv", folder / "prepared", align=False, workers=1)
    return folder / "prepared"


@pytest.fixture
def quick(monkeypatch):
    """Recipes that differ as the real ones do, trained for an epoch on masks drawn beforehand."""
    short = {
        name: replace(r, config=replace(r.config, epochs=1, batch_size=16, precision="fp32"))
        for name, r in RECIPES.items()
    }
    monkeypatch.setattr(recipes, "RECIPES", short)


def test_the_rows_are_the_papers():
    assert len(ROWS) == 11
    kinds = {name: (r.config.encoder, r.config.sharing, r.config.nonlocal_block) for name, r in RECIPES.items()}
    assert kinds["single"] == ("resnet18", "soft", False) and RECIPES["single"].config.tie == 0
    assert kinds["maskmtl"] == kinds["maskmtl-bare"] == ("conv3", "hierarchical", True)
    assert kinds["hierarchical"] == ("conv3", "hierarchical", False)
    balancings = {
        name: RECIPES[name].config.balancing for name in ("fixed", "gradnorm", "uncertainty", "moo", "pareto")
    }
    assert list(balancings.values()) == ["fixed", "gradnorm", "uncertainty", "mgda", "pareto"]
    assert set(balancings.values()) <= set(BALANCINGS)
    paper = RECIPES["paper"].config
    assert (paper.lr, paper.batch_size, paper.epochs, paper.age_loss) == (1e-3, 32, 40, "l1_years")
    assert (paper.schedule, paper.weight_decay, paper.augment, paper.channels) == ("constant", 0, False, 1)


def test_a_resnet_takes_smaller_pictures_on_a_cpu():
    assert recipe("fixed", torch.device("cpu")).config.size == 64
    assert recipe("fixed", torch.device("cuda")).config.size is None  # 224, as published
    assert recipe("maskmtl", torch.device("cpu")).config.size is None
    with pytest.raises(ValueError, match=r"recipe should be one of .*'maskmtl'.*, got 'best'"):
        recipe("best", torch.device("cpu"))


def test_the_plan_has_each_row_once_and_parts_for_three():
    assert [entry.name for entry in table.plan(protocols=["parts"])] == ["maskmtl-bare", "maskmtl", "default"]
    entries = table.plan()
    assert len(entries) == 14 == len({entry.folder for entry in entries})
    assert [entry.name for entry in entries if entry.protocol == "parts"] == ["maskmtl-bare", "maskmtl", "default"]


def test_table_trains_what_is_missing_and_prints_paper_and_ours(quick, prepared_demo, tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "out"
    command = ["table", str(prepared_demo), "--runs", str(runs), "--out", str(out), *ARGUMENTS]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "| hard | hard | MaskMTL, 48 | mixed | random | 0 | .8842 → " in printed
    assert "not comparable" in printed and "never for deciding" in printed

    csv = pd.read_csv(out / "table.csv").set_index("recipe")
    assert list(csv.index) == ["hard", "maskmtl"]
    found = json.loads((runs / "maskmtl-random-seed0" / table.FIGURES).read_text())
    assert csv.loc["maskmtl", "gender"] == found["test"]["mixed"]["gender"]["value"]
    assert (csv["gender_low"] < csv["gender"]).all() and (csv["age"] < csv["age_high"]).all()
    assert csv.loc["maskmtl", "paper_ethnicity"] == 0.7927 and (csv["epochs"] == 1).all()
    assert "<td>.8842 → " in (out / "table.html").read_text()
    assert (out / "table.md").read_text() in printed

    times = {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}
    assert main([*command, "--no-train"]) == 0
    assert capsys.readouterr().out == printed[printed.index("| recipe") :]
    assert times == {path: path.stat().st_mtime_ns for path in runs.rglob("*.safetensors")}


def test_a_stopped_table_goes_on(quick, prepared_demo, tmp_path):
    entries = table.plan(["hard"], ["random"])
    with pytest.raises(Stopped):
        table.make(prepared_demo, tmp_path, entries, stop=lambda: True)
    assert table.make(prepared_demo, tmp_path, entries, train_missing=False).empty
    assert list(table.make(prepared_demo, tmp_path, entries)["recipe"]) == ["hard"]


def test_a_teacher_is_trained_on_the_students_protocol(quick, prepared_demo, tmp_path):
    faces = shutil.copytree(prepared_demo, tmp_path / "faces")  # composites have no day: all are of one part
    manifest = pd.read_parquet(faces / "manifest.parquet")
    manifest.assign(parts=manifest["random"]).to_parquet(faces / "manifest.parquet")
    begun, runs = [], tmp_path / "begun"
    with pytest.raises(Stopped):  # after the teacher's only epoch
        table.make(
            faces, runs, table.plan(["default"], ["parts"]), progress=lambda name, _: begun.append(name),
            stop=lambda: begun[-1:] == ["default-parts-seed0"],
        )  # fmt: skip
    runs.rename(tmp_path / "moved")  # it goes on, with the teacher that moved along
    tmp_path /= "moved"
    found = table.make(faces, tmp_path, table.plan(["default"], ["parts"]))
    assert list(found["mask"]) == ["none", "mixed"] and found["paper_gender"].isna().all()
    config = json.loads((tmp_path / "default-parts-seed0" / "config.json").read_text())
    assert config["teacher"] == str(tmp_path / "teacher-parts-seed0")
    taught_by = json.loads((tmp_path / "teacher-parts-seed0" / "config.json").read_text())
    assert (taught_by["protocol"], taught_by["teacher"]) == ("parts", "")
    assert "→" not in table.markdown(found).split("paper →")[0]
    assert not (tmp_path / "teacher-parts-seed0" / table.FIGURES).exists()  # a teacher is never tested


def test_figures_of_other_faces_or_settings_are_not_taken_for_these(quick, prepared_demo, tmp_path, monkeypatch):
    runs, entries = tmp_path / "runs", table.plan(["hard"], ["random"])
    table.make(prepared_demo, runs, entries)
    other = shutil.copytree(prepared_demo, tmp_path / "other")
    manifest = pd.read_parquet(other / "manifest.parquet")
    manifest.assign(random=manifest["random"].replace({"val": "test", "test": "val"})).to_parquet(
        other / "manifest.parquet"
    )
    with pytest.raises(ValueError, match=r"runs should be of these faces .* is of other faces:"):
        table.make(other, runs, entries)
    row = recipes.RECIPES["hard"]
    monkeypatch.setitem(recipes.RECIPES, "hard", replace(row, config=replace(row.config, lr=0.5)))
    with pytest.raises(ValueError, match="is of other config:"):
        table.make(prepared_demo, runs, entries, train_missing=False)


def test_figures_without_a_note_and_of_another_device(quick, prepared_demo, tmp_path):
    entries = table.plan(["hard"], ["random"])
    table.make(prepared_demo, tmp_path, entries)
    path = tmp_path / entries[0].folder / table.FIGURES
    found = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in found.items() if name not in ("faces", "config")}))
    with pytest.raises(ValueError, match="does not say of which faces and config it is"):
        table.make(prepared_demo, tmp_path, entries, train_missing=False)
    resnet = tmp_path / "fixed-random-seed0" / table.FIGURES
    resnet.parent.mkdir()
    on_gpu = replace(recipes.recipe("fixed", torch.device("cuda")).config, protocol="random", seed=0)
    resnet.write_text(json.dumps({**found, "config": asdict(on_gpu), "device": "cuda"}))
    assert len(table.make(prepared_demo, tmp_path, table.plan(["fixed"], ["random"]), train_missing=False))


def test_what_the_table_can_not_tell_is_refused_before_training(quick, prepared_demo, tmp_path):
    other = shutil.copytree(prepared_demo, tmp_path / "other")
    manifest = pd.read_parquet(other / "manifest.parquet")
    manifest.loc[manifest["random"] == "test", "ethnicity"] = None
    manifest.to_parquet(other / "manifest.parquet")
    with pytest.raises(ValueError, match="at least two test faces with ethnicity in protocol 'random', got 0"):
        table.make(other, tmp_path / "runs", table.plan(["hard"], ["random"]))
    assert not (tmp_path / "runs").exists()
    with pytest.raises(ValueError, match=r"for protocols \['parts'\], got 'fixed'"):
        table.plan(["default", "fixed"], ["parts"])


def test_wrong_arguments(prepared_demo, tmp_path, capsys):
    command = ["table", str(prepared_demo), "--runs", str(tmp_path)]
    for extra, message in (
        (["--recipes", "best"], "recipe should be one of"),
        (["--protocols", "mine"], "protocols should be of"),
        (["--seeds", "x"], "seeds should be whole numbers"),
        (["--no-train"], "runs should hold rows of the table"),
    ):
        assert main([*command, *extra]) == 2
        assert message in capsys.readouterr().err
