"""The commands audit and compare, as a person types them."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from analyses.cli import main
from analyses.fairness.audit import COLUMNS
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import predict
from maskmtl.paths import MODELS

FAST = ["--replicates", "50"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """old.csv and new.csv, of another tool: new reads a tenth of the women wrong that old reads right."""
    folder, rng = tmp_path_factory.mktemp("tables"), np.random.default_rng(0)
    sex, site = np.repeat(["male", "female"], 300), rng.choice(["north", "south"], 600)
    old = np.where(rng.random(600) < 0.95, sex, np.where(sex == "male", "female", "male"))
    new = np.where((sex == "female") & (rng.random(600) < 0.1), "male", old)
    for name, guess in (("old", old), ("new", new)):
        table = pd.DataFrame({"id": range(600), "label": sex, "guess": guess, "site": site})
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder


MAPPING = ["--task", "gender", "--column", "face_id=id", "--column", "y_true=label", "--column", "y_pred=guess"]


def test_audit_of_a_foreign_table(tables, tmp_path, capsys):
    out = tmp_path / "audit.parquet"
    command = ["audit", str(tables / "new.csv"), *MAPPING, "--by", "gender,site,gender*site", *FAST]
    assert main([*command, "--out", str(out)]) == 0
    words = capsys.readouterr().out
    assert "gap: gender accuracy, none, gender female, against all others: -0.1" in words and "n 300" in words
    found = pd.read_parquet(out)
    assert tuple(found.columns) == COLUMNS and set(found["by"]) == {"all", "gender", "site", "gender*site"}
    assert main([*command, "--margin", "accuracy=0.5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["audit"]
    assert {row["margin"] for row in rows if row["metric"] == "accuracy"} == {0.5}


def test_compare_ends_with_1_where_a_condition_holds(tables, tmp_path, capsys):
    pair = [str(tables / "old.csv"), str(tables / "new.csv"), *MAPPING, "--by", "gender", *FAST]
    assert main(["compare", *pair, "--fail-if", "worst_group_accuracy(gender) < -0.01"]) == 1
    assert "FAILED: worst_group_accuracy(gender) < -0.01" in capsys.readouterr().out
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.2", "--out", str(tmp_path / "diff.csv")]) == 0
    assert "passed: accuracy(gender) < -0.2" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "diff.csv")["model"]) == {"new − old"}
    page = tmp_path / "diff.html"
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.01", "--out", str(page)]) == 1
    capsys.readouterr()
    html = page.read_text(encoding="utf-8")
    assert "holds, so the comparison fails" in html and '<h2 id="gender-title">By gender</h2>' in html
    assert html.count("<svg") >= 1 and "http:" not in html and "https:" not in html
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.01", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["fail_if"]["accuracy(gender) < -0.01"][0]["value"] < -0.03


def test_report_of_a_foreign_table(tables, tmp_path, capsys):
    out = tmp_path / "report.html"
    command = ["report", str(tables / "new.csv"), *MAPPING, "--by", "gender", *FAST, "--date", "2026-01-02"]
    assert main([*command, "--out", str(out)]) == 0 and "report in" in capsys.readouterr().out
    content = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    whole = hashlib.sha256((tables / "new.csv").read_bytes()).hexdigest()
    assert content["provenance"]["hashes"] == {"predictions": whole} and content["date"] == "2026-01-02"
    assert content["provenance"]["settings"]["by"] == ["gender"] and content["card"] is None
    assert "female" in content["summary"]["findings"][0]["text"]
    first = out.read_bytes()
    assert main([*command, "--out", str(out)]) == 0 and out.read_bytes() == first
    assert main([*command, "--out", str(tmp_path / "report.txt")]) == 2
    assert main([*command, "--out", str(out), "--atlas", str(tmp_path)]) == 2
    assert "should hold an atlas" in capsys.readouterr().err


def test_report_of_our_own_predictions_has_card_and_weights(tmp_path, demo_faces):
    few = demo_faces.select(range(60))
    model = load_model(DEFAULT_MODEL)
    predict(model, few, masks=("none",)).to_parquet(tmp_path / "p.parquet")
    assert (
        main(["report", str(tmp_path / "p.parquet"), "--by", "gender", *FAST, "--out", str(tmp_path / "r.html")]) == 0
    )
    content = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    weights = (MODELS / DEFAULT_MODEL / "model.safetensors").read_bytes()
    assert content["provenance"]["hashes"]["weights"] == hashlib.sha256(weights).hexdigest()
    assert content["card"]["licence"] == model.card["licence"] and content["model"] == DEFAULT_MODEL


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--by", "height"], "by should be among"),
        (["--margin", "accuracy"], "margin should read like"),
        (["--out", "audit.xlsx"], "out should end in .parquet or .csv"),
        (["--level", "2"], "level should be between 0 and 1"),
        (["--column", "y_true"], "column should be OURS=THEIRS"),
    ],
)
def test_wrong_questions(tables, more, message, capsys):
    assert main(["audit", str(tables / "old.csv"), *MAPPING, *FAST, *more]) == 2
    assert message in capsys.readouterr().err


def test_a_condition_about_nothing_is_an_error(tables, capsys):
    pair = [str(tables / "old.csv"), str(tables / "new.csv"), *MAPPING, "--by", "gender", *FAST]
    assert main(["compare", *pair, "--fail-if", "worst_group_accuracy(glasses) < 0"]) == 2
    assert "is about nothing that was compared" in capsys.readouterr().err
