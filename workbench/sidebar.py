"""What stands beside every page: the model, what it is, and what its answers are not."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from analyses.figures import mask_name
from maskmtl.networks import MaskMTL, count_values
from workbench import address, parts, resources
from workbench.address import kept, kept_text

FOLDER = "a run folder …"
NO_MODEL = (
    "There is no model here yet. Train one: open ‘Retrain a variant’ below, or use `maskmtl train FACES --run DIR` and "
    "name its run folder here."
)


def sidebar() -> None:
    """Choose the model; `current_model` hands it to the pages."""
    with st.sidebar:
        name = _choose()
        st.session_state["model_name"], model = name, _load(name)
        st.session_state["model_ready"] = model is not None
        if model is not None:
            with st.expander("About this model"):
                st.caption("\n\n".join(card_lines(model)))


def current_model() -> tuple[str, MaskMTL]:
    """The chosen model and its name or folder; without one the page ends here, in a sentence."""
    if not st.session_state.get("model_ready"):
        st.info("Choose or train a model in the sidebar to begin.", icon=":material/arrow_back:")
        address.leave()
        st.stop()
    name = st.session_state["model_name"]
    return name, resources.model(name)


def current_name() -> str:
    """The chosen model's name or folder; '' before any."""
    return str(st.session_state.get("model_name", ""))


def _choose() -> str:
    try:
        offered = resources.offered_models()
    except (ValueError, OSError) as error:
        st.error(parts.plain(f"The models can't be listed: {error}."))
        offered = {}
    else:
        if not offered:
            st.warning(NO_MODEL)
    wanted = kept_text("model")
    choice = kept(
        st.selectbox, "Model", [*offered, FOLDER], key="model", format_func=lambda name: offered.get(name, name)
    )
    if wanted not in (None, choice):
        shown = offered.get(choice, choice)
        st.warning(parts.plain(f"The link names the model {wanted}, which is not here: {shown} is shown instead."))
    if choice != FOLDER:
        return str(choice)
    folder: str = kept(
        st.text_input, "Run folder", key="model_folder", placeholder="/path/to/run",
        help="A folder that `maskmtl train` made, on the machine that runs the workbench.",
    )  # fmt: skip
    return resources.typed(folder)


def _load(name: str) -> MaskMTL | None:
    if not name:
        return None
    try:
        return resources.model(name)
    except (ValueError, OSError) as error:
        st.error(parts.plain(f"This model can't be loaded: {error}."))
        return None


def card_lines(model: MaskMTL) -> list[str]:
    """A model's card in a few lines of Markdown: what it is, its data, its figures, its licence."""
    card = model.card
    lines = [parts.plain(card.get("summary", f"{model.name}: no summary in its card."))]
    data = card.get("data")
    if isinstance(data, Mapping):
        words = {"train": "to train", "val": "to validate"}
        counts = ", ".join(f"{data[part]:,} {word}" for part, word in words.items() if part in data)
        lines.append(f"**Data** {parts.plain(str(data.get('name', 'unnamed')))}" + (f": {counts}" if counts else ""))
    test = card.get("test")  # a published model's, with intervals; a run has the epoch's validation figures only
    word, figures = ("Test", test["figures"]) if test else ("Validation", card.get("val", {}))
    lines += [f"**{word}, {mask_name(mask)}** {_figures(of_mask)}" for mask, of_mask in figures.items()]
    side = model.input_size
    lines.append(f"**Network** {count_values(model) / 1e6:.1f} million values, input {side} × {side} px")
    lines.append(f"**Licence** {parts.plain(str(card.get('licence', 'not stated in its card')))}")
    if "forbidden_use" in card:
        lines.append("**Not for** " + parts.plain(" ".join(card["forbidden_use"])))
    return lines


def _figures(figures: Mapping[str, Any]) -> str:
    words = []
    for name, entry in figures.items():
        value = entry["value"] if isinstance(entry, Mapping) else entry
        task, _, metric = name.rpartition("_")
        if metric == "accuracy":
            words.append(f"{task} {value:.1%}".replace("%", "\N{NO-BREAK SPACE}%"))
        elif metric == "mae":
            words.append(f"{task} error {value:.1f}\N{NO-BREAK SPACE}years")
    return ", ".join(words)
