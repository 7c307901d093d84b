from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from maskmtl.composites import BANDS, COLUMNS, MAX_GHOST, SIDE, SOURCES, Likeness, blend, make_demo
from maskmtl.lookalikes import SPAN, Cell, Describer, sharpness
from maskmtl.manifest import Faces, Pixels
from maskmtl.masks.landmarks import Landmarks, mean_face
from maskmtl.paths import DEMO
from maskmtl.tasks import TASKS
from maskmtl.warping import Warp, colour, congeal, oval, recolour

GENDERS, ETHNICITIES = TASKS["gender"].target.names, TASKS["ethnicity"].target.names


def picture(seed: int, side: int = 200) -> np.ndarray:
    """A smooth coloured picture with some fine grain."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.uniform(60, 200, (8, 8, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(coarse + rng.normal(0, 3, coarse.shape), 0, 255).astype(np.uint8)


def jittered(rng: np.random.Generator) -> np.ndarray:
    """The mean face, moved, scaled and a little deformed."""
    points = mean_face() * rng.uniform(0.95, 1.05) + rng.normal(0, 0.01, 3)
    return (points + rng.normal(0, 0.001, points.shape)).astype(np.float32)


def synthetic(n: int, *, split: str = "test") -> Faces:
    rng = np.random.default_rng(0)
    base = picture(0).astype(float)
    noisy = (0.6 * base + 0.4 * picture(i + 1) + rng.normal(0, 4, base.shape) for i in range(n))
    images = np.stack([np.clip(image, 0, 255) for image in noisy])
    names = [f"face{i}" for i in range(n)]
    table = pd.DataFrame({"face_id": names, "group_id": names, "split": split, "excluded": ""})
    table["age"] = 20.0 + np.arange(n) % 8
    table["gender"], table["ethnicity"] = np.arange(n) % 2 * 1.0, 2.0
    landmarks = Landmarks.stack([(jittered(rng), 1.0, "mesh") for _ in range(n)])
    return Faces(table, Pixels(images.astype(np.uint8)), landmarks, pd.DataFrame(), "synthetic")


# --- warping


def test_a_face_warped_onto_its_own_landmarks_stays_as_it_is() -> None:
    image, points = picture(1), jittered(np.random.default_rng(1))
    assert np.abs(Warp(points, 200)(image, points) - image).max() <= 1


def test_a_warp_carries_each_landmark_to_its_place() -> None:
    rng = np.random.default_rng(2)
    shape, points = jittered(rng), jittered(rng)
    where = Warp(shape, 400).map(points)
    inner = [1, 33, 61, 133, 263, 291, 362]  # nose, eyes, mouth
    pixels = np.floor(shape[inner, :2] * 400).astype(int)
    assert np.abs(where[pixels[:, 1], pixels[:, 0]] - points[inner, :2]).max() < 1.5 / 400


def test_a_warp_follows_a_shift_and_holds_the_border_ring() -> None:
    shape = mean_face()
    shift = Warp(shape, 100).map(shape + np.array([0.05, 0, 0]))
    still = Warp(shape, 100).map(shape)
    inside = cv2.erode(oval(shape, 100).astype(np.uint8), np.ones((15, 15))).astype(bool)
    assert np.allclose((shift - still)[inside], [0.05, 0], atol=1e-6)
    assert np.abs((shift - still)[:, 0, 0]).max() < 0.05


def test_recolouring_gives_the_wanted_mean_and_spread() -> None:
    image, inside = picture(3).astype(np.float32), oval(mean_face(), 200)
    wanted = np.array([[120.0, 100, 90], [20, 22, 24]])
    assert np.allclose(colour(recolour(image, colour(image, inside), wanted), inside), wanted, atol=0.2)


def test_congealing_leaves_equal_faces_alone_and_brings_shifted_ones_together() -> None:
    image = cv2.GaussianBlur(picture(4), (0, 0), 3).astype(np.float32)
    assert np.abs(congeal(np.stack([image] * 3)) - image).max() <= 1
    shifted = np.stack([np.roll(image, d, axis=1) for d in (-2, 0, 2)])[:, 20:-20, 20:-20]
    assert congeal(shifted).std(axis=0).mean() < 0.6 * shifted.std(axis=0).mean()


def test_congealing_does_not_depend_on_threads() -> None:
    stack = np.stack([cv2.GaussianBlur(picture(i), (0, 0), 2) for i in (20, 21, 22)]).astype(np.float32)
    before, results = cv2.getNumThreads(), []
    try:
        for threads in (1, 3):
            cv2.setNumThreads(threads)
            results.append(congeal(stack))
            assert cv2.getNumThreads() == threads  # left as it came
    finally:
        cv2.setNumThreads(before)
    assert np.array_equal(*results)


# --- look-alikes


def test_blur_lowers_sharpness() -> None:
    image = picture(5)
    assert sharpness(cv2.GaussianBlur(image, (0, 0), 3)) < 0.5 * sharpness(image)


def test_descriptors_ignore_exposure_more_than_pose() -> None:
    describe, image, points = Describer(), picture(6), mean_face()
    own = describe(image, points)
    darker = describe((image * 0.8).astype(np.uint8), points)
    other = describe(picture(7), points)
    assert np.linalg.norm(own - darker) < 0.5 * np.linalg.norm(own - other)


def cell(ages: list[float], groups: list[str], places: list[float], size: int = 3) -> Cell:
    """Faces on a line: their distance is that of their places (in a part of the vector that is not appearance)."""
    rng = np.random.default_rng(0)
    looks = 1e-6 * rng.normal(size=(len(ages), Describer.appearance.stop))
    vectors = np.column_stack([looks, places]).astype(np.float32)
    return Cell(pd.DataFrame({"age": ages, "group_id": groups}), vectors, size)


def test_the_tightest_group_comes_first_and_uses_each_group_id_once() -> None:
    own = cell([20] * 7, ["a", "a", "b", "c", "d", "e", "f"], [0.0, 0.1, 0.2, 0.3, 10, 11, 13])
    first = own.tightest(0, 99)
    assert first is not None and first.rows == (1, 2, 3)
    assert first.distance == pytest.approx((0.1 + 0.2 + 0.1) / 3, rel=1e-3)
    assert own.tightest(0, 99) == first  # nothing was taken yet
    own.free[list(first.rows)] = False
    second = own.tightest(0, 99)
    assert second is not None and second.rows == (4, 5, 6)
    own.free[5] = False
    third = own.tightest(0, 99)
    assert third is not None and third.rows == (0, 4, 6)
    own.free[0] = False
    assert own.tightest(0, 99) is None


def test_a_group_spans_few_years_and_its_mean_age_lies_in_the_band() -> None:
    own = cell([20, 20 + SPAN, 21 + SPAN, 23, 60, 61, 62], list("abcdefg"), [0, 0.1, 0.2, 5, 0.05, 0.15, 0.25])
    young, old = own.tightest(0, 30), own.tightest(50, 99)
    assert young is not None and young.rows == (1, 2, 3)
    assert old is not None and old.rows == (4, 5, 6)
    assert own.tightest(31, 49) is None


# --- composites


def test_a_composite_weighs_its_sources_equally() -> None:
    """Four flat-coloured patches on one picture: each changes the mean by a quarter of what it changes its source."""
    points = np.stack([mean_face()] * 4)
    base = cv2.GaussianBlur(picture(8), (0, 0), 6)
    plain = blend(np.stack([base] * 4), points)
    assert plain.ghost < 0.5
    whole = cv2.resize(base, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(float)
    assert np.abs(plain.image - whole).mean() < 2  # but for the unsharp mask, the mean of equals is the same
    changes = []
    for own in range(4):
        images = np.stack([base] * 4)
        images[own, 90:110, 90:110] = np.clip(images[own, 90:110, 90:110].astype(int) + 24, 0, 255)
        changes.append(blend(images, points).image.astype(float) - plain.image)
    changes = np.array(changes)
    assert np.abs(changes - changes.mean(axis=0)).max() <= 2  # no source counts more than another
    assert 3 < changes.mean(axis=0)[74:86, 74:86].mean() < 9  # 24 / 4


def test_the_source_that_stands_out_is_named() -> None:
    images = np.stack([cv2.GaussianBlur(picture(9), (0, 0), 6)] * 5)
    cv2.putText(images[3], "SAMPLE", (50, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 2)
    marked = blend(images, np.stack([mean_face()] * 5))
    assert marked.odd == 3
    assert marked.lone > 3 * blend(images[[0, 1, 2, 4]], np.stack([mean_face()] * 4)).lone


def test_likeness_is_one_for_the_same_picture() -> None:
    images = np.stack([picture(10), picture(11)])
    like = Likeness(images)(cv2.resize(images[1], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    assert like.shape == (2, 2)
    assert (like[:, 1] > 0.99).all() and (like[:, 0] < 0.9).all()


def check_table(table: pd.DataFrame) -> None:
    sources = table["sources"].str.split(";")
    assert (table["n"] >= 5).all() and (sources.str.len() == table["n"]).all()
    assert not sources.explode().duplicated().any()
    assert (table["age_max"] - table["age_min"]).between(0, 4).all()
    assert table["age"].between(table["age_min"], table["age_max"]).all()
    assert list(table["path"]) == [f"{i:04d}.jpg" for i in range(1, len(table) + 1)]


def test_the_same_seed_gives_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskmtl.composites.MAX_LIKENESS", 2.0)  # synthetic pictures are all alike
    monkeypatch.setattr("maskmtl.composites.MAX_GHOST", 200.0)
    monkeypatch.setattr("maskmtl.composites.MAX_LONE", 200.0)
    faces, seen = synthetic(60), []
    tables = [make_demo(faces, tmp_path / n, seed=s, count=4) for n, s in (("a", 1), ("b", 1), ("c", 2))]
    make_demo(faces, tmp_path / "a", seed=1, count=2, progress=lambda done, total: seen.append((done, total)))
    assert len(list((tmp_path / "a").glob("*.jpg"))) == 2  # what an earlier run left is gone
    make_demo(faces, tmp_path / "a", seed=1, count=4)
    assert len(tables[0]) == 4
    for file in sorted(p.name for p in (tmp_path / "a").iterdir()):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert (tmp_path / "a" / "faces.csv").read_bytes() != (tmp_path / "c" / "faces.csv").read_bytes()
    check_table(pd.read_csv(tmp_path / "a" / "faces.csv"))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen) and seen[-1] == (62, 62)


def test_without_a_test_split_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split 'test'"):
        make_demo(synthetic(12, split="train"), tmp_path / "demo", seed=0, count=2)
    assert not (tmp_path / "demo").exists()


def test_a_folder_of_other_pictures_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0001.jpg").write_bytes(b"my own")
    with pytest.raises(ValueError, match=r"out should be a new folder or one of composites with faces\.csv"):
        make_demo(synthetic(12, split="train"), tmp_path, seed=0, count=2)
    assert (tmp_path / "0001.jpg").read_bytes() == b"my own"


def test_composites_of_real_faces(utkface: Faces, tmp_path: Path) -> None:
    table = utkface.table
    faces = replace(utkface, table=table.assign(split=np.where(table["split"] == "val", "test", table["split"])))
    made = make_demo(faces, tmp_path / "demo", seed=0, count=6)
    assert len(made) == 6
    check_table(made)
    assert (made["ghost"] <= MAX_GHOST).all()
    by_id = faces.table.set_index("face_id")
    for row in made.itertuples():
        own = by_id.loc[str(row.sources).split(";")]
        assert (own["split"] == "test").all() and (own["excluded"] == "").all() and own["group_id"].is_unique
        assert set(own["gender"].map(lambda g: GENDERS[int(g)])) == {row.gender}
        assert set(own["ethnicity"].map(lambda e: ETHNICITIES[int(e)])) == {row.ethnicity}
        assert (own["age"].min(), own["age"].max(), round(own["age"].mean())) == (row.age_min, row.age_max, row.age)


# --- the committed demo faces


@pytest.fixture(scope="module")
def demo() -> pd.DataFrame:
    return pd.read_csv(DEMO / "faces.csv")


def test_demo_table(demo: pd.DataFrame) -> None:
    assert tuple(demo.columns) == COLUMNS
    assert len(demo) >= 400
    assert (demo["n"] == SOURCES).all()
    check_table(demo)


def test_demo_covers_everybody(demo: pd.DataFrame) -> None:
    assert set(zip(demo["gender"], demo["ethnicity"], strict=True)) == {(g, e) for g in GENDERS for e in ETHNICITIES}
    assert demo["age"].min() <= 2 and demo["age"].max() >= 80
    counts = pd.cut(demo["age"], [*BANDS, 200], right=False).value_counts()
    assert (counts > 0).all()


def test_demo_pictures(demo: pd.DataFrame) -> None:
    files = sorted(DEMO.glob("*.jpg"))
    assert [file.name for file in files] == list(demo["path"])
    for file in files:
        assert cv2.imread(str(file)).shape == (SIDE, SIDE, 3)
    assert sum(file.stat().st_size for file in DEMO.iterdir()) < 8e6


def test_demo_labels_are_those_of_the_sources(demo: pd.DataFrame) -> None:
    """A source's name carries its own annotations: they are those of its composite."""
    for row in demo.itertuples():
        names = [source.split("_") for source in str(row.sources).split(";")]
        assert {GENDERS[int(n[1])] for n in names} == {row.gender}
        assert {ETHNICITIES[int(n[2])] for n in names} == {row.ethnicity}
        ages = [int(n[0]) for n in names]
        assert (min(ages), max(ages), round(np.mean(ages))) == (row.age_min, row.age_max, row.age)
