from types import SimpleNamespace

import pytest

from analyses.report.words import SHARE, Scale, metric_name, p_value, scale, under, verdict

NAN = float("nan")
YEARS = Scale(1, "years", "years")


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def test_shares_are_percent_and_their_differences_points():
    assert plain(SHARE.value(0.8412)) == "84.1 %"
    assert plain(SHARE.difference(-0.0821)) == "−8.2 points"
    assert plain(SHARE.difference(0.0821)) == "+8.2 points"
    assert plain(SHARE.size(-0.0821)) == "8.2 points"
    assert SHARE.interval(0.793, 0.88) == "79.3 to 88.0"
    assert SHARE.interval(-0.1, 0.05, signed=True) == "−10.0 to +5.0"


def test_what_rounds_to_zero_has_no_sign():
    assert SHARE.plain(-0.0004, signed=True) == SHARE.plain(0.0004, signed=True) == "0.0"


def test_size_of_a_negative_gap_has_its_interval_from_small_to_large():
    assert SHARE.sizes(-0.08, -0.125, -0.041) == "4.1 to 12.5"
    assert SHARE.sizes(0.08, 0.041, 0.125) == "4.1 to 12.5"


def test_the_interval_of_a_size_has_the_sign_of_the_size():
    assert plain(SHARE.sizes(-0.16, -0.216, 0.007)) == "−0.7 to 21.6"
    assert plain(SHARE.sizes(0.16, -0.007, 0.216)) == "−0.7 to 21.6"


def test_a_dash_where_there_is_no_figure():
    row = SimpleNamespace(value=NAN, ci_low=NAN, ci_high=NAN)
    for text in (SHARE.value(NAN), SHARE.interval(0.1, NAN), SHARE.cell(row), p_value(NAN)):
        assert text == "–"


def test_a_figure_without_interval_stands_alone():
    assert plain(YEARS.cell(SimpleNamespace(value=4.96, ci_low=NAN, ci_high=NAN))) == "5.0 years"
    assert plain(YEARS.cell(SimpleNamespace(value=4.96, ci_low=4.0, ci_high=6.0))) == "5.0 years (4.0 to 6.0)"


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "< .001"), (0.001, ".001"), (0.012, ".012"), (0.9, ".900"), (0.9999, "1"), (1.0, "1")]
)
def test_p(p, text):
    assert p_value(p) == text


@pytest.mark.parametrize(
    ("of", "margin", "statistic", "given", "text"),
    [
        (SHARE, 0.05, "gap", "no gap larger than 0.05", "no gap larger than 5 points"),
        (YEARS, 1.0, "gap", "no gap larger than 1", "no gap larger than 1 year"),
        (YEARS, 2.5, "change", "no gap larger than 2.5", "no change larger than 2.5 years"),
        (SHARE, 0.05, "gap", "gap", "gap"),
        (SHARE, 0.05, "change", "gap", "change"),
        (SHARE, 0.05, "gap", "not enough evidence", "not enough evidence"),
        (SHARE, 0.05, "gap", "", "–"),
    ],
)
def test_verdicts_have_the_margin_in_the_readers_unit(of, margin, statistic, given, text):
    assert plain(verdict(SimpleNamespace(verdict=given, margin=margin, statistic=statistic), of)) == text


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ("none", "bare"), ("surgical", "surgical mask"), ("kn95:black", "KN95 mask, black"), ("gas", "gas mask"),
        ("n95_valve:nose_out", "N95 with valve, nose out"), ("mixed", "any kind, by chance"), ("veil", "veil mask"),
    ],
)  # fmt: skip
def test_masks_in_sentences(mask, words):
    assert under(mask) == words


def test_units():
    assert plain(scale("age", "mae").value(4.96)) == "5.0 years"
    assert plain(scale("weight", "mae", {"weight": "kg"}).value(4.96)) == "5.0 kg"
    assert scale("weight", "mae").value(0.1234) == "0.123"
    assert plain(scale("age", "within_5").value(0.5)) == "50.0 %"
    assert scale("gender", "brier").value(0.1234) == "0.123"


def test_a_metric_without_a_name_keeps_its_own():
    assert metric_name("new_metric") == "new metric"
