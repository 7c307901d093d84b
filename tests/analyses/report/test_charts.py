import base64
import re

import cv2
import numpy as np
import pytest

from analyses.figures import PALETTE, SYMBOLS
from analyses.report.charts import PANEL, SHAPES, Dot, Row, dot_charts, legend, map_picture, strongest
from analyses.report.markup import joined
from analyses.report.words import SHARE

NAN = float("nan")
NAMES = {0: "bare", 1: "surgical"}


def drawn(parsed, rows, **options):
    return parsed(joined(*dot_charts(rows, "A title", "accuracy, %", SHARE, NAMES, **options)))


def percent(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def test_marks_stand_in_order_inside_their_intervals(parsed):
    rows = [
        Row("a · n 300", (Dot(0, 0.8, 0.7, 0.9, 300, (0.75, 0.85)),)),
        Row("b · n 50", (Dot(1, 0.9, 0.85, 0.95, 50),)),
    ]
    page = drawn(parsed, rows, overall={0: 0.82, 1: NAN})
    chart, *marks = [svg for svg in page.all("svg") if "aria-hidden" not in svg.attributes]
    at = [percent(mark.attributes["x"]) for mark in marks]
    assert 0 < at[0] < at[1] < 100
    lines = [line.attributes for line in page.all("line") if line.attributes.get("stroke-width") == "2"]
    for mark, line in zip(at, lines, strict=True):
        assert percent(line["x1"]) < mark < percent(line["x2"])
    band = next(rect.attributes for rect in page.all("rect") if "x" in rect.attributes and "%" in rect.attributes["x"])
    middle = percent(band["x"]) + percent(band["width"]) / 2
    assert middle == pytest.approx(at[0], abs=0.02)
    dashed = [line.attributes for line in page.all("line") if "stroke-dasharray" in line.attributes]
    assert len(dashed) == 1 and at[0] < percent(dashed[0]["x1"]) < at[1]
    fills = [path.attributes["fill"] for path in page.all("path") if path.inside.count("svg") == 2]
    assert fills[0] != "#fff" and fills[1] == "#fff"  # fewer than 100 faces: hollow
    shapes = {path.attributes["d"] for path in page.all("path") if path.inside.count("svg") == 2}
    assert len(shapes) == 2
    assert chart.attributes["role"] == "img"
    names = [element.text for element in page.all("title", "desc") if "svg" in element.inside]
    assert names[0] == "A title" and "a · n 300: 80.0" in names[1]


def test_the_legend_names_what_is_there(parsed):
    bare = [Row("a", (Dot(0, 0.8, 0.7, 0.9, 300),))]
    assert parsed(joined(*dot_charts(bare, "t", "x", SHARE, NAMES))).all("figcaption")[0].text == "tbare"
    full = [Row("a", (Dot(1, 0.8, 0.7, 0.9, 30, (0.1, 0.2)),))]
    text = drawn(parsed, full, overall={0: NAN, 1: 0.5}).all("figcaption")[0].text
    for part in ("surgical", "fewer than 100 faces", "expected if groups made no difference", "all faces"):
        assert part in text
    assert "bare" not in text


def test_marks_are_those_of_the_workbench(parsed):
    assert len(SHAPES) == len(set(SHAPES)) == len(SYMBOLS)
    signs = parsed(legend({6: "cloth", 0: "bare"}, [0, 6], lines=False, bands=False, hollow=False)).all("path")
    assert [sign.attributes["fill"] for sign in signs] == [PALETTE[0], PALETTE[6]]
    assert [sign.attributes["d"] for sign in signs] == [SHAPES[0], SHAPES[6]]


def test_a_long_figure_is_cut_to_pages_with_one_axis(parsed):
    rows = [Row(f"g{i}", tuple(Dot(k, i / 100, NAN, NAN, 500) for k in range(2))) for i in range(40)]
    page = drawn(parsed, rows)
    charts = [svg for svg in page.all("svg") if svg.attributes.get("role") == "img"]
    assert len(charts) > 1
    assert all(float(chart.attributes["height"]) <= PANEL for chart in charts)
    assert len(page.all("figure")) == len(charts)
    labels = [text.text for text in page.all("text") if text.attributes.get("class") == "label"]
    assert labels == [row.label for row in rows]
    ticks = [text.text for text in page.all("text") if re.fullmatch(r"[\d.−]+", text.text)]
    assert ticks[: len(ticks) // len(charts)] * len(charts) == ticks


def test_no_figure_without_a_value(parsed):
    assert not list(dot_charts([Row("a", (Dot(0, NAN, NAN, NAN, 5),))], "t", "x", SHARE, NAMES))
    assert not list(dot_charts([], "t", "x", SHARE, NAMES))


@pytest.mark.parametrize("value", [0.0, 0.5, -3.0])
def test_equal_values_have_an_axis(parsed, value):
    page = drawn(parsed, [Row("a", (Dot(0, value, value, value, 500),))])
    assert 0 < percent(next(svg for svg in page.all("svg") if "x" in svg.attributes).attributes["x"]) < 100


def test_labels_are_text(parsed):
    page = drawn(parsed, [Row("</text><script>x</script>", (Dot(0, 0.5, 0.4, 0.6, 500),))])
    assert not page.all("script")
    assert [text.text for text in page.all("text") if "script" in text.text] == ["</text><script>x</script>"]


def test_a_map_is_vermilion_for_and_blue_against():
    uri = map_picture(np.array([[2.0, 0.0], [-2.0, 1.0]]), 2.0)
    start, data = uri.split(",")
    assert start == "data:image/png;base64"
    pixels = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert pixels[0].tolist() == [[213, 94, 0], [255, 255, 255]]
    assert pixels[1].tolist() == [[0, 114, 178], [234, 174, 128]]
    assert map_picture(np.zeros((2, 2)), 0.0) == map_picture(np.zeros((2, 2)), 1.0)


def test_where_a_map_is_strongest():
    values = np.zeros((12, 12))
    values[11, 6] = 1
    assert strongest(values) == "lower centre"
    assert strongest(-values) == "nowhere"
