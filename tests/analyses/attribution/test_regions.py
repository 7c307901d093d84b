import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from analyses.attribution.regions import COLUMNS, REGIONS, face_regions, on_grid, region_energy
from maskmtl.masks import MASKS, overlay
from maskmtl.masks.landmarks import mean_face

AT = {name: at for at, name in enumerate(REGIONS)}


def check_partition(regions):
    assert regions.dtype == np.float32
    assert regions.min() >= 0 and regions.max() <= 1
    assert np.abs(regions.sum(axis=0, dtype=float) - 1).max() <= 1e-6


# ---------------------------------------------------------------- regions of a face


def test_a_partition_of_each_demo_face_bare_and_masked(demo_faces):
    for row, mask in zip(range(0, len(demo_faces), 90), MASKS, strict=False):
        image, points = demo_faces.images[row], demo_faces.landmarks.points[row]
        alpha = overlay(image, points, mask=mask, seed=row).alpha
        bare, masked = face_regions(points, 200), face_regions(points, 200, alpha)
        check_partition(bare)
        check_partition(masked)
        np.testing.assert_array_equal(masked[AT["mask"]], alpha)
        np.testing.assert_allclose(masked[1:], bare[1:] * (1 - alpha), atol=1e-6)  # each gives up the same share
        areas = dict(zip(REGIONS, bare.mean(axis=(1, 2)), strict=True))
        assert areas["mask"] == 0
        for name, low, high in (
            ("eyes", 0.06, 0.15),
            ("forehead", 0.05, 0.2),
            ("nose", 0.03, 0.08),
            ("mouth_chin", 0.1, 0.22),
            ("cheeks", 0.15, 0.3),
            ("hair_background", 0.15, 0.55),
        ):
            assert low < areas[name] < high, name
        # a mask hides most of the lower face, and leaves eyes and forehead as good as free
        hidden = 1 - masked.sum(axis=(1, 2)) / np.maximum(bare.sum(axis=(1, 2)), 1e-9)
        assert hidden[AT["mouth_chin"]] > 0.9
        assert hidden[AT["forehead"]] == 0 and hidden[AT["eyes"]] < 0.1


@pytest.mark.parametrize(
    ("region", "indices"),
    [
        ("eyes", (159, 145, 33, 133, 386, 374, 263, 362, 52, 282)),  # lids, corners, middles of the brows
        ("forehead", (151, 9, 108, 337, 69, 299)),
        ("nose", (1, 4, 5, 6, 195, 45, 275)),
        ("mouth_chin", (0, 13, 14, 17, 61, 291, 164, 199, 200, 201, 421)),
        ("cheeks", (50, 280, 117, 346, 101, 330, 205, 425, 213, 433)),
    ],
)
def test_where_landmarks_lie(demo_faces, region, indices):
    for row in range(0, len(demo_faces), 90):
        points = demo_faces.landmarks.points[row]
        regions = face_regions(points, 200)
        for index in indices:
            x, y = (points[index, :2] * 200).astype(int)
            assert regions[AT[region], y, x] > 0.5, index


def test_around_the_face(demo_faces):
    points = demo_faces.landmarks.points[0] * [0.5, 0.5, 1] + [0.25, 0.25, 0]  # a small face, wholly in the picture
    regions = face_regions(points, 100)
    around = regions[AT["hair_background"]]
    assert around[[0, -1]].min() == around[:, [0, -1]].min() == 1
    height, width = np.ptp(points[:, 1]), np.ptp(points[:, 0])
    assert math.pi / 4 * height * width < 1 - around.mean() < height * width  # the hull is plumper than an ellipse


def mirror():
    """(468,): the landmark on the face's other side, by the mean face, which is nearly symmetric."""
    face = mean_face().astype(float)
    flipped = face * [-1, 1, 1] + [2 * face[[10, 152, 168, 1], 0].mean(), 0, 0]
    other = linear_sum_assignment(cdist(flipped, face) ** 2)[1]
    assert (other[other] == np.arange(len(face))).all()
    return other


def test_left_and_right_are_alike(demo_faces):
    other = mirror()
    for row in range(0, len(demo_faces), 150):
        points = demo_faces.landmarks.points[row].astype(float)
        mirrored = points[other] * [-1, 1, 1] + [1, 0, 0]
        difference = np.abs(face_regions(mirrored, 50) - face_regions(points, 50)[..., ::-1])
        assert difference.max() < 0.02  # a sample on an edge falls to one side


def test_a_known_shape():
    """The landmarks in three corners, those of the smaller regions in one: a triangle of cheeks."""
    points = np.full((468, 2), 0.2)
    points[11], points[12] = (0.8, 0.2), (0.2, 0.8)  # of the lips, in no smaller region's hull
    cheeks = face_regions(points, 10)[AT["cheeks"]]
    expected = np.zeros((10, 10))
    for y in range(2, 8):
        expected[y, 2 : 9 - y + 1] = 1
        expected[y, 9 - y] = 0.5
    np.testing.assert_allclose(cheeks, expected, atol=0.02)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([0.0, 0.3, 3.0, 1e3, 1e9]),
    shift=st.tuples(*[st.floats(-1e3, 1e3)] * 2),
    side=st.integers(1, 40),
    masked=st.booleans(),
)
def test_a_partition_wherever_landmarks_lie(seed, spread, shift, side, masked):
    rng = np.random.default_rng(seed)
    points = rng.normal(0.5, spread, (468, 2)) + shift
    alpha = rng.random((side, side)).astype(np.float32) if masked else None
    regions = face_regions(points, side, alpha)
    assert regions.shape == (len(REGIONS), side, side)
    check_partition(regions)
    for shape in ((3, 7), (12, 12), (2 * side, side)):
        check_partition(on_grid(regions, shape))


def test_a_face_beyond_the_picture_leaves_background():
    regions = face_regions(mean_face() + np.array([3, 0, 0]), 24)
    assert (regions[AT["hair_background"]] == 1).all()


def test_coarse_regions_are_averages_of_fine_ones():
    points = mean_face()
    fine = face_regions(points, 200)
    for side in (12, 24, 48):
        assert np.abs(face_regions(points, side) - on_grid(fine, (side, side))).max() < 0.06


@pytest.mark.parametrize(
    ("points", "side", "alpha", "message"),
    [
        (np.zeros((478, 2)), 9, None, r"points should be \(468, 2 or 3\), .* got \(478, 2\)"),
        (np.zeros((1, 468, 3)), 9, None, r"points should be \(468, 2 or 3\)"),
        (np.full((468, 2), np.nan), 9, None, "points should be finite"),
        (np.zeros((468, 2)), 0, None, "side should be at least 1 px, got 0"),
        (np.zeros((468, 2)), 9, np.zeros((8, 8)), r"alpha should be \(9, 9\) in 0..1, got \(8, 8\)"),
        (np.zeros((468, 2)), 9, np.full((9, 9), 255), r"alpha should be \(9, 9\) in 0..1, got 255"),
        (np.zeros((468, 2)), 9, np.full((9, 9), np.nan), r"alpha should be \(9, 9\) in 0..1, got nan"),
    ],
)
def test_wrong_regions(points, side, alpha, message):
    with pytest.raises(ValueError, match=message):
        face_regions(points, side, alpha)


# ---------------------------------------------------------------- another grid


def test_on_grid_by_hand():
    np.testing.assert_allclose(on_grid(np.array([[0.0, 1, 1], [0, 0, 1]]), (1, 2)), [[1 / 6, 5 / 6]], atol=1e-7)
    np.testing.assert_array_equal(on_grid(np.array([[[0.25, 1.0]]]), (2, 4)), [[[0.25, 0.25, 1, 1]] * 2])
    same = np.random.default_rng(0).random((2, 7, 5, 6), np.float32)
    np.testing.assert_array_equal(on_grid(same, (5, 6)), same)


@pytest.mark.parametrize("shape", [(12, 12), (24, 24), (48, 48), (7, 33), (200, 200), (333, 250)])
def test_on_grid_keeps_areas(shape):
    regions = face_regions(mean_face(), 200)
    coarse = on_grid(regions, shape)
    check_partition(coarse)
    np.testing.assert_allclose(coarse.mean(axis=(1, 2)), regions.mean(axis=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (4,), (4, 4, 4)])
def test_wrong_grid(shape):
    with pytest.raises(ValueError, match=r"shape \(h, w\), at least 1"):
        on_grid(np.zeros((7, 9, 9)), shape)


# ---------------------------------------------------------------- energy


def halves():
    """(R, 4, 4): the mask on the lower half, the eyes on a quarter of the upper half, cheeks on the rest."""
    regions = np.zeros((len(REGIONS), 4, 4), np.float32)
    regions[AT["mask"], 2:] = 1
    regions[AT["eyes"], 0, :2] = 1
    regions[AT["cheeks"], 0, 2:] = regions[AT["cheeks"], 1] = 1
    return regions


def energy_of(*maps, mask="cloth", **options):
    values = np.stack(maps).astype(np.float32)
    labels = {"mask": mask, "task": "age", "method": "gradcam", **options}
    return region_energy(values, np.stack([halves()] * len(maps)), [f"f{i}" for i in range(len(maps))], **labels)


def test_energy_by_hand():
    values = np.array([[1, 2, 3, -4], [0, 0, -1, 0], [5, -6, 0, 0], [0, 0, 0, 9]])
    table = energy_of(values).set_index("region")
    assert table.loc["mask", ["positive", "negative"]].tolist() == [14, 6]
    assert table.loc["eyes", ["positive", "negative"]].tolist() == [3, 0]
    assert table.loc["cheeks", ["positive", "negative"]].tolist() == [3, 5]
    assert table.loc["mask", ["share", "area", "lift"]].tolist() == [0.7, 0.5, 1.4]
    assert table.loc["eyes", ["share", "area", "lift"]].tolist() == pytest.approx([0.15, 0.125, 1.2])
    assert table.loc["nose", ["positive", "negative", "share", "area"]].tolist() == [0, 0, 0, 0]
    assert math.isnan(table.loc["nose", "lift"])


def test_energy_is_tidy():
    table = energy_of(np.ones((4, 4)), np.ones((4, 4)), mask=["none", "cloth"])
    assert tuple(table) == COLUMNS
    assert table["region"].tolist() == list(REGIONS) * 2
    assert table["face_id"].tolist() == ["f0"] * 7 + ["f1"] * 7
    assert table["mask"].tolist() == ["none"] * 7 + ["cloth"] * 7
    assert set(table["task"]) == {"age"} and set(table["method"]) == {"gradcam"}


@pytest.mark.parametrize("region", ["mask", "eyes", "cheeks"])
def test_all_energy_in_one_region(region):
    table = energy_of(halves()[AT[region]]).set_index("region")
    assert table["share"].to_dict() == {name: float(name == region) for name in REGIONS}
    assert table.loc[region, "lift"] == 1 / table.loc[region, "area"]


def test_an_even_map_has_no_preference():
    regions = face_regions(mean_face(), 48, np.tri(48, dtype=np.float32))
    table = region_energy(np.full((1, 48, 48), 0.3), regions[None], ["f"], mask="cloth", task="age", method="lime")
    np.testing.assert_allclose(table["lift"], 1, atol=1e-6)
    np.testing.assert_allclose(table["share"].sum(), 1, atol=1e-6)


@pytest.mark.parametrize("values", [np.zeros((4, 4)), -np.ones((4, 4))])
def test_a_map_without_positive_evidence_says_so(values):
    table = energy_of(values, np.ones((4, 4)))
    without = table[table["face_id"] == "f0"]
    assert without["share"].isna().all() and without["lift"].isna().all()
    assert without["positive"].eq(0).all() and without["area"].notna().all()
    assert table.loc[table["face_id"] == "f1", "share"].notna().all()


@settings(max_examples=30, deadline=None)
@given(
    values=arrays(np.float32, (2, 12, 12), elements=st.floats(-1e6, 1e6, width=32)),
    seed=st.integers(0, 2**32 - 1),
)
def test_nothing_is_lost(values, seed):
    rng = np.random.default_rng(seed)
    regions = [face_regions(mean_face() + rng.normal(0, 0.1, (468, 3)), 24, rng.random((24, 24))) for _ in values]
    table = region_energy(
        values, on_grid(np.stack(regions), (12, 12)), ["a", "b"], mask="cloth", task="age", method="hirescam"
    )
    sums = table.groupby("face_id")[["positive", "negative", "share", "area"]].sum()
    wanted = values.astype(float)
    np.testing.assert_allclose(sums["positive"], wanted.clip(0).sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(sums["negative"], (-wanted).clip(0).sum(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(sums["area"], 1, rtol=1e-5)
    np.testing.assert_allclose(sums["share"][sums["positive"] > 0], 1, rtol=1e-5)


def test_energy_of_no_maps():
    table = region_energy(np.zeros((0, 4, 4)), np.zeros((0, 7, 4, 4)), [], mask="none", task="age", method="gradcam")
    assert tuple(table) == COLUMNS and len(table) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((2, 4, 5))}, r"got \(2, 4, 5\) and \(2, 7, 4, 4\)"),
        ({"values": np.zeros((1, 4, 4))}, r"got \(1, 4, 4\) and \(2, 7, 4, 4\)"),
        ({"regions": np.zeros((2, 6, 4, 4))}, r"\(B, 7, h, w\), got \(2, 4, 4\) and \(2, 6, 4, 4\)"),
        ({"regions": np.zeros((2, 7, 4, 4))}, "regions should sum to 1 in every cell"),
        ({"values": np.full((2, 4, 4), np.inf)}, "values should be finite"),
        ({"face_id": ["a"]}, r"face_id should be one for each of 2 maps, got \(1,\)"),
        ({"face_id": "a"}, r"face_id should be one for each of 2 maps"),
        ({"mask": ["none"] * 3}, r"mask should be one for each of 2 maps, got \(3,\)"),
    ],
)
def test_wrong_energy(change, message):
    arguments = {"values": np.zeros((2, 4, 4)), "regions": np.stack([halves()] * 2), "face_id": ["a", "b"]}
    with pytest.raises(ValueError, match=message):
        region_energy(**{**arguments, "mask": "none", "task": "age", "method": "gradcam", **change})
