import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maskmtl.splits import SPLITS, conflicting, parts_split, random_split


def table(n: int, groups: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "group_id": rng.integers(groups, size=n).astype(str),
            "age": rng.integers(0, 117, n).astype(float),
            "gender": rng.integers(0, 2, n).astype(float),
            "ethnicity": rng.integers(0, 5, n).astype(float),
        }
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 5))
def test_a_group_is_never_divided_and_every_face_has_a_split(n, groups, seed):
    faces = table(n, groups, seed)
    faces["split"] = random_split(faces, seed=seed)
    assert faces["split"].isin(SPLITS).all()
    assert (faces.groupby("group_id")["split"].nunique() == 1).all()


def test_shares_hold_over_all_and_within_strata():
    faces = table(20_000, 10**9)
    faces["split"] = random_split(faces, seed=3)
    assert faces["split"].value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.6, "val": 0.2, "test": 0.2}, abs=0.001
    )
    shares = faces.groupby(["gender", "ethnicity"])["split"].value_counts(normalize=True).unstack()
    np.testing.assert_allclose(shares[["train", "val", "test"]], [[0.6, 0.2, 0.2]] * 10, atol=0.005)


def test_the_seed_decides():
    faces = table(500, 500)
    assert random_split(faces, seed=1).equals(random_split(faces, seed=1))
    assert not random_split(faces, seed=1).equals(random_split(faces, seed=2))


def test_missing_labels_are_split_too():
    faces = table(100, 10**9).assign(age=np.nan, ethnicity=np.nan)
    assert random_split(faces, seed=0).isin(SPLITS).all()


def test_parts_by_capture_time():
    faces = pd.DataFrame(
        {
            "group_id": ["a", "b", "c", "d", "e", "e"],
            "captured": [
                "20170112235959999",
                "20170113000000000",
                "20170117120000000",
                "20170118",
                "20170120",
                "20170101",
            ],
        }
    )
    assert parts_split(faces).tolist() == ["train", "test", "test", "val", "train", "train"]
    assert parts_split(faces[["group_id"]]).isna().all()
    assert parts_split(faces.assign(captured=[None, *faces["captured"][1:]])).isna().tolist() == [True] + [False] * 5
    assert parts_split(faces.assign(captured=float("nan"))).isna().all()  # a column of a CSV that is empty


def test_conflicting_annotations():
    faces = pd.DataFrame(
        [
            ("a", 20, 0, 1),
            ("a", 25, 0, 1),
            ("b", 20, 0, 1),
            ("b", 26, 0, 1),
            ("c", 5, 0, 1),
            ("c", 5, 1, 1),
            ("d", 5, 0, 1),
            ("d", 5, 0, 2),
            ("e", 1, 1, 1),
        ],
        columns=["group_id", "age", "gender", "ethnicity"],
    )
    assert faces[conflicting(faces)]["group_id"].unique().tolist() == ["b", "c", "d"]
