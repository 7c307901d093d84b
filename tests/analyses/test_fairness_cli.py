"""The commands audit and compare, as a person types them."""

import json

import numpy as np
import pandas as pd
import pytest

from analyses.cli import main
from analyses.fairness.audit import COLUMNS

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
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.01", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["fail_if"]["accuracy(gender) < -0.01"][0]["value"] < -0.03


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
