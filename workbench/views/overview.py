"""Where one begins: the models and what they reach, the data at hand, and what to do next."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from analyses.figures import mask_name
from maskmtl.checkpoint import best_device, read_card
from workbench import parts, resources
from workbench.assessed import SLOT
from workbench.retrain import STATE_WORDS

STEPS = (
    ("face", "Face", "Look at one face: what the model reads, from where, and what a mask changes.", "face"),
    ("masks", "Mask lab", "One face in every kind, colour and coverage: where answers drift and flip.", "masks"),
    ("dataset", "Data set", "Run many faces, your own or the demo's, and look through the errors.", "grid_view"),
    ("fairness", "Fairness", "Ask for whom it fails: every gap with its n and its evidence.", "balance"),
    ("compare", "Compare", "Hold two to five models against each other, face by face.", "compare_arrows"),
    ("report", "Report", "Write the audit as one file for others.", "description"),
)


def headline(names: Mapping[str, str]) -> pd.DataFrame:
    """A row per model and mask: the figures of its card. Test where it was published, else validation."""
    rows = []
    for name, label in names.items():
        card = read_card(name)
        test = card.get("test")
        figures, split = (test["figures"], "test") if test else (card.get("val", {}), "validation")
        n = test["faces"] if test else card.get("data", {}).get("val")
        for mask, of_mask in figures.items():
            row = {"model": label, "mask": f"{mask_name(mask)}\n{split}", **_cells(of_mask)}
            rows.append(row if n is None else {**row, "n": f"{n:,}"})
        if not figures:
            rows.append({"model": f"{label}\nno figures in its card"})
    return pd.DataFrame(rows).fillna("–")


def _cells(figures: Mapping[str, Any]) -> dict[str, str]:
    cells = {}
    for name, entry in figures.items():
        task, _, metric = name.rpartition("_")
        value, low, high = (
            (entry["value"], entry["ci_low"], entry["ci_high"]) if isinstance(entry, Mapping) else (entry, None, None)
        )
        of, unit = (100, "\N{NO-BREAK SPACE}%") if metric == "accuracy" else (1, "\N{NO-BREAK SPACE}years")
        words = f"{of * value:.1f}{unit}"
        if low is not None and high is not None:
            words += f"\n{of * low:.1f} to {of * high:.1f}"
        cells[f"{task} {'accuracy' if metric == 'accuracy' else 'error'}"] = words
    return cells


def show_models() -> None:
    st.header("Models")
    try:
        table = headline(resources.offered_models())
    except (ValueError, OSError) as error:
        st.error(parts.plain(f"The models can't be listed: {error}."))
        return
    if table.empty:
        st.info("There is no model yet. Open ‘Retrain a variant’ in the sidebar to train one.")
        return
    parts.table(table, label="Each model's figures from its card")
    st.caption(
        "From each model's card, second lines are 95 % intervals. Test: faces the model has never seen. Validation: "
        "those its epoch was chosen by, which flatter. Figures of different data can't be compared: page Compare runs "
        "models on the same faces."
    )


def show_data() -> None:
    st.header("Data at hand")
    lines = [
        "**Demo faces**, 450 composites of five people each, annotated: they show nobody, and are easier than "
        "photographs."
    ]
    run = st.session_state.get(SLOT)
    if run is not None:
        lines.append(f"**The last run**: {parts.plain(run.title)}.")
    lines.append(
        "**Your own**: photos, a ZIP or a CSV on the page Data set, a folder on this machine, or a table of any "
        "model's predictions on the page Fairness."
    )
    st.markdown("\n".join(f"- {line}" for line in lines))
    st.caption(f"Models run on {resources.device_words(best_device())}.")


def show_training() -> None:
    found = resources.known_runs()[0]
    if found:
        st.header("Runs")
        counts = {state: sum(run.state == state for run in found) for state in STATE_WORDS}
        words = ", ".join(f"{n} {STATE_WORDS[state]}" for state, n in counts.items() if n)
        st.markdown(f"{len(found):,} so far: {words}.")
        st.page_link("views/train.py", label="Curves and queue", icon=":material/model_training:")


def page() -> None:
    st.header("What to do")
    with st.container(key="steps"):
        for start in range(0, len(STEPS), 3):
            for column, (view, title, text, icon) in zip(st.columns(3), STEPS[start : start + 3], strict=False):
                with column.container(border=True, height="stretch"):
                    st.page_link(f"views/{view}.py", label=f"**{title}**", icon=f":material/{icon}:")
                    st.markdown(text)
    show_models()
    show_data()
    show_training()


page()
