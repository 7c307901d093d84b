"""Whether predictions for masked faces rest on the mask: what maps say, and what filling the mask's region confirms."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from analyses.attribution.regions import COLUMNS
from analyses.fairness.intervals import bootstrap_mean

CONFIRMED, REFUTED, NO_LEAD, UNCLEAR = "confirmed", "refuted", "less than its area", "unclear"


def mask_leakage(energy: pd.DataFrame, by: Sequence[str] = (), *, seed: int) -> pd.DataFrame:
    """How strongly maps of masked faces point at the mask: task, method, `by`, lift, ci_low, ci_high, n, silent.

    lift is the mean over n faces of their lift on the region 'mask', with a 95 % bootstrap interval over faces; of a
    face under several masks, the mean over these counts, unless `by` has 'mask'. Above 1, more of the positive evidence
    lies on the mask than its area explains; that alone does not show that the prediction depends on it. Faces whose
    maps have no positive evidence are in `silent`, not in n; faces whose mask the picture does not show are in neither.

    `energy` is the table of `region_energy`, with the columns in `by`, such as a face's group, joined to it.
    """
    table = _means(_on_mask(energy, by), by, ["lift"], seed)
    return table.rename(columns={"lift_low": "ci_low", "lift_high": "ci_high"})


def leakage(energy: pd.DataFrame, ablation: pd.DataFrame, by: Sequence[str] = (), *, seed: int) -> pd.DataFrame:
    """The lift of `mask_leakage` beside the ablation of the mask, in the unit of the score, and a verdict in words.

    effect: what the score loses when the region 'mask' is filled, the mean over the n + silent faces.
    excess: the effect less what the mask's area explains, which is its share of the picture times all that is lost: the
        sum of the effects above 0 over the regions.
    verdict: where the interval of lift lies above 1, 'confirmed' if that of excess lies above 0, 'refuted' if below 0;
        'less than its area' where both lie below, which is not nothing: see effect; else 'unclear', as where faces show
        no spread.

    Intervals, _low and _high, are of 95 %, by bootstrap over faces. A bare face's lower half may exceed its area as
    well: 'confirmed' says that what is there matters, not that it matters more with a mask than without.

    `ablation` is the table of `region_effects` for `region_ablation` of the same faces, masks and classes as in
    `energy`, whose maps may be by several methods. ValueError where it lacks one of them.
    """
    masked = _on_mask(energy, by).merge(_ablated(ablation), on=[*_MAP], how="left", validate="many_to_one")
    if len(lacking := masked.loc[masked["effect"].isna(), [*_MAP]]):
        got = ", ".join(map(str, lacking.iloc[0]))
        raise ValueError(f"ablation should have the effects of every masked face in energy, has none of {got}")
    table = _means(masked, by, ["lift", "effect", "excess"], seed)
    claimed, more, less = table["lift_low"] > 1, table["excess_low"] > 0, table["excess_high"] < 0
    verdicts = {CONFIRMED: claimed & more, REFUTED: claimed & less, NO_LEAD: (table["lift_high"] < 1) & less}
    table["verdict"] = np.select(list(verdicts.values()), list(verdicts), UNCLEAR)
    return table


_MAP = ("face_id", "mask", "task")  # what a map is of


def _ablated(ablation: pd.DataFrame) -> pd.DataFrame:
    """Effect of the mask, and what of it its area does not explain, of each face, mask and task."""
    losses = ablation["effect"].clip(lower=0).groupby([ablation[name] for name in _MAP]).sum().rename("losses")
    of_mask = ablation[ablation["region"] == "mask"].merge(losses.reset_index(), on=[*_MAP])
    return of_mask.assign(excess=of_mask["effect"] - of_mask["area"] * of_mask["losses"])[[*_MAP, "effect", "excess"]]


def _on_mask(energy: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    usable = sorted(set(energy).difference(COLUMNS) | {"mask"})
    if unknown := [name for name in by if name not in usable]:
        raise ValueError(f"by should be columns of the table, of {usable}, got {unknown[0]!r}")
    return energy[(energy["region"] == "mask") & (energy["mask"] != "none") & (energy["area"] > 0)]


def _means(masked: pd.DataFrame, by: Sequence[str], measures: list[str], seed: int) -> pd.DataFrame:
    """Mean over faces and interval of each measure, per task, method and group."""
    keys = ["task", "method", *by]
    faces = masked.groupby([*keys, "face_id"], observed=True, dropna=False)[measures].mean().reset_index()
    rows = []
    for key, of_group in faces.groupby(keys, observed=True, dropna=False):
        known = int(of_group["lift"].notna().sum())
        intervals = ((of_group[name].mean(), *bootstrap_mean(of_group[name].dropna(), seed)) for name in measures)
        rows.append((*key, *(figure for found in intervals for figure in found), known, len(of_group) - known))
    figures = [f"{name}{end}" for name in measures for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*keys, *figures, "n", "silent"])
