"""The run over a data set that several pages speak of: what to run, running it, and what came of it."""

from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from analyses.assessment import Assessment, assess
from maskmtl.dataset import check_masks
from maskmtl.evaluation import CHOICES, choose
from maskmtl.manifest import Faces
from maskmtl.masks import MASKS
from maskmtl.networks import MaskMTL
from maskmtl.splits import PROTOCOLS
from maskmtl.tasks import TaskSpec
from workbench import parts, resources
from workbench.address import keep, kept, kept_text
from workbench.chooser import WORDS, ChosenSet, choose_set, open_set
from workbench.sidebar import current_model, current_name
from workbench.uploads import UPLOAD

SLOT, LINK = "set_result", "run"


class Order(NamedTuple):
    """What to run. (A tuple: Streamlit makes classes anew, and compares by value.)"""

    faces: ChosenSet
    masks: tuple[str, ...]
    seed: int

    def text(self) -> str:
        """As it stands in an address."""
        return "|".join((*self.faces, ",".join(self.masks), str(self.seed)))

    @staticmethod
    def parse(text: str) -> "Order":
        """Raises ValueError for what is no order."""
        source, protocol, split, masks, seed, *_ = (*text.rsplit("|", 4), *[""] * 4)
        known = protocol in PROTOCOLS and split in CHOICES and source and not source.startswith(UPLOAD)
        if not known or not seed.isdecimal():
            raise ValueError(f"run should name faces, protocol, split, masks and seed, got {text!r}")
        return Order(ChosenSet(source, protocol, split), check_masks(masks.split(",")), int(seed))


DEMO_ORDER = Order(ChosenSet("demo", PROTOCOLS[0], "unseen"), ("none", MASKS[0]), 0)


class Ran(NamedTuple):
    """A finished run. id tells it from others; faces are those that were predicted; model is a name or a folder, specs
    are its tasks."""

    id: str
    title: str
    assessment: Assessment
    faces: Faces
    rejected: pd.DataFrame
    order: Order
    model: str
    specs: Mapping[str, TaskSpec]
    stamp: int  # of the model's card: a run that trains on changes it

    @property
    def version(self) -> tuple[str, int]:
        """As `resources.version` gave it."""
        return self.model, self.stamp

    @property
    def short(self) -> str:
        """What it is of, for the names of files."""
        return f"{resources.short(self.model)} {self.faces.name}"


def choose_order(words: Mapping[str, str] = WORDS) -> Order | None:
    """The widgets, with the splits in `words`; None while something is missing."""
    faces = choose_set(words)
    if faces is None:
        return None
    middle, right = st.columns([2, 1])
    names = ["none", *MASKS]
    chosen = kept(
        middle.multiselect, "Masks", names, default=names[:2], format_func=parts.mask_words, accept_new_options=True,
        key="set_masks", help="Kinds, or typed with colour, pattern and wear: cloth:checks:red, n95:nose_out.",
    )  # fmt: skip
    seed = kept(
        right.number_input, "Mask drawing", 0, 9999, key="set_seed", help="The same number draws the same masks."
    )
    if not chosen:
        st.info("Choose at least one mask, or bare faces.")
        return None
    try:
        masks = check_masks(sorted(chosen, key=[*names, *chosen].index))
    except ValueError as error:
        st.error(parts.plain(f"This mask can't be drawn: {error}."))
        return None
    return Order(faces, masks, int(seed))


def ran(order: Order | None = None) -> Ran | None:
    """The run that an address asks for or that is ordered here, else the last one; None before any.

    Shows progress and a button to stop while it runs.
    """
    name, model = current_model()
    last: Ran | None = st.session_state.get(SLOT)
    if order is None and (text := kept_text(LINK)):
        try:
            linked = Order.parse(text)
        except ValueError as error:
            st.warning(parts.plain(f"The address asks for a run that can't be made: {error}."))
        else:
            there = last is not None and (last.order, last.version) == (linked, resources.version(name))
            order = None if there else linked
    found: Ran | None = parts.run_into(SLOT, order, lambda order, bar: _run(order, bar, name, model))
    if found is not None and found.model == name and not found.order.faces.is_upload:
        keep(LINK, found.order.text())  # beside another model in the address it would name a run that was never made
    return found


def ran_or_offer() -> Ran | None:
    """`ran`, with what to do where there is none."""
    place = st.empty()
    begun = SLOT in st.session_state or parts.ordered(SLOT) or kept_text(LINK)
    with place.container():
        offered = _offer_other() if begun else _offer()
    if offered is not None:
        place.empty()
    return ran(offered)


def _offer() -> Order | None:
    st.info("Nothing has been run yet. Choose a data set, or begin with the demo faces.")
    left, right = st.columns(2)
    left.page_link("views/dataset.py", label="Choose a data set", icon=":material/grid_view:")
    return DEMO_ORDER if right.button("Run the demo faces", icon=":material/play_arrow:") else None


def _offer_other() -> Order | None:
    """Where the figures are not those of the sidebar's model as it is now: say so, and offer the same run of it."""
    name, last = current_name(), st.session_state.get(SLOT)
    if last is None or last.version == resources.version(name) or parts.ordered(SLOT) or kept_text(LINK):
        return None
    theirs, called = resources.called(last.model), resources.called(name)
    if last.model == name:
        st.info(parts.plain(f"{called} has been trained on since these figures were made."))
    else:
        st.info(parts.plain(f"These are the figures of {theirs}; the sidebar has {called}."))
    return last.order if st.button(f"Run {called} on the same faces", icon=":material/play_arrow:") else None


def _run(order: Order, bar: DeltaGenerator, name: str, model: MaskMTL) -> Ran:
    """Predict and assess; ValueError or OSError for faces that can't be used."""
    stamp = resources.version(name)[1]
    faces = open_set(order.faces, parts.opening(bar))
    chosen = choose(faces, name, order.faces.split)
    clock = parts.Clock()

    def predicting(done: int, total: int) -> None:
        left = clock.left(done, total)
        bar.progress(done / total, f"Predicting: {done:,} of {total:,} faces, {len(order.masks)} variants each{left}")

    predictions = resources.predict_in_turns(model, chosen, order.masks, order.seed, predicting)
    bar.progress(1.0, "Intervals …")
    assessment = assess(predictions, chosen.table, model.specs, seed=order.seed)
    title = f"{model.name} on {faces.name}: {WORDS[order.faces.split]}, {len(chosen):,} of {len(faces):,}"
    return Ran(uuid4().hex, title, assessment, chosen, faces.rejected, order, name, model.specs, stamp)
