"""The whole report: what stands in it, of own and foreign tables, hostile names, and its JSON under the schema."""

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from analyses.attribution.atlas import Atlas
from analyses.fairness import audit
from analyses.fairness.coupling import coupling
from analyses.figures import PALETTE, error_figure
from analyses.model_card import LIMITS
from analyses.report import ReportData, as_json, check_path, findings, report, write_report
from analyses.report.groups import BEST, WORST
from analyses.report.sections import TITLES
from maskmtl.paths import ROOT

HOSTILE = "</td><script>alert('{}')</script>&\"'"
SCHEMA = json.loads((ROOT / "docs" / "report-schema.json").read_text(encoding="utf-8"))
Draft202012Validator.check_schema(SCHEMA)


def check_json(data: ReportData) -> dict:
    content = as_json(data)
    Draft202012Validator(SCHEMA).validate(content)
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    return content


def ids(page) -> list[str]:
    return [element.attributes["id"] for element in page.all("section")]


def cells(page, caption: str) -> list[list[str]]:
    """Rows of the table with this caption, the head first."""
    found, at = [], -1
    for element in page.elements:
        if element.name == "caption":
            at = 0 if element.text == caption else -1
        elif at == 0 and element.name == "tr":
            found.append([])
        elif at == 0 and element.name in ("td", "th"):
            found[-1].append(element.text.replace("\N{NO-BREAK SPACE}", " "))
    return found


@pytest.fixture(scope="module")
def page(own, parsed):
    return parsed(report(own))


def test_sections_in_order_with_contents(page):
    absent = {"explanations", "coupling"}
    assert ids(page) == [name for name in TITLES if name not in absent]
    links = [element.attributes["href"] for element in page.all("a") if "nav" in element.inside]
    assert links == [f"#{name}" for name in ids(page)]


def test_headings_step_down_one_by_one(page):
    levels = [int(element.name[1]) for element in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_table_and_landmark_has_a_name(page):
    assert page.all("html")[0].attributes["lang"] == "en"
    assert len(page.all("main")) == len(page.all("nav")) == len(page.all("header")) == 1
    for svg in page.all("svg"):
        hidden = svg.attributes.get("aria-hidden") == "true" or "svg" in svg.inside
        assert hidden or svg.attributes["role"] == "img"
    charts = [svg for svg in page.all("svg") if svg.attributes.get("role") == "img"]
    assert len([title for title in page.all("title") if "svg" in title.inside and title.text]) == len(charts)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(head.attributes["scope"] in ("row", "col") for head in page.all("th"))
    captions = [caption.text for caption in page.all("caption")]
    assert len(captions) == len(set(captions))
    found = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(found) == len(set(found))


def test_the_page_needs_nothing_else(own):
    text = report(own)
    assert not re.search(r"https?://(?!www\.w3\.org/)|//cdn|@import|url\(|<script|<iframe|<form", text)
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'(?:href|src)="([^"]*)"', text))
    assert len(text.encode()) < 1_000_000
    assert text == report(own)


def test_figures_are_those_of_the_audit(own, page):
    row = own.rows(
        task="gender", mask="none", by="ethnicity", group="black", metric="accuracy", statistic="value"
    ).iloc[0]
    gap = own.rows(task="gender", mask="none", by="ethnicity", group="black", metric="accuracy", statistic="gap").iloc[
        0
    ]
    found = cells(page, "Accuracy of gender by ethnicity")
    shown = next(of for of in found if of[:2] == ["black", "bare"])
    assert shown[2] == str(row["n"])
    assert shown[3] == f"{100 * row['value']:.1f} % ({100 * row['ci_low']:.1f} to {100 * row['ci_high']:.1f})"
    assert shown[4] == f"{100 * row['null_low']:.1f} to {100 * row['null_high']:.1f}"
    assert shown[5].startswith(f"−{-100 * gap['value']:.1f} points (−")
    assert shown[6] == "< .001" and shown[8] == "gap"
    first = findings(own.audit)[0]
    assert (first.task, first.group) == ("gender", "black")
    assert first.text in [item.text for item in page.all("li")]


def test_over_all_groups_the_worst_and_the_range_have_their_n(own, page):
    head, bare, *_ = cells(page, "gender by ethnicity, over all groups of 20 faces or more")
    where = {"task": "gender", "mask": "none", "by": "ethnicity", "metric": "accuracy"}
    worst = own.rows(**where, statistic="value", group="black").iloc[0]
    spread = own.rows(**where, statistic="range").iloc[0]
    assert head[2:4] == ["n", "worst group"] and bare[2] == str(spread["n"])
    interval = f"({100 * worst['ci_low']:.1f} to {100 * worst['ci_high']:.1f})"
    assert bare[3] == f"black, {100 * worst['value']:.1f} % {interval}, n {worst['n']}"


def test_a_mask_has_the_name_and_the_colour_that_it_has_in_the_workbench(own, parsed):
    renamed = {"mask": {"surgical": "n95_valve:nose_out"}}
    data = replace(own, predictions=own.predictions.replace(renamed), audit=own.audit.replace(renamed))
    page = parsed(report(data))
    text = page.all("body")[0].text
    assert "N95 with valve, nose out" in text and "n95_valve" not in text
    assert "faces" not in [head.text for head in page.all("th")]
    (masked,) = error_figure(own.predictions.replace(renamed).query("task == 'age' and mask != 'none'")).data
    fills = {path.attributes.get("fill") for path in page.all("path") if path.inside.count("svg") == 2}
    assert fills == {PALETTE[0], masked.line.color, "#fff"}
    assert as_json(data)["masks"] == ["none", "n95_valve:nose_out"]


def test_confusion_counts(own, page):
    rows = own.predictions[(own.predictions["task"] == "gender") & (own.predictions["mask"] == "none")]
    hits = int(((rows["y_true"] == 0) & (rows["y_pred"] == 0)).sum())
    n = int((rows["y_true"] == 0).sum())
    head, male, _ = cells(page, f"gender, bare: rows annotated, columns predicted, n {len(rows):,}")
    assert head == ["annotated \\ predicted", "male", "female", "n"]
    assert male[:2] == ["male", f"{hits} {100 * hits / n:.1f} %"] and male[-1] == str(n)


def test_notice_limits_card_and_provenance_are_there(page):
    text = page.all("body")[0].text
    for part in ("not identities", "Article 5(1)(g)", "0" * 64, "2026-11-25", "All else", *LIMITS):
        assert part in text
    assert len(cells(page, "Headings of Annex IV")) == 1 + 9


def test_json_says_the_same(own, page):
    content = check_json(own)
    assert content["sections"] == ids(page)
    assert len(content["audit"]) == len(own.audit)
    assert content["summary"]["text"] in [element.text for element in page.all("p")]
    assert [finding["text"] for finding in content["summary"]["findings"]] == [f.text for f in findings(own.audit)]
    figures = {(c["task"], c["mask"]): np.array(c["counts"]).sum() for c in content["confusions"]}
    assert figures[("gender", "surgical")] == 600


def test_hostile_names_are_text(parsed):
    table = pd.DataFrame({
        "face_id": [f"f{i}" for i in range(200)] * 2, "mask": ["none"] * 200 + [HOSTILE.format("mask")] * 200,
        "task": HOSTILE.format("task"), "model": HOSTILE.format("model"), "y_true": 1.0,
        "y_pred": np.tile(np.arange(200) % 7, 2).astype(float),
        HOSTILE.format("by"): [HOSTILE.format(i % 3) for i in range(200)] * 2,
    })  # fmt: skip
    found = audit(table, by=[HOSTILE.format("by")], replicates=50)
    data = ReportData(table, found, HOSTILE.format("faces"), "2026-11-25", split=HOSTILE.format("split"),
                      settings={HOSTILE: HOSTILE}, versions={HOSTILE: HOSTILE}, hashes={HOSTILE: "f" * 64},
                      card={"summary": HOSTILE, "training": {HOSTILE: HOSTILE}})  # fmt: skip
    page = parsed(report(data))
    assert not page.all("script")
    text = page.all("body")[0].text
    for part in ("mask", "task", "model", "faces", "split", "0"):
        assert HOSTILE.format(part) in text
    check_json(data)


def test_a_foreign_table_reads_well(foreign, parsed):
    data = foreign(600, 3)
    page = parsed(report(data))
    assert ids(page) == [
        "summary", "data", "overall", "groups", "unexamined", "limits", "method", "provenance", "annex-iv"
    ]  # fmt: skip
    items = [item.text for item in page.all("li") if "section" in item.inside]
    for start in ("Masks: all answers are of bare faces", "Error at 18 and 25", "Where the model looks", "Model card"):
        assert any(item.startswith(start) for item in items)
    assert "maskmtl atlas" in page.all("body")[0].text
    assert "UTKFace" not in page.all("body")[0].text
    assert "faces of “site 0” (site)" in findings(data.audit)[0].text
    assert check_json(data)["card"] is None


def test_two_hundred_groups(foreign, parsed):
    data = foreign(200 * 25, 200)
    page = parsed(report(data))
    labels = [text.text.split(" · ")[0] for text in page.all("text") if text.attributes.get("class") == "label"]
    assert len(labels) == WORST + BEST
    values = data.rows(by="site", metric="mae", statistic="value").set_index("group")["value"]
    assert labels[0] == values.idxmax() and labels[-1] == values.idxmin()
    assert len(cells(page, "Mean absolute error of weight by site")) == 1 + 200


def test_groups_that_are_all_too_small(foreign, parsed):
    data = foreign(90, 9)
    page = parsed(report(data))
    text = page.all("body")[0].text
    assert not [svg for svg in page.all("svg") if svg.attributes.get("role") == "img"]
    assert "No group could be compared with the others" in text
    assert "Too few faces to judge (under 20): site 0; site 1" in text
    assert check_json(data)["summary"]["verdicts"]["declared"]["too_few"] == 9


def test_no_annotation_at_all(foreign, parsed):
    data = foreign(100, 2, annotated=False)
    page = parsed(report(data))
    assert {"overall", "groups", "confusion"}.isdisjoint(ids(page))
    assert "Performance of weight: no face has the annotation" in page.all("body")[0].text
    assert check_json(data)["annotated"] == {"weight": 0}


def test_explanations(own, parsed):
    sums = Atlas(["white", "others"], ["none", "surgical"], permutations=99)
    rng = np.random.default_rng(0)
    values = {"gender": rng.normal(0, 1, (2, 60, 4, 4)) + np.array([1.0, 0])[:, None, None, None]}
    sums.add(values, ["white"] * 50 + ["others"] * 10, [str(i) for i in range(60)])
    atlas = sums.result({"by": "ethnicity", "method": "hirescam", "seed": 0})
    leakage = pd.DataFrame([{
        "task": "gender", "method": "hirescam", "lift": 0.43, "lift_low": 0.42, "lift_high": 0.45, "effect": 0.05,
        "effect_low": 0.03, "effect_high": 0.07, "excess": -1.2, "excess_low": -1.3, "excess_high": -1.1, "n": 450,
        "silent": 0, "verdict": "less than its area",
    }])  # fmt: skip
    data = replace(own, atlas=atlas, leakage=leakage)
    page = parsed(report(data))
    assert "explanations" in ids(page)
    pictures = page.all("img")
    assert [picture.attributes["alt"].split(":")[0] for picture in pictures] == [
        "gender, white, bare", "gender, white, surgical", "gender, others, bare", "gender, others, surgical"
    ]  # fmt: skip
    assert all(picture.attributes["src"].startswith("data:image/png;base64,") for picture in pictures)
    head, white, others = cells(page, "Mean maps of gender")
    assert head == ["ethnicity", "n", "bare", "surgical", "changed, surgical", "apart, bare"]
    assert white[1] == "50" and white[4].endswith("%") and others[4:] == ["–", "–"]  # 10 faces: no test
    assert "0.43 (0.42 to 0.45)" in cells(page, "The mask in maps and by ablation")[1]
    content = check_json(data)
    assert np.array(content["atlas"]["mean"]["gender"]).shape == (2, 2, 4, 4)
    assert content["leakage"][0]["verdict"] == "less than its area"


@pytest.mark.parametrize(("other", "n"), [("unlabelled", 40), ("others", 50)])
def test_a_mean_map_is_apart_only_from_faces_that_are_many_enough(own, parsed, other, n):
    sums = Atlas(["white", other], ["none", "surgical"], permutations=9)
    values = {"gender": np.random.default_rng(0).normal(0, 1, (2, 60, 4, 4))}
    sums.add(values, ["white"] * n + [other] * (60 - n), [str(i) for i in range(60)])
    page = parsed(report(replace(own, atlas=sums.result({"by": "ethnicity"}))))
    assert [row[-1] for row in cells(page, "Mean maps of gender")[1:]] == ["–", "–"]


def test_heads_that_fail_together(own, parsed):
    found = coupling(own.predictions, replicates=50)
    data = replace(own, coupling=found)
    page = parsed(report(data))
    assert "coupling" in ids(page) and "coupling" not in ids(parsed(report(own)))
    head, *rows = cells(page, "Errors that come together")
    declared = found["metric"].isin(["accuracy", "mae"]) & (found["group"] == "read wrong")
    assert head[:3] == ["task", "mask", "read wrong by"]
    assert len(rows) == (declared & (found["statistic"] == "gap")).sum() > 0
    assert len(check_json(data)["coupling"]) == len(found)
    verdicts = {row[-1] for row in rows}
    assert verdicts <= {"gap", "not enough evidence", "no gap larger than 5 points", "no gap larger than 1 year"}
    assert any("larger" in text for text in verdicts)


def test_write_report(own, tmp_path):
    write_report(own, tmp_path / "new" / "audit.html")
    assert (tmp_path / "new" / "audit.html").read_text(encoding="utf-8") == report(own)
    assert json.loads((tmp_path / "new" / "audit.json").read_text(encoding="utf-8")) == as_json(own)
    assert len(list((tmp_path / "new").iterdir())) == 2
    with pytest.raises(ValueError, match=r"path should end in \.html, got 'audit\.pdf'"):
        write_report(own, tmp_path / "audit.pdf")
    check_path(tmp_path / "new" / "audit.html")  # an older report may go
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ValueError, match=r"model\.json' is no report's JSON and would be replaced"):
        write_report(own, tmp_path / "model.html")


def test_what_can_not_be_a_report(own):
    with pytest.raises(ValueError, match=r"audit should have the columns .* got no 'verdict'"):
        replace(own, audit=own.audit.drop(columns="verdict"))
    with pytest.raises(ValueError, match=r"audit should be of one model.*\['a', 'm'\]"):
        replace(own, audit=pd.concat([own.audit, own.audit.assign(model="a")]))
    with pytest.raises(ValueError, match=r"date should be ISO.*got '25 November'"):
        replace(own, date="25 November")
