"""What may be expected of a model on faces like this one, and a warning where it knows none like it."""

from collections.abc import Hashable, Mapping

import numpy as np
import pandas as pd
import streamlit as st

from analyses.reference import Cohort, cohorts
from maskmtl.networks import MaskMTL
from maskmtl.tasks import Classes
from workbench import parts, resources
from workbench.parts import mask_words

NONE = (
    "No faces are on record to compare this one with: `maskmtl reference MODEL PREPARED` makes the record of a model."
)


def show(name: str, model: MaskMTL, images: Mapping[str, np.ndarray], key: Hashable) -> None:
    """The card; images: mask -> the face as the model sees it; `key` tells them from others."""
    try:
        reference = resources.reference(name)
    except (ValueError, OSError) as error:
        st.caption(parts.plain(f"Faces like this one can't be told: {error}."))
        return
    if reference is None:
        st.caption(NONE)
        return

    def find() -> list[Cohort]:
        with resources.one_at_a_time():
            return cohorts(reference, model, np.stack(list(images.values())), [mask != "none" for mask in images])

    found = resources.remember("face_cohort", (key, id(reference)), find)
    by_mask = dict(zip(images, found, strict=True))
    warn(by_mask)
    with st.container(border=True, key="cohort"):
        st.subheader("Faces like this one")
        st.markdown(
            f"How the model fares on the unseen faces ({reference.split} split) that it finds most like this one, "
            "the nearest for each picture:"
        )
        parts.table(in_words(model, by_mask), label="How the model fares on similar faces")
        st.caption(
            "Second lines are 95 % intervals. Alike means: alike in what the network’s tasks share. The figures are "
            "about agreement with annotations, on faces like UTKFace’s; they are no statement about this person, "
            "and tell less of a single face than the model’s own probabilities do."
        )


def warn(by_mask: Mapping[str, Cohort]) -> None:
    """A sentence where the face is unlike what the model was trained on."""
    odd = [mask for mask, cohort in by_mask.items() if cohort.rare]
    if odd:
        words = " and ".join(mask_words(mask) for mask in odd)
        st.warning(
            f"To the model this picture ({words}) is unlike its training faces: fewer than 1 in 100 of the faces it "
            "was validated on are as far from them. Expect its answers to mean little."
        )


def in_words(model: MaskMTL, by_mask: Mapping[str, Cohort]) -> pd.DataFrame:
    """A row a task, a column a mask."""
    rows = []
    for task, spec in model.specs.items():
        target, row = spec.target, {"task": task}
        of, digits, unit = (100, 0, "% right") if isinstance(target, Classes) else (1, 1, f"{target.unit} off")
        for mask, cohort in by_mask.items():
            entry = cohort.table.set_index("task").loc[task]
            value, low, high = (f"{of * entry[name]:.{digits}f}" for name in ("value", "ci_low", "ci_high"))
            interval = "" if np.isnan(entry["ci_low"]) else f"{low} to {high}, "
            row[mask_words(mask)] = f"{value}\N{NO-BREAK SPACE}{unit}\n{interval}n {entry['n']:,.0f}"
        rows.append(row)
    return pd.DataFrame(rows)
