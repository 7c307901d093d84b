"""Protocols: which face trains, validates and tests. A group of near-duplicates is never divided."""

import numpy as np
import pandas as pd

SPLITS = ("train", "val", "test")
PROTOCOLS = ("random", "parts")
AGE_STEP = 10  # years, for stratification only


def random_split(table: pd.DataFrame, *, seed: int) -> pd.Series:
    """60/20/20, stratified by age decade, gender and ethnicity, seeded (the authors' notebooks split at random).

    The groups are shuffled within their stratum and laid in a row, stratum after stratum; every five in the row are
    three for training, one for validation, one for test in random order, so that rare strata are shared out as well.
    """
    rng = np.random.default_rng(seed)
    groups = table.groupby("group_id", sort=True).first().reset_index()
    groups["order"] = rng.permutation(len(groups))
    groups["decade"] = groups["age"] // AGE_STEP
    groups = groups.sort_values(["ethnicity", "gender", "decade", "order"], kind="stable")
    hand = np.array([0, 0, 0, 1, 2])
    deals = rng.permuted(np.tile(hand, (-(-len(groups) // len(hand)), 1)), axis=1).ravel()[: len(groups)]
    side = pd.Series(np.array(SPLITS)[deals], index=groups["group_id"].to_numpy())
    return table["group_id"].map(side)


def parts_split(table: pd.DataFrame) -> pd.Series:
    """The paper's parts by capture time: I (to 2017-01-12) trains, II (to 2017-01-17) tests, III validates.

    Faces without a capture time get no part. A group goes where its earliest face stands.
    """
    if "captured" not in table or table["captured"].isna().all():
        return pd.Series(pd.NA, index=table.index, dtype="object")
    earliest = table.groupby("group_id")["captured"].transform("min").str[:8]
    part = pd.Series(np.select([earliest <= "20170112", earliest <= "20170117"], ["train", "test"], "val"), table.index)
    return part.astype("object").where(earliest.notna())


def conflicting(table: pd.DataFrame, *, years: float = 5) -> pd.Series:
    """True for faces whose near-duplicates carry another gender, ethnicity or an age more than `years` away."""
    by_group = table.groupby("group_id")
    spread = by_group[["age", "gender", "ethnicity"]].transform("max") - by_group[
        ["age", "gender", "ethnicity"]
    ].transform("min")
    return (spread["age"] > years) | (spread["gender"] > 0) | (spread["ethnicity"] > 0)
