import numpy as np
import pandas as pd
import pytest

from analyses.figures import (
    DASHES,
    PALETTE,
    PLACED,
    SYMBOLS,
    audit_figure,
    confusion_figure,
    curves_figure,
    error_figure,
    map_overlay,
    map_scale,
    mask_color,
    mask_name,
    mask_places,
    outlined,
    reliability_figure,
)
from maskmtl.masks import MASKS, MIXED

NAN = float("nan")
FACE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
FLAT = np.full((40, 60, 3), 100, dtype=np.uint8)


def bump(height=1.0, shape=(24, 24)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (height * np.exp(-((x - 6) ** 2 + (y - 6) ** 2) / 8)).astype(np.float32)


def test_confusion_shows_shares_of_the_annotated_row_and_counts():
    (heat,) = confusion_figure([[30, 10, 0], [1, 2000, 0], [0, 0, 0]], ("a", "b", "c")).data
    np.testing.assert_allclose(heat.z, [[0.75, 0.25, 0], [1 / 2001, 2000 / 2001, 0], [NAN, NAN, NAN]])
    assert heat.text[0] == ["30<br>75%", "10<br>25%", "0<br>0%"]
    assert heat.text[2] == ["", "", ""]  # no face annotated so: no share, rather than 0
    assert list(heat.x) == ["a", "b", "c"]
    assert list(heat.y) == ["a<br>n 40", "b<br>n 2,001", "c<br>n 0"]
    assert (heat.zmin, heat.zmax) == (0, 1)  # two matrices side by side have one scale


def test_confusion_of_the_wrong_size():
    with pytest.raises(ValueError, match=r"counts should be \(3, 3\)"):
        confusion_figure([[1, 0], [0, 1]], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("mask", "name"),
    [
        ("none", "bare"), ("surgical", "surgical"), ("gas", "gas mask"), ("mixed", "any kind, by chance"),
        ("n95_valve:nose_out", "N95 with valve, nose out"), ("cloth:checks:red", "cloth, red, checks"),
        ("their veil", "their veil"),
    ],
)  # fmt: skip
def test_a_mask_has_one_name(mask, name):
    assert mask_name(mask) == name


def test_every_kind_of_mask_has_its_place_whatever_stands_beside_it():
    assert mask_places(["cloth", "none", MIXED]) == {"cloth": 6, "none": 0, MIXED: 9}
    assert mask_places(reversed(PLACED)) == {mask: place for place, mask in enumerate(("none", *MASKS, MIXED))}
    assert mask_places(["n95:nose_out"]) == {"n95:nose_out": 2}


def test_two_masks_of_a_kind_stand_apart():
    specs = ["n95:chin", "cloth", "n95:nose_out", "n95"]
    assert mask_places(specs) == {"n95:chin": 3, "cloth": 6, "n95:nose_out": 4, "n95": 2}
    assert mask_places(specs) == mask_places(reversed(specs))
    assert mask_places(["veil", "surgical", "scarf"]) == {"veil": 3, "surgical": 1, "scarf": 2}


def test_no_two_places_look_alike_and_bare_faces_have_a_colour_of_their_own():
    places = range(2 * len(PLACED))
    for cycle in (SYMBOLS, DASHES):
        assert len({(mask_color(place), cycle[place % len(cycle)]) for place in places}) == len(places)
    assert [mask_color(place) for place in places].count(PALETTE[0]) == 1
    assert min(len(set(SYMBOLS)), len(set(DASHES))) >= len(PLACED)  # where the colour is the task's


def contrast(one: str, other: str) -> float:
    """Of two colours, after WCAG 2."""

    def luminance(color: str) -> float:
        shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


def test_marks_stand_out_from_the_page():
    assert all(contrast(color, "#14181d") > 3 for color in PALETTE)
    pale = [color for color in PALETTE if contrast(color, "#ffffff") < 3]
    assert pale == list(PALETTE[5:])  # amber and light blue: the last to be taken


def group_rows(metric="accuracy", masks=("none", "surgical")):
    return pd.DataFrame(
        [
            ("m", "gender", mask, group, metric, value, value - 0.1, value + 0.05, n, flag)
            for mask in masks
            for group, value, n, flag in (("white", 0.9, 1200, ""), ("others", 0.8, 40, "n<100: wide"))
        ],
        columns=["model", "task", "mask", "ethnicity", "metric", "value", "ci_low", "ci_high", "n", "flag"],
    )


def audit_rows(statistic="value", masks=("none", "surgical")):
    rows = group_rows("accuracy", masks).rename(columns={"ethnicity": "group"})
    return rows.assign(by="ethnicity", statistic=statistic, null_low=rows["value"] - 0.02, null_high=NAN)


def test_an_audit_has_bands_where_it_knows_them_and_is_drawn_in_its_unit():
    rows = audit_rows().assign(null_high=[0.92, NAN, 0.91, 0.9])
    rows.loc[1, "null_low"] = NAN
    figure = audit_figure(rows, axis="accuracy, %", factor=100, overall={"none": 0.85, "surgical": NAN})
    bare, masked = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["white<br>n 1,200", "others<br>n 40"]
    assert not np.intersect1d(bare.y, masked.y).size  # side by side, not over each other
    assert bare.marker.color != masked.marker.color and bare.marker.symbol != masked.marker.symbol
    np.testing.assert_allclose(bare.x, [90, 80])
    np.testing.assert_allclose(bare.error_x.arrayminus, 10)
    assert list(bare.marker.symbol) == ["circle", "circle-open"] and masked.name == "surgical"
    bands, lines = ([shape for shape in figure.layout.shapes if shape.type == kind] for kind in ("rect", "line"))
    assert [(shape.x0, shape.x1) for shape in bands] == [(88, 92), (88, 91), (78, 90)]
    assert [line.x0 for line in lines] == [85]
    for shape, y in zip(bands, (bare.y[0], *masked.y), strict=True):
        assert shape.y0 < y < shape.y1


def test_a_mask_looks_the_same_in_every_figure():
    (alone,) = audit_figure(audit_rows(masks=("cloth",)), axis="accuracy").data
    *_, among = audit_figure(audit_rows(masks=("none", "surgical", "n95", "cloth")), axis="accuracy").data
    errors = pd.DataFrame({"task": "age", "mask": ["cloth"], "y_true": [20.0], "y_pred": [21.0]})
    assert alone.marker.color == among.marker.color == error_figure(errors).data[0].line.color
    assert alone.marker.symbol == among.marker.symbol


def curves(metric="accuracy", masks=("none", "mixed")):
    return pd.DataFrame(
        [(epoch, mask, "gender", metric, 0.5) for epoch in (1, 2) for mask in masks],
        columns=["epoch", "mask", "task", "metric", "value"],
    )


def test_curves_are_of_tasks_by_colour_and_of_masks_by_dash():
    bare, masked = curves_figure(curves(), axis="accuracy").data
    assert bare.line.color == masked.line.color and (bare.line.dash, masked.line.dash) == ("solid", DASHES[9])
    assert masked.name == "gender, any kind, by chance"
    (loss,) = curves_figure(curves("loss", ("",)), axis="training loss").data
    assert (loss.name, loss.line.dash) == ("gender", "solid")


def test_curves_of_shares_are_in_percent():
    assert curves_figure(curves(), axis="accuracy", percent=True).layout.yaxis.tickformat == ".0%"
    assert curves_figure(curves("mae"), axis="years").layout.yaxis.tickformat is None


def test_a_mask_keeps_its_colour_when_bare_faces_are_not_shown():
    both = audit_figure(audit_rows(), axis="accuracy").data
    (alone,) = audit_figure(audit_rows("change", ("surgical",)), axis="change").data
    assert alone.marker.color == both[1].marker.color != PALETTE[0]


def test_every_mask_of_many_has_its_line_for_all_faces():
    masks = ("none", "surgical", "n95", "n95_valve", "kn95", "duckbill", "cloth", "gas", "bandana")
    figure = audit_figure(audit_rows(masks=masks), axis="accuracy", overall=dict.fromkeys(masks, 0.85))
    assert len([shape for shape in figure.layout.shapes if shape.type == "line"]) == len(masks)


def test_an_audit_of_several_statistics():
    with pytest.raises(ValueError, match=r"one statistic, got \['gap', 'value'\]"):
        audit_figure(pd.concat([audit_rows(), audit_rows("gap")]), axis="accuracy")


def test_reliability_is_drawn_with_its_intervals():
    rows = pd.DataFrame(
        {
            "mask": ["none", "none", "surgical"], "confidence": [0.6, 0.9, 0.7], "accuracy": [0.5, 0.8, 0.75],
            "ci_low": [0.4, 0.7, 0.6], "ci_high": [0.65, 0.85, 0.8], "n": [50, 50, 60],
        }
    )  # fmt: skip
    diagonal, bare, masked = reliability_figure(rows).data
    assert list(diagonal.x) == list(diagonal.y) == [0, 1]
    np.testing.assert_allclose(bare.error_y.array, [0.15, 0.05])
    np.testing.assert_allclose(bare.error_y.arrayminus, [0.1, 0.1])
    assert (bare.name, masked.name, list(masked.y)) == ("bare", "surgical", [0.75])
    assert len(reliability_figure(rows.iloc[:0]).data) == 1


def test_errors():
    predictions = pd.DataFrame(
        {
            "task": "age",
            "mask": ["none"] * 4 + ["surgical"] * 2,
            "y_true": [20.0, 20, 20, NAN, 20, 20],
            "y_pred": [20.0, 20.9, 14, 80, 14, 14],
        }
    )
    bare, masked = error_figure(predictions).data
    assert (bare.name, masked.name) == ("bare, n 3", "surgical, n 2")
    assert {x: y for x, y in zip(bare.x, bare.y, strict=True) if y} == {0: 2 / 3, -6: 1 / 3}
    assert {x: y for x, y in zip(masked.x, masked.y, strict=True) if y} == {-6: 1}
    assert sum(bare.y) == pytest.approx(1)


def test_errors_without_annotations():
    predictions = pd.DataFrame({"task": ["age"], "mask": ["none"], "y_true": [NAN], "y_pred": [3.0]})
    assert len(error_figure(predictions).data) == 0


def test_overlay_keeps_the_size_of_the_face():
    for values in (bump(), bump(shape=(7, 30))):
        picture = map_overlay(FACE, values)
        assert picture.shape == FACE.shape and picture.dtype == np.uint8


def test_overlay_is_strongest_where_the_map_is():
    change = np.abs(map_overlay(FLAT, bump()).astype(int) - 100).sum(axis=2)
    y, x = np.unravel_index(change.argmax(), change.shape)
    assert abs((y + 0.5) / 40 - 6.5 / 24) < 0.03 and abs((x + 0.5) / 60 - 6.5 / 24) < 0.03
    assert change[-1, -1] == 0


@pytest.mark.parametrize("values", [np.zeros((24, 24)), -bump(), 1e-4 * bump() - bump()[::-1, ::-1]])
def test_no_positive_evidence_leaves_the_grey_face_and_can_be_known(values):
    assert map_scale(values) == 0
    for scale in (None, 1.0, 1e-4, 0.0):
        picture = map_overlay(FACE, values, scale=scale)
        assert (picture == picture[..., :1]).all()
        np.testing.assert_array_equal(picture, map_overlay(FACE, np.zeros((24, 24))))


def test_no_evidence_appears_beside_a_steep_negative_edge():
    values = np.zeros((12, 12))
    values[:, 6:], values[0, 0] = -1, 0.1
    change = np.abs(map_overlay(FLAT, values).astype(int) - 100).sum(axis=2)
    assert change[:8, :10].any() and not change[8:].any() and not change[:, 10:].any()


def test_scale_is_shared_by_several_maps():
    assert map_scale(bump(2), bump(5), -bump(9)) == pytest.approx(5)
    assert map_scale(bump(2), -bump(9), mode="signed") == pytest.approx(9)
    weak = map_overlay(FLAT, bump(2), scale=5).astype(int)
    np.testing.assert_array_equal(map_overlay(FLAT, bump(2)), map_overlay(FLAT, bump(5), scale=5))
    assert np.abs(weak - 100).sum() < np.abs(map_overlay(FLAT, bump(5), scale=5).astype(int) - 100).sum() / 2


def test_opacity():
    np.testing.assert_array_equal(map_overlay(FACE, bump(), opacity=0), map_overlay(FACE, np.zeros((24, 24))))
    half, full = (np.abs(map_overlay(FLAT, bump(), opacity=share).astype(int) - 100).sum() for share in (0.5, 1))
    assert half == pytest.approx(full / 2, rel=0.05)
    with pytest.raises(ValueError, match="opacity should be in"):
        map_overlay(FACE, bump(), opacity=1.5)


def test_signed_maps_are_centred_on_zero():
    values = bump() - bump()[::-1, ::-1]
    picture = map_overlay(FLAT, values, mode="signed").astype(int)
    y, x = 10, 16  # the middle of the positive bump
    assert picture[y, x, 0] > 100 > picture[y, x, 2]  # vermilion
    assert picture[39 - y, 59 - x, 2] > 100 > picture[39 - y, 59 - x, 0]  # blue
    np.testing.assert_array_equal(picture[0, -1], [100, 100, 100])


def test_arguments_that_do_not_fit():
    with pytest.raises(ValueError, match=r"face should be \(H, W, 3\) uint8, got \(40, 60\) uint8"):
        map_overlay(FACE[..., 0], bump())
    with pytest.raises(ValueError, match=r"values should be a finite map \(h, w\), got \(1, 24, 24\)"):
        map_overlay(FACE, bump()[None])
    with pytest.raises(ValueError, match=r"mode should be one of \['positive', 'signed'\], got 'both'"):
        map_overlay(FACE, bump(), mode="both")


def test_found_cells_are_outlined():
    found = np.zeros((4, 6), bool)
    found[1:3, 2:4] = True
    picture = np.full((40, 60, 3), 100, np.uint8)
    drawn = outlined(picture, found)
    changed = (drawn != picture).any(axis=2)
    assert changed[10, 25] and changed[19, 20] and not changed[15:17, 25:35].any() and not changed[:8].any()
    np.testing.assert_array_equal(outlined(picture, np.zeros((4, 6), bool)), picture)
    assert (outlined(picture, np.ones((4, 6), bool)) != picture).any(axis=2)[[0, -1]].all()
