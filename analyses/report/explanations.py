"""Explanations in a report: mean maps of groups, and whether answers rest on the mask."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from analyses.fairness.groups import FEW
from analyses.report.charts import map_picture, strongest
from analyses.report.data import ReportData
from analyses.report.markup import Html, joined, table, tag
from analyses.report.words import DASH, SHARE, Scale, grouping_name, mask_name
from maskmtl.metrics import UNLABELLED


def explanations(data: ReportData) -> Html:
    parts: list[Html] = []
    if data.atlas is not None or data.leakage is not None:
        parts.append(tag("p", "Maps show association in this model, not a cause, and a mean map is of no single face."))
    if data.atlas is not None:
        parts += _atlas(data)
    if data.leakage is not None and len(data.leakage):
        parts += [tag("h3", "Whether answers rest on the mask"), *_leakage(data.leakage)]
    return joined(*parts)


def _atlas(data: ReportData) -> Iterator[Html]:
    atlas = data.atlas
    assert atlas is not None
    about, found = atlas.about, atlas.table().set_index(["task", "group", "mask"])["found"]
    by = str(about.get("by", "group"))
    yield tag(
        "p",
        f"Mean maps by {grouping_name(by)}, method {about.get('method', 'not stated')}. Vermilion speaks for the "
        "answer, blue against it, white is nothing; one scale for all maps of a task. 'Changed' is the share of "
        "pixels in which masked faces differ from bare ones, 'apart' that in which a group, bare, differs from all "
        "others, both at a false discovery rate of 5 % over the pixels of a map.",
    )
    for task, mean in atlas.mean.items():
        scale, rows = float(np.abs(mean).max()), []
        labelled = sum(n for group, n in zip(atlas.groups, atlas.n, strict=True) if group != UNLABELLED)
        for g, group in enumerate(atlas.groups):
            pictures = [
                tag("img", src=map_picture(mean[g, m], scale), width=96, height=96,
                    alt=f"{task}, {group}, {mask_name(mask)}: most evidence {strongest(mean[g, m])}")
                for m, mask in enumerate(atlas.masks)
            ]  # fmt: skip
            changed = [_percent(found[task, group, mask]) for mask in atlas.masks[1:]]
            tested = group != UNLABELLED and min(atlas.n[g], labelled - atlas.n[g]) >= FEW
            apart = atlas.group_difference(task, group, atlas.masks[0]).found().mean() if tested else np.nan
            rows.append((group, f"{atlas.n[g]:,}", *pictures, *changed, _percent(apart)))
        shown = [*map(mask_name, atlas.masks), *(f"changed, {mask_name(mask)}" for mask in atlas.masks[1:])]
        yield tag("h3", f"Where {task} looks")
        yield table(f"Mean maps of {task}", [grouping_name(by), "n", *shown, "apart, bare"], rows)


def _percent(share: float) -> str:
    return SHARE.value(float(share))


def _leakage(leakage: pd.DataFrame) -> Iterator[Html]:
    figures = [name for name in ("lift", "effect", "excess") if name in leakage]
    ends = [f"{name}_{end}" for name in figures for end in ("low", "high")]
    keys = [name for name in leakage if name not in (*figures, *ends, "n", "silent", "verdict")]
    rows = []
    for row in leakage.to_dict("records"):
        cells = [_figure(row, name) for name in figures]
        rows.append(
            (
                *(row[key] for key in keys),
                *cells,
                f"{row['n']:,}",
                f"{row.get('silent', 0):,}",
                row.get("verdict", DASH),
            )
        )
    yield tag(
        "p",
        "Lift: the share of a map's positive evidence on the mask, over its share of the picture; above 1 the map "
        "points at the mask. Effect: what the score loses when the mask is filled; excess: what of it the mask's "
        "area does not explain. Silent: faces whose map has no positive evidence.",
    )
    yield table(
        "The mask in maps and by ablation", [*map(grouping_name, keys), *figures, "n", "silent", "verdict"], rows,
        heads=max(1, len(keys)),
    )  # fmt: skip


def _figure(row: Mapping[str, Any], name: str) -> str:
    of = Scale(1, "", "", 2)
    low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    return f"{of.plain(row[name])} ({of.interval(low, high)})"
