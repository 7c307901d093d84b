"""Mask leakage: its lift, and what ablation makes of it."""

import math

import numpy as np
import pandas as pd
import pytest

from analyses.attribution.leakage import leakage, mask_leakage
from analyses.attribution.region_methods import region_effects
from analyses.attribution.regions import REGIONS, region_energy
from analyses.fairness import bootstrap_mean

HALVES = np.zeros((len(REGIONS), 4, 4), np.float32)
HALVES[REGIONS.index("mask"), 2:] = 1
HALVES[REGIONS.index("cheeks"), :2] = 1


def energy_of(*maps, mask="cloth", task="age"):
    regions, ids = np.stack([HALVES] * len(maps)), [f"f{i}" for i in range(len(maps))]
    return region_energy(np.stack(maps), regions, ids, mask=mask, task=task, method="gradcam")


def lifts(rows):
    """Rows of face_id, mask, group, lift on the mask (None: no positive evidence), as a table of energies."""
    frame = pd.DataFrame(rows, columns=["face_id", "mask", "group", "lift"]).astype({"lift": float})
    frame = frame.assign(task="age", method="gradcam", region="mask", area=np.where(frame["mask"] == "none", 0, 0.5))
    other = frame.assign(region="eyes", lift=100.0, area=0.1)
    return pd.concat([frame, other], ignore_index=True)


def test_leakage_by_hand():
    table = lifts(
        [
            *(("a", "none", "x", None), ("a", "cloth", "x", 1.0), ("a", "ffp2", "x", 2.0)),
            *(("b", "cloth", "x", 0.5), ("b", "ffp2", "x", None)),
            *(("c", "cloth", "x", 0.7), ("d", "cloth", "x", None)),
            *(("e", "cloth", "y", 1.8), ("f", "cloth", None, None)),
        ]
    )
    found = mask_leakage(table, by=["group"], seed=3)
    assert list(found) == ["task", "method", "group", "lift", "ci_low", "ci_high", "n", "silent"]
    x, y, unknown = (row for _, row in found.iterrows())
    assert (x["group"], x["n"], x["silent"]) == ("x", 3, 1)
    assert x["lift"] == pytest.approx((1.5 + 0.5 + 0.7) / 3)  # a face under two masks counts once
    assert (x["ci_low"], x["ci_high"]) == bootstrap_mean([1.5, 0.5, 0.7], 3)
    assert (y["group"], y["lift"], y["n"], y["silent"]) == ("y", 1.8, 1, 0)
    assert math.isnan(y["ci_low"])  # one face shows no spread
    assert pd.isna(unknown["group"]) and math.isnan(unknown["lift"])
    assert (unknown["n"], unknown["silent"]) == (0, 1)

    by_mask = mask_leakage(table, by=["mask"], seed=3).set_index("mask")
    assert by_mask["lift"].to_dict() == {"cloth": pytest.approx(1.0), "ffp2": 2.0}
    assert by_mask["n"].to_dict() == {"cloth": 4, "ffp2": 1}
    assert by_mask["silent"].to_dict() == {"cloth": 2, "ffp2": 1}


def test_leakage_does_not_depend_on_the_order_of_rows():
    rng = np.random.default_rng(0)
    table = lifts([(f"f{i}", "cloth", "xyz"[i % 3], rng.gamma(2)) for i in range(60)])
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(mask_leakage(table, ["group"], seed=0), mask_leakage(shuffled, ["group"], seed=0))


def test_leakage_of_maps():
    """From maps to the table: one task points at the mask, another away from it, a third has no preference."""
    mask = HALVES[REGIONS.index("mask")]
    energy = pd.concat(
        [
            energy_of(*[scale * values for scale in (1, 2, 3)], task=task, mask=covered)
            for task, values in (("age", mask), ("gender", 1 - mask), ("ethnicity", np.ones((4, 4))))
            for covered in ("none", "cloth")
        ]
    )
    found = mask_leakage(energy, seed=0).set_index("task")
    assert found["lift"].to_dict() == {"age": 2.0, "gender": 0.0, "ethnicity": 1.0}
    assert found["n"].eq(3).all() and found["silent"].eq(0).all()


def test_leakage_where_no_face_is_masked():
    found = mask_leakage(energy_of(np.ones((4, 4)), mask="none"), seed=0)
    assert len(found) == 0 and list(found)[:3] == ["task", "method", "lift"]


def test_a_mask_beyond_the_picture_is_no_masked_face():
    table = energy_of(np.ones((4, 4)), np.ones((4, 4)))
    table.loc[(table["face_id"] == "f0") & (table["region"] == "mask"), ["area", "lift"]] = 0, np.nan
    (row,) = mask_leakage(table, seed=0).to_dict("records")
    assert (row["n"], row["silent"]) == (1, 0)


@pytest.mark.parametrize("by", [["ethnicity"], ["lift"], ["task"], ["face_id"]])
def test_wrong_by(by):
    with pytest.raises(ValueError, match=rf"by should be columns of the table, of \['group', 'mask'\], got '{by[0]}'"):
        mask_leakage(lifts([("a", "cloth", "x", 1.0)]), by, seed=0)


# ---------------------------------------------------------------- beside ablation


def effects(rows):
    """Rows of face_id, mask and the effects of the mask, half the picture, of a quarter and of another, as a table."""
    frames = [
        pd.DataFrame({"face_id": face, "mask": mask, "region": ["mask", "eyes", "nose"], "effect": found})
        for face, mask, *found in rows
    ]
    return pd.concat(frames).assign(task="age", method="region_ablation", area=[0.5, 0.25, 0.25] * len(rows))


def test_beside_ablation_by_hand():
    energy = lifts(
        [
            *(("a", "none", "x", None), ("a", "cloth", "x", 1.5), ("a", "n95", "x", 2.5)),
            *(("b", "cloth", "x", 3.0), ("c", "cloth", "x", None)),
            ("d", "cloth", "y", 1.0),
        ]
    )
    ablation = effects(
        [
            ("a", "none", np.nan, 8.0, 8.0),
            ("a", "cloth", 3.0, 1.0, -7.0),  # 3 - .5 * (3 + 1)
            ("a", "n95", 5.0, 0.0, 2.0),  # 5 - .5 * 7
            ("b", "cloth", 4.0, 1.0, 1.0),  # 4 - .5 * 6
            ("c", "cloth", -2.0, 1.0, 3.0),  # -2 - .5 * 4
            ("d", "cloth", 1.0, 1.0, 0.0),  # 1 - .5 * 2
        ]
    )
    x, y = leakage(energy, ablation, ["group"], seed=3).to_dict("records")
    assert (x["group"], x["lift"], x["n"], x["silent"]) == ("x", 2.5, 2, 1)
    assert (x["lift_low"], x["lift_high"]) == bootstrap_mean([2.0, 3.0], 3)
    assert x["effect"] == 2.0 and (x["effect_low"], x["effect_high"]) == bootstrap_mean([4.0, 4.0, -2.0], 3)
    excess = [1.25, 1.0, -4.0]  # a face under two masks counts once
    assert x["excess"] == np.mean(excess) and (x["excess_low"], x["excess_high"]) == bootstrap_mean(excess, 3)
    assert x["verdict"] == "unclear"
    assert (y["group"], y["lift"], y["effect"], y["excess"], y["verdict"]) == ("y", 1.0, 1.0, 0.0, "unclear")


@pytest.mark.parametrize(
    ("lift", "effect", "verdict"),
    [
        ((1.5, 2.0), (3.0, 4.0), "confirmed"),
        ((1.5, 2.0), (0.0, 0.5), "refuted"),  # the rest loses 2: half the picture would explain a loss of 2
        ((1.5, 2.0), (-4.0, -3.0), "refuted"),
        ((1.5, 2.0), (1.0, 4.0), "unclear"),  # on both sides of 2
        ((0.5, 2.0), (3.0, 4.0), "unclear"),
        ((0.5, 0.8), (3.0, 4.0), "unclear"),  # ablation finds what the maps deny
        ((0.5, 0.8), (0.0, 0.5), "less than its area"),
        ((0.5, 1.6), (0.0, 0.5), "unclear"),
        ((2.0, 2.0), (3.0, 4.0), "unclear"),  # no spread, no interval
    ],
)
def test_verdicts(lift, effect, verdict):
    energy = lifts([(f"f{i}", "cloth", "x", lift[i % 2]) for i in range(20)])
    ablation = effects([(f"f{i}", "cloth", effect[i % 2], 1.0, 1.0) for i in range(20)])
    (row,) = leakage(energy, ablation, seed=0).to_dict("records")
    assert row["verdict"] == verdict


def test_maps_that_blame_the_mask_of_a_score_that_does_not_depend_on_it():
    on_mask, elsewhere = HALVES[REGIONS.index("mask")], HALVES[REGIONS.index("cheeks")]
    noise = np.random.default_rng(0).random((10, 4, 4))
    blames = [on_mask + 0.1 * of_face for of_face in noise]
    energy = energy_of(*blames)
    for ablation, verdict in ((blames, "confirmed"), ([elsewhere + 0.1 * of_face for of_face in noise], "refuted")):
        (row,) = leakage(energy, region_effects(energy_of(*ablation)), seed=0).to_dict("records")
        assert row["lift"] > 1.5 and row["verdict"] == verdict


def test_several_methods_share_one_ablation():
    energy = lifts([(f"f{i}", "cloth", "x", 1 + i) for i in range(4)])
    energy = pd.concat([energy, energy.assign(method="hirescam")])
    table = leakage(energy, effects([(f"f{i}", "cloth", i, 1.0, 0.0) for i in range(4)]), seed=0)
    assert table["method"].tolist() == ["gradcam", "hirescam"] and table["effect"].tolist() == [1.5, 1.5]


def test_no_masked_face_has_no_verdict():
    bare = energy_of(np.ones((4, 4)), mask="none")
    found = leakage(bare, region_effects(bare), seed=0)
    assert len(found) == 0 and list(found)[-1] == "verdict"


def test_an_ablation_that_does_not_fit():
    energy = lifts([("a", "cloth", "x", 2.0), ("b", "cloth", "x", 2.0)])
    ablation = effects([("a", "cloth", 1.0, 0.0, 0.0), ("b", "n95", 1.0, 0.0, 0.0)])
    with pytest.raises(ValueError, match="effects of every masked face in energy, has none of b, cloth, age"):
        leakage(energy, ablation, seed=0)
    with pytest.raises(ValueError, match="not a many-to-one merge"):
        leakage(energy, pd.concat([ablation, ablation.assign(method="region_shapley")]), seed=0)
