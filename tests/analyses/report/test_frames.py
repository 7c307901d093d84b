"""Audit rows as tables of words."""

import pandas as pd
import pytest

from analyses.fairness.audit import select
from analyses.report.frames import change_frame, group_frame, over_groups
from analyses.report.words import SPACE

MINUS = "\N{MINUS SIGN}"


@pytest.fixture(scope="module")
def rows(own):
    return select(own.audit, task="gender", by="ethnicity", metric="accuracy")


def test_a_row_per_group_and_mask_with_its_gap(own, rows):
    frame = group_frame(rows)
    assert list(frame.columns) == [
        "group", "mask", "n", "accuracy", "against all others", "smallest detectable", "verdict", "note"
    ]  # fmt: skip
    assert len(frame) == (rows["statistic"] == "value").sum()
    first = next(rows[rows["statistic"] == "value"].itertuples())
    words = frame.iloc[0]
    assert words["n"] == f"{first.n:,}"
    value, interval = words["accuracy"].split("\n")
    assert (
        value == f"{100 * first.value:.1f}{SPACE}%"
        and interval == f"{100 * first.ci_low:.1f} to {100 * first.ci_high:.1f}"
    )
    gap = rows[(rows["statistic"] == "gap") & (rows["group"] == first.group) & (rows["mask"] == first.mask)].iloc[0]
    sign = "+" if gap["value"] > 0 else MINUS
    assert words["against all others"].startswith(f"{sign}{abs(100 * gap['value']):.1f}{SPACE}points")
    assert words["verdict"].endswith(
        ("adjusted p 1", f"adjusted p {gap['p_adjusted']:.3f}".replace("0.", "."), "< .001")
    )


def test_changes_are_of_masks_alone(rows):
    frame = change_frame(rows)
    assert set(frame["mask"]) == {"surgical"} and "masked minus bare" in frame
    assert change_frame(rows[rows["mask"] == "none"]).empty


def test_a_sentence_per_mask_about_all_groups(rows):
    sentences = list(over_groups(rows))
    assert [sentence.split(":")[0] for sentence in sentences] == ["Bare", "Surgical mask"]
    assert all("by chance up to" in sentence for sentence in sentences)
    assert f"n {select(rows, mask='none', statistic='range')['n'].item():,})" in sentences[0]


def test_the_worst_group_has_its_interval_and_nothing_stands_untested(rows):
    sentence = next(over_groups(rows)).replace(SPACE, " ")
    worst = select(rows, mask="none", statistic="value", group="black").iloc[0]
    interval = f"({100 * worst['ci_low']:.1f} to {100 * worst['ci_high']:.1f})"
    assert f"worst black, {100 * worst['value']:.1f} % {interval}, n {worst['n']}; range" in sentence
    assert "ratio" not in sentence


def test_a_group_that_is_too_small_has_dashes():
    row = {
        "task": "gender", "mask": "none", "metric": "accuracy", "statistic": "value", "group": "tiny", "n": 3,
        "flag": "n<20", "value": float("nan"), "ci_low": float("nan"), "ci_high": float("nan"),
    }  # fmt: skip
    words = group_frame(pd.DataFrame([row])).iloc[0]
    assert words["accuracy"] == words["verdict"] == words["against all others"] == "–"
