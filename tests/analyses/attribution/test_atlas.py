from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, ttest_ind

from analyses.attribution import explain
from analyses.attribution.atlas import ARRAYS, Atlas, AtlasResult, Contrast, atlas
from maskmtl.checkpoint import load_model
from maskmtl.dataset import wear
from maskmtl.inference import to_input
from maskmtl.tasks import TASKS

GRID = (8, 8)


def atlas_of(values, groups, sources=None, *, masks=("none", "cloth"), batch=None, order=None, **options):
    """Values are task -> (M, N, h, w), added `batch` at a time in this order."""
    order = np.arange(len(groups)) if order is None else order
    sources = [f"face {i}" for i in range(len(groups))] if sources is None else sources
    groups, sources = np.array(groups), np.array(sources)
    sums = Atlas(np.unique(groups).tolist(), masks, **options)
    for start in range(0, len(groups), batch or len(groups)):
        rows = order[start : start + (batch or len(groups))]
        sums.add({task: maps[:, rows] for task, maps in values.items()}, groups[rows], sources[rows])
    return sums.result({"made": "here"})


def noise(rng, n, size=1.0):
    """(2, n, 8, 8) float32: bare and masked maps that differ by chance only, neighbours alike, as maps are."""
    coarse = rng.normal(size=(2, n, 4, 4)).repeat(2, axis=2).repeat(2, axis=3)
    return ((coarse + rng.normal(size=(2, n, *GRID))) * size).astype(np.float32)


def planted(rng, n):
    """Maps from which the mask takes evidence in a block of the upper half."""
    where = np.zeros(GRID, bool)
    where[:4, 2:6] = True
    maps = noise(rng, n)
    maps[0] += 2 * where
    return maps, where


def same(a, b, rtol=0.0):
    assert (a.groups, a.masks, a.n, a.about) == (b.groups, b.masks, b.n, b.about)
    for name in ARRAYS:
        assert getattr(a, name).keys() == getattr(b, name).keys()
        for task, maps in getattr(a, name).items():
            np.testing.assert_allclose(getattr(b, name)[task], maps, rtol=rtol, atol=rtol)


# ---------------------------------------------------------------- means and errors


def test_means_by_hand():
    bare = np.array([[[1.0, -2.0]], [[3.0, 2.0]], [[5.0, 0.0]]])  # three faces of 1x2 pixels
    masked = np.array([[[0.0, -2.0]], [[0.0, 4.0]], [[5.0, 1.0]]])
    found = atlas_of({"age": np.stack([bare, masked])}, ["a", "a", "b"])
    assert found.groups == ("a", "b") and found.n == (2, 1)
    np.testing.assert_allclose(found.mean["age"], [[[[2, 0]], [[0, 1]]], [[[5, 0]], [[5, 1]]]])
    np.testing.assert_allclose(found.error["age"][0], [[[1, 2]], [[0, 3]]])  # half of two faces' distance
    assert np.isnan(found.error["age"][1]).all()
    change = found.mask_change("age", "a", "cloth")
    np.testing.assert_allclose(change.difference, [[2, -1]])  # of 1, 3 and of 0, -2
    np.testing.assert_allclose(change.error, [[1, 1]])
    assert np.isnan(found.change["age"][:, 0]).all()


def test_p_by_hand():
    """All differences are 1: each permutation gives the sum of 20 signs, as large as the observed one if all agree."""
    maps = np.zeros((2, 40, 1, 2))
    maps[0, :, :, 0] = 1
    pairs = [f"pair {i // 20}" for i in range(40)]  # two sources: half of the permutations flip neither or both
    p = atlas_of({"age": maps}, ["a"] * 40, pairs).mask_change("age", "a", "cloth").p[0]
    assert p[0] == pytest.approx(0.5, abs=4 * (0.25 / 2000) ** 0.5)
    assert p[1] == 1  # no difference
    alone = atlas_of({"age": maps}, ["a"] * 40).mask_change("age", "a", "cloth")
    assert alone.p[0, 0] == 1 / 2000
    assert alone.p[0, 1] == 1


def test_p_agrees_with_all_sign_flips():
    """Against the 2^12 sign flips of 12 sources, enumerated."""
    rng = np.random.default_rng(3)
    differences = np.repeat(rng.normal(0.3, 1, (12, 3, 4)), 2, axis=0)
    maps = np.stack([differences, np.zeros_like(differences)])
    sources = np.repeat([f"{i}" for i in range(12)], 2)
    p = atlas_of({"age": maps}, ["a"] * 24, sources).mask_change("age", "a", "cloth").p
    signs = np.array(list(product([1, -1], repeat=12)))
    sums = np.abs(np.tensordot(signs, differences[::2], axes=1))
    exact = (sums >= sums[0] - 1e-9).mean(axis=0)
    assert 0.001 < exact.min() < 0.1
    np.testing.assert_allclose(p, exact, atol=4.5 * (0.25 / 1999) ** 0.5)
    small = exact < 0.1
    np.testing.assert_allclose(p[small], exact[small], atol=4.5 * (0.09 / 1999) ** 0.5)


# ---------------------------------------------------------------- batches, order, seeds


def test_batches_and_order_do_not_matter():
    rng = np.random.default_rng(0)
    values = {"age": noise(rng, 90, 0.01), "gender": noise(rng, 90, 30)[:, :, :3]}
    groups = rng.choice(["a", "b", "c"], 90)
    whole = atlas_of(values, groups)
    for batch in (1, 7, 64):
        other = atlas_of(values, groups, batch=batch, order=rng.permutation(90))
        same(whole, other, rtol=1e-12)
        for task in values:
            np.testing.assert_array_equal(other.p[task], whole.p[task])


def test_a_face_has_its_own_signs_whatever_comes_with_it():
    rng = np.random.default_rng(1)
    maps = noise(rng, 60)
    sources = [f"{i}" for i in range(60)]
    groups = ["a"] * 30 + ["b"] * 30
    of_two = atlas_of({"age": maps}, groups, sources)
    of_one = atlas_of({"age": maps[:, :30]}, groups[:30], sources[:30])
    np.testing.assert_array_equal(of_two.p["age"][0], of_one.p["age"][0])
    other = atlas_of({"age": maps}, groups, sources, seed=1)
    assert (other.p["age"] != of_two.p["age"])[:, 1].any()
    np.testing.assert_array_equal(other.mean["age"], of_two.mean["age"])


def test_each_mask_is_compared_with_the_bare_face():
    rng = np.random.default_rng(2)
    maps = np.concatenate([noise(rng, 30), noise(rng, 30)[:1] + 1])
    three = atlas_of({"age": maps}, ["a"] * 30, masks=("none", "cloth", "n95"))
    for at, mask in ((1, "cloth"), (2, "n95")):
        alone = atlas_of({"age": maps[[0, at]]}, ["a"] * 30, masks=("none", mask))
        for name in ("difference", "error", "p"):
            expected = getattr(alone.mask_change("age", "a", mask), name)
            np.testing.assert_array_equal(getattr(three.mask_change("age", "a", mask), name), expected)


# ---------------------------------------------------------------- what is found


def test_a_planted_difference_is_found_where_it_is():
    maps, where = planted(np.random.default_rng(0), 60)
    change = atlas_of({"age": maps}, ["a"] * 60).mask_change("age", "a", "cloth")
    found = change.found()
    assert found[where].all()
    assert (found & ~where).sum() <= 2  # 5 % of what is found, by expectation
    assert (change.difference[found & where] > 0).all()
    assert change.found(1e-6).sum() == 0  # p is at least 1/2000


def test_pairs_of_the_same_maps_do_not_differ():
    maps = noise(np.random.default_rng(0), 60)
    maps[1] = maps[0]
    change = atlas_of({"age": maps}, ["a"] * 60).mask_change("age", "a", "cloth")
    assert (change.p == 1).all() and not change.found().any()


def test_false_discoveries_by_the_stated_rate():
    """Nothing differs: whatever is found is false, so q bounds how often anything is. With a part planted, the mean
    share of false ones is bounded."""
    rng = np.random.default_rng(0)
    trials, any_found, share = 200, 0, []
    for _ in range(trials):
        null = noise(rng, 25)
        maps, where = planted(rng, 25)
        result = atlas_of({"null": null, "planted": maps}, ["a"] * 25, permutations=999)
        any_found += result.mask_change("null", "a", "cloth").found(0.2).any()
        found = result.mask_change("planted", "a", "cloth").found(0.2)
        share.append((found & ~where).sum() / max(1, found.sum()))
    assert 0 < any_found <= binom.ppf(0.999, trials, 0.2)
    assert 0 < np.mean(share) <= 0.2 + 3 * np.std(share) / trials**0.5


def test_benjamini_hochberg_by_hand():
    p = np.array([[0.01, 0.02], [0.03, 0.5]])  # against q / 4, q / 2, 3 q / 4, q
    contrast = Contrast(p, p, p)
    np.testing.assert_array_equal(contrast.found(0.05), [[True, True], [True, False]])
    np.testing.assert_array_equal(contrast.found(0.039), np.zeros((2, 2)))
    np.testing.assert_array_equal(contrast.found(0.041), [[True, True], [True, False]])
    with pytest.raises(ValueError, match="q should be between 0 and 1, got 5"):
        contrast.found(5)


# ---------------------------------------------------------------- a group against the others


def test_group_difference_is_welch_against_all_other_labelled_faces():
    rng = np.random.default_rng(5)
    groups = np.array(["a"] * 25 + ["b"] * 30 + ["c"] * 10 + ["d"] + ["unlabelled"] * 40)
    maps = noise(rng, len(groups))
    maps[:, groups == "a"] *= 3
    maps[1, groups == "b"] += 3
    maps[:, groups == "unlabelled"] = 100
    result = atlas_of({"age": maps}, groups)
    for (m, mask), group in product(enumerate(result.masks), ("a", "b")):
        own, rest = maps[m, groups == group], maps[m, (groups != group) & (groups != "unlabelled")]
        expected = ttest_ind(own.astype(float), rest.astype(float), equal_var=False)
        contrast = result.group_difference("age", group, mask)
        np.testing.assert_allclose(contrast.p, expected.pvalue, rtol=1e-9)
        np.testing.assert_allclose(contrast.difference, own.mean(axis=0) - rest.mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(contrast.difference / contrast.error, expected.statistic, rtol=1e-5)
    assert not result.group_difference("age", "a").found().any()
    assert result.group_difference("age", "b", "cloth").found().mean() > 0.3
    few = result.group_difference("age", "c")
    assert np.isnan(few.p).all() and not few.found().any() and np.isfinite(few.difference).all()


def test_group_difference_where_pixels_do_not_vary():
    maps = np.zeros((1, 60, 1, 2))
    maps[:, :30, :, 1] = 1
    contrast = atlas_of({"age": maps}, ["a"] * 30 + ["b"] * 30, masks=("none",)).group_difference("age", "a")
    np.testing.assert_array_equal(contrast.p, [[1, 0]])


def test_one_group_has_nothing_to_be_compared_with():
    result = atlas_of({"age": np.zeros((2, 4, 1, 1))}, ["a", "a", "unlabelled", "unlabelled"])
    with pytest.raises(ValueError, match="another one with labels beside 'a'"):
        result.group_difference("age", "a")


# ---------------------------------------------------------------- small groups and the table


def test_a_small_group_is_not_tested():
    rng = np.random.default_rng(0)
    maps = np.concatenate([planted(rng, 19)[0], planted(rng, 20)[0]], axis=1)
    result = atlas_of({"age": maps}, ["few"] * 19 + ["more"] * 20)
    few, more = (result.mask_change("age", group, "cloth") for group in ("few", "more"))
    assert np.isnan(few.p).all() and not few.found().any()
    assert np.isfinite(more.p).all() and more.found().any()
    table = result.table()
    assert list(table) == ["task", "group", "mask", "n", "found"]
    assert list(zip(table["group"], table["mask"], table["n"], strict=True)) == [
        ("few", "none", 19),
        ("few", "cloth", 19),
        ("more", "none", 20),
        ("more", "cloth", 20),
    ]
    assert table["found"].isna().tolist() == [True, True, True, False]
    assert table["found"].iloc[3] == more.found().mean()


# ---------------------------------------------------------------- files


def test_save_and_load(tmp_path):
    rng = np.random.default_rng(0)
    values = {"age": noise(rng, 40), "gender": noise(rng, 40)[..., :2]}
    result = atlas_of(values, ["a"] * 30 + ["b"] * 9 + ["c"])
    result.save(tmp_path / "atlas")
    same(AtlasResult.load(tmp_path / "atlas"), result)
    assert sorted(path.name for path in (tmp_path / "atlas").iterdir()) == ["maps.npz", "table.parquet"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "atlas" / "table.parquet"), result.table())
    other = atlas_of(values, ["a"] * 40)
    other.save(tmp_path / "atlas")  # over the old one
    same(AtlasResult.load(tmp_path / "atlas"), other)
    with pytest.raises(ValueError, match=r"folder should hold an atlas's maps.npz"):
        AtlasResult.load(tmp_path)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("values", "groups", "sources", "message"),
    [
        ({"age": np.zeros((2, 2, 4, 4))}, ["a", "b"], ["1", "2"], r"groups should be among \['a'\], got 'b'"),
        ({"age": np.zeros((2, 2, 4, 4))}, ["a", "a"], ["1"], "of the same faces, got 2 and 1"),
        ({"age": np.zeros((1, 2, 4, 4))}, ["a", "a"], ["1", "2"], r"\(2, 2, 4, 4\), got \(1, 2, 4, 4\)"),
        ({"age": np.zeros((2, 2, 4, 5))}, ["a", "a"], ["1", "2"], r"\(2, 2, 4, 4\), got \(2, 2, 4, 5\)"),
        ({"age": np.full((2, 2, 4, 4), np.nan)}, ["a", "a"], ["1", "2"], "'age' should be finite"),
        ({"sex": np.zeros((2, 2, 4, 4))}, ["a", "a"], ["1", "2"], r"tasks \['age'\], got \['sex'\]"),
    ],
)
def test_bad_batches_add_nothing(values, groups, sources, message):
    sums = Atlas(["a"], ["none", "cloth"])
    sums.add({"age": np.ones((2, 1, 4, 4))}, ["a"], ["0"])
    with pytest.raises(ValueError, match=message):
        sums.add(values, groups, sources)
    result = sums.result({})
    assert result.n == (1,) and (result.mean["age"] == 1).all()


@pytest.mark.parametrize(
    ("groups", "masks", "permutations", "message"),
    [
        ([], ["none"], 9, "groups should be names"),
        (["a", "a"], ["none"], 9, "none twice"),
        (["a"], ["cloth"], 9, "masks should be 'none' and others"),
        (["a"], ["none"], 0, "permutations should be at least 1, got 0"),
    ],
)
def test_bad_plans(groups, masks, permutations, message):
    with pytest.raises(ValueError, match=message):
        Atlas(groups, masks, permutations=permutations)


def test_bad_names():
    result = atlas_of({"age": np.zeros((2, 2, 1, 1))}, ["a", "b"])
    for at, message in (
        (("sex", "a", "cloth"), r"task should be one of \['age'\], got 'sex'"),
        (("age", "c", "cloth"), r"group should be one of \['a', 'b'\], got 'c'"),
        (("age", "a", "n95"), r"mask should be one of \['none', 'cloth'\], got 'n95'"),
        (("age", "a", "none"), r"mask should be one of \['cloth'\], to compare with the bare face, got 'none'"),
    ):
        with pytest.raises(ValueError, match=message):
            result.mask_change(*at)
    with pytest.raises(ValueError, match=r"none in \['b'\]"):
        sums = Atlas(["a", "b"], ["none"])
        sums.add({"age": np.zeros((1, 1, 1, 1))}, ["a"], ["0"])
        sums.result({})


# ---------------------------------------------------------------- from faces


@pytest.fixture(scope="module")
def model():
    return load_model("maskmtl-compact", "cpu")


@pytest.fixture
def faces(demo_faces):
    return demo_faces.select(np.arange(0, 450, 18))


def test_faces_to_atlas(model, faces):
    """Masked faces are asked for the class that the bare face was given, though the mask changes some answers."""
    steps = []
    result = atlas(model, faces, masks=["surgical"], by="gender", batch_size=8, progress=lambda *at: steps.append(at))
    assert result.groups == ("male", "female") and result.masks == ("none", "surgical")
    assert steps[-1] == (50, 50) and steps == sorted(steps)
    labels = np.array(["male", "female"])[faces.table["gender"].astype(int)]
    assert result.n == tuple((labels == group).sum() for group in result.groups)
    worn = [
        wear(*face, "surgical", 0)
        for face in zip(faces.images, faces.landmarks.points, faces.table["face_id"], strict=True)
    ]
    x = to_input(np.stack(worn), model)
    bare = explain(model, to_input(faces.images[:], model), method="hirescam")
    masked = explain(model, x, method="hirescam", index=bare.index)
    assert (TASKS["ethnicity"].target.decode(model(x)["ethnicity"]).numpy() != bare.index["ethnicity"]).any()
    for task, (g, group) in product(TASKS, enumerate(result.groups)):
        rows = labels == group
        pair = np.stack([bare.values[task][rows], masked.values[task][rows]])
        np.testing.assert_allclose(result.mean[task][g], pair.mean(axis=1), atol=1e-5 * np.abs(pair).max())
    about = {"method": "hirescam", "by": "gender", "faces": "demo", "unit": "score", "index": {}}
    assert about.items() <= result.about.items()


def test_one_class_asked_of_all(model, faces):
    result = atlas(model, faces, masks=[], by="gender", tasks=["ethnicity"], index={"ethnicity": 2})
    maps = explain(model, to_input(faces.images[:], model), tasks=["ethnicity"], method="hirescam", index=2)
    expected = maps.values["ethnicity"].mean(axis=0)
    mean = np.average(result.mean["ethnicity"][:, 0], axis=0, weights=result.n)
    np.testing.assert_allclose(mean, expected, atol=1e-4 * np.abs(expected).max())
    assert list(result.mean) == ["ethnicity"] and result.about["index"] == {"ethnicity": 2}


def test_near_duplicates_are_one_source(model, faces):
    """Of a single source nothing can be said, however many pictures there are."""
    at = {"masks": ["cloth"], "by": "everyone", "tasks": ["gender"]}
    apart = faces.table.assign(everyone="all")
    together = apart.assign(group_id="one")
    assert (atlas(model, replace(faces, table=together), **at).p["gender"][:, 1] == 1).all()
    assert atlas(model, replace(faces, table=apart), **at).p["gender"][:, 1].min() < 0.05


def test_batch_size_of_faces_does_not_matter(model, faces, tmp_path):
    made = [atlas(model, faces, masks=["cloth"], permutations=199, batch_size=size) for size in (25, 8)]
    for name in ("mean", "change"):
        for task in TASKS:
            one, other = (getattr(result, name)[task] for result in made)
            np.testing.assert_allclose(other, one, atol=1e-4 * np.nanmax(np.abs(one)))
    made[0].save(tmp_path)
    same(AtlasResult.load(tmp_path), made[0])


def test_faces_without_a_label_are_a_group(model, faces):
    table = faces.table.copy()
    table.loc[:9, "age"] = np.nan
    result = atlas(model, replace(faces, table=table), masks=[], by="age_band", tasks=["age"])
    assert result.groups[-1] == "unlabelled" and result.n[-1] == 10 and sum(result.n) == 25
    assert result.masks == ("none",) and result.table()["found"].isna().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"masks": ["hat"]}, "hat"),
        ({"by": "shoes"}, "by should be"),
        ({"tasks": ["shoes"]}, "task should be one of"),
        ({"method": "guess"}, "method should be one of"),
        ({"batch_size": 0}, "batch_size should be at least 1, got 0"),
        ({"permutations": 0}, "permutations should be at least 1"),
    ],
)
def test_bad_wishes(model, faces, options, message):
    with pytest.raises(ValueError, match=message):
        atlas(model, faces, **{"masks": ["cloth"], **options})


def test_no_faces(model, faces):
    with pytest.raises(ValueError, match="faces should be at least one, got none"):
        atlas(model, faces.select(np.array([], int)), masks=["cloth"])
