"""The commands audit and compare, as a person types them."""

import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest

from analyses.attribution.atlas import Atlas
from analyses.cli import main
from analyses.explanation import Explanation
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
    assert re.search(r"−\d\.\d.points \(−\d\.\d.to.−\d\.\d\), n 600", html)  # where the condition holds
    assert re.search(r"Range over groups, bare: [+−][\d.]+.points \([^()]*, n 600\); no interval", html)
    assert '<th scope="col">mask</th>' in html and '<th scope="col">faces</th>' not in html
    assert html.count("<svg") >= 1 and "http:" not in html and "https:" not in html
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.01", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert result["fail_if"]["accuracy(gender) < -0.01"][0]["value"] < -0.03


def test_a_condition_does_not_pass_on_what_the_second_model_lacks(tables, tmp_path, capsys):
    old, new = (pd.read_csv(tables / f"{name}.csv") for name in ("old", "new"))
    pd.concat([old.assign(mask="none"), old.assign(mask="n95")]).to_csv(tmp_path / "old.csv", index=False)
    new.head(400).to_csv(tmp_path / "new.csv", index=False)
    pair = [str(tmp_path / "old.csv"), str(tmp_path / "new.csv"), *MAPPING, "--by", "gender", *FAST]
    assert main(["compare", *pair]) == 0
    assert "compared 400 of 600 and 400 faces; B lacks gender under n95" in capsys.readouterr().out
    assert main(["compare", *pair, "--fail-if", "accuracy(gender) < -0.2"]) == 2
    assert "'gender' under 'n95' too, which B lacks" in capsys.readouterr().err
    assert main(["compare", *pair, "--fail-if", "accuracy(gender, mask=none) < -0.2"]) == 0


def test_report_of_a_foreign_table(tables, tmp_path, capsys):
    out = tmp_path / "report.html"
    command = ["report", str(tables / "new.csv"), *MAPPING, "--by", "gender", *FAST, "--date", "2026-01-02"]
    assert main([*command, "--out", str(out)]) == 0 and "report in" in capsys.readouterr().out
    content = json.loads(out.with_suffix(".json").read_text(encoding="utf-8"))
    whole = hashlib.sha256((tables / "new.csv").read_bytes()).hexdigest()
    assert content["provenance"]["hashes"] == {"predictions": whole} and content["date"] == "2026-01-02"
    assert content["provenance"]["settings"]["by"] == ["gender"] and content["card"] is None
    assert content["provenance"]["settings"]["seed"] == 0 and "margins" not in content["provenance"]["settings"]
    assert "female" in content["summary"]["findings"][0]["text"]
    first = out.read_bytes()
    assert main([*command, "--out", str(out)]) == 0 and out.read_bytes() == first
    assert main([*command, "--out", str(tmp_path / "report.txt")]) == 2
    assert main([*command, "--out", str(out), "--atlas", str(tmp_path)]) == 2
    assert "should hold an atlas" in capsys.readouterr().err


def test_the_heads_of_a_report_are_asked_with_its_margins(tmp_path, capsys):
    rng, n = np.random.default_rng(0), 300
    truth = {"gender": rng.integers(0, 2, n), "age": rng.integers(0, 90, n)}
    guess = {"gender": np.where(rng.random(n) < 0.8, truth["gender"], 1 - truth["gender"]), "age": truth["age"] + 2}
    parts = [pd.DataFrame({"face_id": range(n), "task": task, "y_true": truth[task], "y_pred": guess[task]})
             for task in truth]  # fmt: skip
    pd.concat(parts).to_csv(tmp_path / "p.csv", index=False)
    command = ["report", str(tmp_path / "p.csv"), "--by", "gender", *FAST, "--out", str(tmp_path / "r.html")]
    assert main([*command, "--margin", "mae=7", "--margin", "accuracy=0.2"]) == 0
    content = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    margins = {row["metric"]: row["margin"] for row in content["coupling"]}
    assert margins["mae"] == 7 and content["provenance"]["settings"]["replicates"] == 50


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


def test_a_report_takes_no_explanation_and_card_of_another_model(tmp_path, tables, capsys):
    sums = Atlas(["all"], ["none"], permutations=9)
    sums.add({"gender": np.ones((1, 20, 2, 2))}, ["all"] * 20, [str(i) for i in range(20)])
    sums.result({"model": "other", "by": "all"}).save(tmp_path / "atlas")
    table = pd.DataFrame({"task": ["gender"], "mask": "none", "region": "mask", "share": 0.5})
    Explanation(table, table, table, {"model": "other", "seed": 0}).save(tmp_path / "explained")
    named = pd.read_csv(tables / "new.csv").assign(model="mine")
    named.to_csv(tmp_path / "named.csv", index=False)
    command = [*MAPPING, "--by", "gender", *FAST, "--out", str(tmp_path / "r.html")]
    for what, of in (("atlas", "other"), ("explained", "other"), ("model", DEFAULT_MODEL)):
        folder = MODELS / DEFAULT_MODEL if what == "model" else tmp_path / what
        assert main(["report", str(tmp_path / "named.csv"), *command, f"--{what}", str(folder)]) == 2
        assert f"{what} should be of the model of the predictions, 'mine', got {of!r}" in capsys.readouterr().err
    assert main(["report", str(tables / "new.csv"), *command, "--model", str(MODELS / DEFAULT_MODEL)]) == 0  # no name


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
