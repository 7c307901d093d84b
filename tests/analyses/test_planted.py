"""Planted faces: the cue alone decides the label; and a method that finds it, which a random map does not."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from analyses.attribution import Attribution, explain
from analyses.planted import (
    DOTS,
    OLDER,
    YOUNGER,
    PlantedFaces,
    cue_table,
    find_cues,
    planted_faces,
    planted_labels,
    train_planted,
)
from maskmtl.dataset import as_tensor
from maskmtl.tasks import TASKS

N = 60


@pytest.fixture(scope="module")
def faces():
    return planted_faces(planted_labels(N, 0), 0)


def read_labels(images, regions):
    """The labels, from nothing but the pixels of the regions (N, 48, 48) that are given."""
    labels = {"age": [], "gender": [], "ethnicity": []}
    for i, image in enumerate(images.astype(float)):
        disc = image[regions["age"][i]]
        cyan = np.linalg.norm(disc - OLDER, axis=1) < np.linalg.norm(disc - YOUNGER, axis=1)
        labels["age"].append(100 * cyan.mean())
        rows, columns = np.nonzero(regions["gender"][i])
        patch = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        labels["gender"].append(float(np.abs(np.diff(patch, axis=1)).sum() > np.abs(np.diff(patch, axis=0)).sum()))
        dot = image[regions["ethnicity"][i]].mean(axis=0)
        labels["ethnicity"].append(float(np.linalg.norm(DOTS - dot, axis=1).argmin()))
    return pd.DataFrame(labels)


def test_the_cue_holds_the_label(faces):
    found = read_labels(faces.images, faces.regions)
    assert (found[["gender", "ethnicity"]] == faces.labels[["gender", "ethnicity"]]).all(axis=None)
    assert (found["age"] - faces.labels["age"]).abs().max() <= 100 / 81 / 2 + 1e-9  # 81 pixels, orange or cyan


def test_swapped_cues_swap_the_labels(faces):
    """Only for age and ethnicity, whose cues have the same shape in every face: pixel by pixel to the other's place."""
    images = faces.images.copy()
    for task in ("age", "ethnicity"):
        for i in range(N):
            images[i][faces.regions[task][i]] = faces.images[N - 1 - i][faces.regions[task][N - 1 - i]]
    found, other = read_labels(images, faces.regions), read_labels(faces.images, faces.regions)[::-1]
    for task in ("age", "ethnicity"):
        assert found[task].tolist() == other[task].tolist()
    assert found["gender"].tolist() == faces.labels["gender"].tolist()


@pytest.mark.parametrize("task", list(TASKS))
def test_nothing_outside_of_the_cue_knows_the_label(faces, task):
    labels = faces.labels.copy()
    labels[task] = {"age": 100 - labels["age"], "gender": 1 - labels["gender"], "ethnicity": labels["ethnicity"] // 2}[
        task
    ]
    other = planted_faces(labels, 0)
    changed = (other.images != faces.images).any(axis=3)
    assert changed.any()
    assert not changed[~faces.regions[task]].any()
    for name in TASKS:
        np.testing.assert_array_equal(other.regions[name], faces.regions[name])


def test_a_face_without_a_cue(faces):
    without = planted_faces(faces.labels.assign(ethnicity=np.nan), 0)
    assert not without.regions["ethnicity"].any()
    assert faces.regions["ethnicity"].any()
    changed = (without.images != faces.images).any(axis=3)
    assert not changed[~faces.regions["ethnicity"]].any()
    assert changed[faces.regions["ethnicity"]].mean() > 0.95  # by the noise, a pixel may stay as it was


def test_seeds():
    labels = planted_labels(6, 0)
    images = planted_faces(labels, 1).images
    np.testing.assert_array_equal(planted_faces(labels, 1).images, images)
    np.testing.assert_array_equal(planted_faces(labels[:3], 1).images, images[:3])  # whatever comes after
    assert (planted_faces(labels, 2).images != images).any(axis=(1, 2, 3)).all()
    pd.testing.assert_frame_equal(planted_labels(6, 0), labels)


def test_labels():
    labels, some = planted_labels(4000, 3), planted_labels(4000, 3, absent=0.2)
    assert some.isna().mean().between(0.17, 0.23).all()
    pd.testing.assert_frame_equal(labels.where(some.notna()), some)
    assert labels["age"].between(0, 100).all()
    assert labels["gender"].value_counts(normalize=True).between(0.45, 0.55).all()
    assert labels["ethnicity"].value_counts(normalize=True).between(0.17, 0.23).all()
    assert labels.corr().to_numpy()[~np.eye(3, dtype=bool)].__abs__().max() < 0.06  # four deviations of chance


def test_places(faces):
    """Apart from each other, all of the face's, and never so alike that one place would find most of them."""
    regions = faces.regions
    for task, pixels in {"age": 81, "gender": 144, "ethnicity": 81}.items():
        assert (regions[task].sum(axis=(1, 2)) == pixels).all()
        assert regions[task].mean(axis=0).max() < 0.5
        assert regions[task][:, 24, 24].mean() < 0.25
    assert sum(region.astype(int) for region in regions.values()).max() == 1


@pytest.mark.parametrize(
    ("task", "label"), [("age", 101), ("age", -1), ("gender", 2), ("gender", 0.5), ("ethnicity", 5)]
)
def test_labels_out_of_range(task, label):
    with pytest.raises(ValueError, match=f"{task} should be .*, got {label}"):
        planted_faces(planted_labels(2, 0).assign(**{task: [0, label]}), 0)


def by_hand(unit="score"):
    """Four faces with the cues of age in the first quarter of the picture, of gender in the last."""
    regions = np.zeros((2, 4, 48, 48), bool)
    regions[0, :, :24, :24] = regions[1, :, 24:, 24:] = True
    labels = pd.DataFrame({"age": [90.0, 10, 50, 10], "gender": [1.0, 1, 0, 0]})
    faces = PlantedFaces(np.zeros((4, 48, 48, 3), np.uint8), labels, {"age": regions[0], "gender": regions[1]})
    values = {
        "age": np.array([[[3, 1], [0, -8]], [[-1, 2], [-3, 0]], [[9, 9], [9, 9]], [[1, 1], [1, 1]]], np.float32),
        "gender": np.array([[[0, 0], [1, 3]], [[1, 2], [1, 0]], [[-1, -1], [-1, -1]], [[1, 1], [1, 1]]], np.float32),
    }
    age = (np.array([[92.0], [10.0], [50.0], [30.0]], np.float32) - 50) / 25  # right, right, the mean, 20 years off
    logits = {"age": age, "gender": np.array([[4.0], [2.0], [-1.0], [1.0]], np.float32)}  # the last one is wrong
    index = {"age": np.full(4, -1), "gender": np.array([1, 1, 0, 1])}
    specs = {"age": replace(TASKS["age"], target=TASKS["age"].target.standardised(50, 25)), "gender": TASKS["gender"]}
    return Attribution(values, index, "by hand", {}, {}, unit, logits), faces, specs


def test_find_cues_by_hand():
    found = find_cues(*by_hand()).set_index(["question", "picture"])
    assert found.index.tolist() == [("age, older", 0), ("age, younger", 1), ("gender", 0), ("gender", 1), ("gender", 2)]
    assert found["hit"].tolist() == [True, False, True, False, False]  # of the negative: [[1, -2], [3, 0]]
    assert found["share"].tolist()[:4] == [0.75, 0.25, 0.75, 0.0]
    assert found["lift"].tolist()[:4] == [3.0, 1.0, 3.0, 0.0]
    assert found["share"].isna().tolist() == [False] * 4 + [True]
    assert (found["chance"] == 0.25).all() and (found["area"] == 0.25).all()


def test_a_map_of_no_score_is_the_same_for_both_questions():
    found = find_cues(*by_hand(unit="attention")).set_index(["question", "picture"])
    assert found.loc[("age, younger", 1), "share"] == 0.0  # of [[-1, 2], [-3, 0]], not of its negative


def test_cue_table_by_hand():
    table = cue_table(find_cues(*by_hand()), seed=0).set_index("question")
    gender = table.loc["gender"]
    assert (gender["n"], gender["silent"]) == (3, 1)
    assert gender["pointing"] == pytest.approx(1 / 3)
    assert gender["pointing_low"] == pytest.approx(0.0615, abs=5e-4)  # Wilson's, of 1 in 3
    assert gender["pointing_high"] == pytest.approx(0.7923, abs=5e-4)
    assert (gender["share"], gender["lift"]) == (0.375, 1.5)
    assert gender["lift_low"] == 0.0 and gender["lift_high"] == 3.0
    assert table.loc["age, older", "n"] == 1


def test_cells_that_hold_some_of_the_cue():
    """A cue of 12 px, off the grid of 6x6 cells of 8 px each, touches 2 or 3 rows and columns of them."""
    attribution, faces, specs = by_hand()
    region = np.zeros((4, 48, 48), bool)
    region[:, 12:24, 8:20] = True  # rows 1 and 2, columns 1 and 2
    peak = np.zeros((4, 6, 6), np.float32)
    peak[:, 2, 2], peak[:, 3, 3] = 2, 1
    attribution = replace(attribution, values={"gender": peak})
    found = find_cues(attribution, replace(faces, regions={"gender": region}), specs)
    assert found["hit"].all()
    assert found["chance"].tolist() == [4 / 36] * 3
    assert found["share"].tolist() == pytest.approx([2 / 3 * 0.5] * 3)  # columns 16 to 19 of cell 16 to 23


def test_a_trained_network_is_explained_and_a_random_map_explains_nothing():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = train_planted(seed=0, steps=80, batch_size=8)
        faces = planted_faces(planted_labels(100, 1), 1)
        attribution = explain(model, as_tensor(faces.images, 3), tasks=["ethnicity"], method="hirescam")
    finally:
        torch.set_num_threads(threads)
    noise = np.random.default_rng(0).normal(size=(100, 12, 12)).astype(np.float32)
    random = replace(attribution, values={"ethnicity": noise}, method="random")
    table = pd.concat(find_cues(found, faces, model.specs) for found in (attribution, random))
    ours, chance = (row for _, row in cue_table(table, seed=0).iterrows())
    assert ours["n"] >= 50  # answered right, of 100; a fifth at random
    assert ours["pointing_low"] > 3 * ours["chance"] and ours["lift_low"] > 3
    assert chance["pointing"] < chance["chance"] + 0.15
    assert 0.8 < chance["lift"] < 1.25
