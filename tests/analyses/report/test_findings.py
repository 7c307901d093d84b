"""Sentences and their order from rows made by hand."""

import pandas as pd
import pytest

from analyses.fairness.audit import COLUMNS
from analyses.report.findings import comparisons, findings, in_brief, verdicts

NAN = float("nan")
USUAL = {
    "model": "m", "task": "gender", "mask": "none", "by": "ethnicity*gender", "metric": "accuracy", "n": 300,
    "null_low": NAN, "null_high": NAN, "p_value": NAN, "p_adjusted": NAN, "family": "", "detectable": NAN,
    "margin": 0.05, "verdict": "", "better": "higher", "flag": "",
}  # fmt: skip
TESTED = {"p_value": 0.001, "p_adjusted": 0.004, "family": "declared", "detectable": 0.06, "verdict": "gap"}
YEARS = {"task": "age", "metric": "mae", "better": "lower", "margin": 1.0}


def row(group, statistic, value, low, high, **other):
    columns = {**USUAL, "group": group, "statistic": statistic, "value": value, "ci_low": low, "ci_high": high, **other}
    return {name: columns[name] for name in COLUMNS}


def audited(*rows):
    return pd.DataFrame(list(rows))


def pair(group, value, gap, low, high, **other):
    """A group's own figure, and its gap."""
    return [
        row(group, "value", value, value - 0.05, value + 0.04, **other),
        row(group, "gap", gap, low, high, **{**TESTED, **other}),
    ]


def told(table, k=3):
    return [finding.text.replace("\N{NO-BREAK SPACE}", " ") for finding in findings(table, k)]


def test_a_gap_of_accuracy():
    others = [row(f"g{i}", "gap", 0.0, -0.01, 0.01, **{**TESTED, "verdict": "not enough evidence"}) for i in range(9)]
    table = audited(*pair("black, female", 0.841, -0.082, -0.125, -0.041), *others)
    assert told(table) == [
        "Gender, bare: faces annotated “black, female” (ethnicity × gender) are read correctly in 84.1 % "
        "(79.1 to 88.1, n 300), 8.2 points (4.1 to 12.5) less often than all others. "
        "The evidence holds after correction for the 10 tests of this question."
    ]


def test_a_gap_of_age_and_of_a_column_that_is_no_annotation():
    table = audited(*pair("north", 9.1, 4.6, 4.0, 5.2, by="site", mask="surgical", **YEARS))
    assert told(table) == [
        "Age, surgical mask: faces of “north” (site) are misread by 9.1 years (9.0 to 9.1, n 300) on average, "
        "4.6 years (4.0 to 5.2) more than all others. It was the only test of its question."
    ]


def test_a_mask_that_changes_more_for_one_group():
    where = {"mask": "surgical", "by": "gender"}
    table = audited(
        row("female", "change", -0.071, -0.09, -0.05, **where),
        row("female", "change_gap", -0.04, -0.06, -0.02, **TESTED, **where),
    )
    assert told(table) == [
        "Gender, surgical mask against bare: for faces annotated “female” (gender) the mask changes the accuracy by "
        "−7.1 points (−9.0 to −5.0, n 300), 4.0 points (2.0 to 6.0) below its change for all others. "
        "It was the only test of its question."
    ]


def test_what_is_sure_comes_before_what_is_large():
    table = audited(
        *pair("few", 0.5, -0.4, -0.7, -0.06, n=20),
        *pair("many", 0.8, -0.15, -0.18, -0.12, by="gender"),
    )
    assert [finding.group for finding in findings(table)] == ["many", "few"]


def test_each_task_is_told_once_before_any_again():
    table = audited(
        *pair("a", 0.2, -0.7, -0.8, -0.6),
        *pair("b", 0.3, -0.6, -0.7, -0.5),
        *pair("a", 0.4, -0.5, -0.6, -0.4, by="gender"),
        *pair("c", 9.0, 2.0, 1.5, 2.5, **YEARS),
    )
    assert [(finding.task, finding.group, finding.by) for finding in findings(table, k=4)] == [
        ("gender", "a", "ethnicity*gender"), ("age", "c", "ethnicity*gender"), ("gender", "a", "gender"),
        ("gender", "b", "ethnicity*gender"),
    ]  # fmt: skip


def test_of_two_groups_the_one_that_fares_worse_is_told():
    better, worse = (
        pair("male", 0.9, 0.1, 0.06, 0.14, by="gender"),
        pair("female", 0.8, -0.1, -0.14, -0.06, by="gender"),
    )
    table = audited(*better, *worse)
    assert [finding.group for finding in findings(table)] == ["female"]
    assert findings(table)[0].tests == 1
    assert len(comparisons(table)) == 1


def test_two_tested_groups_of_three_are_two_tests():
    small = row("unknown", "gap", NAN, NAN, NAN, n=5, by="gender", flag="n<20: too few to judge")
    table = audited(
        *pair("male", 0.9, 0.1, 0.06, 0.14, by="gender"), *pair("female", 0.8, -0.11, -0.15, -0.06, by="gender"), small
    )
    assert [finding.tests for finding in findings(table)] == [2, 2]
    assert verdicts(table) == {"gap": 2, "no gap": 0, "not enough evidence": 0, "too few": 1}


def test_an_interval_across_zero_stands_beside_its_size():
    table = audited(*pair("a", 0.7, -0.16, -0.216, 0.007))
    assert "16.0 points (−0.7 to 21.6) less often than all others" in told(table)[0]


def test_declared_before_exploratory():
    brier = {"metric": "brier", "family": "exploratory", "better": "lower", "by": "gender"}
    table = audited(
        *pair("x", 0.9, 0.8, 0.7, 0.9, **brier),
        *pair("y", 0.8, -0.07, -0.1, -0.01),
        *pair("z", 0.1, 0.3, 0.2, 0.4, **brier),
    )
    first, second, _ = findings(table)
    assert (first.group, first.family, first.tests) == ("y", "declared", 1)
    assert (second.group, second.family, second.tests) == ("x", "exploratory", 2)
    assert second.text.endswith("Exploratory: it holds at the false discovery rate among 2 tests.")
    assert "for faces annotated “x” (gender) the figure 'Brier score' is 0.900" in second.text
    assert verdicts(table) == {"gap": 1, "no gap": 0, "not enough evidence": 0, "too few": 0}
    assert verdicts(table, declared=False)["gap"] == 1  # x and z are the two groups of one question


def test_no_finding_says_what_could_have_been_shown():
    none = {**TESTED, "verdict": "no gap larger than 0.05"}
    table = audited(
        row("a", "gap", 0.0, -0.01, 0.01, **none),
        row("b", "gap", 0.0, -0.01, 0.01, **{**none, "detectable": 0.094}),
        row("c", "gap", 0.0, -0.1, 0.1, **{**none, "verdict": "not enough evidence"}),
        row("d", "gap", NAN, NAN, NAN, n=3, flag="n<20: too few to judge"),
    )
    assert findings(table) == []
    assert verdicts(table) == {"gap": 0, "no gap": 2, "not enough evidence": 1, "too few": 1}
    text = in_brief(table).replace("\N{NO-BREAK SPACE}", " ")
    assert text.startswith("No gap was found in 3 comparisons. That is no proof that there is none.")
    assert text.endswith("gender: 6.0 to 9.4 points of accuracy.")


@pytest.mark.parametrize(
    ("rows", "start"),
    [
        ([row("all", "value", 0.9, 0.8, 0.95, by="all")], "No groups were asked for"),
        ([row("a", "gap", NAN, NAN, NAN, n=3)], "No group could be compared"),
        (pair("a", 0.2, -0.7, -0.8, -0.6), "1 of 1 comparison of a group with all others show"),
    ],
)
def test_in_brief(rows, start):
    assert in_brief(audited(*rows)).startswith(start)
