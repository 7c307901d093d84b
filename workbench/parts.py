"""Small pieces that pages share: tables with bars, downloads, the scale of maps. Everything shown is escaped."""

import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from html import escape
from typing import TypeVar

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from plotly.colors import sequential
from streamlit.delta_generator import DeltaGenerator

from analyses.attribution import METHODS
from analyses.face import percent
from analyses.figures import mask_color, mask_places
from analyses.figures import mask_name as mask_words
from maskmtl.masks import MaskSpec
from maskmtl.networks import MaskMTL, NonLocalBlock
from workbench import resources

Order = TypeVar("Order")
T = TypeVar("T")
Progress = Callable[[int, int], None]  # how many are done, of how many
ORDERED = "_ordered"


MARKDOWN = re.compile(r"[\\`*\[\]<$~|]|(?<![^\W_])_|_(?![^\W_])|:(?=[\w/+-]+:)|&(?=#?\w+;)|^(?=[#>+-])")


def plain(text: str) -> str:
    """Text from outside as it is, where Markdown is read: a name may hold $, * or a picture that a browser fetches."""
    return MARKDOWN.sub(r"\\\g<0>", text)


def capital(words: str) -> str:
    """The words with a capital to begin with; str.capitalize() would make 'KN95' 'Kn95'."""
    return words[:1].upper() + words[1:]


def table(data: pd.DataFrame, *, label: str) -> None:
    """A table of words; the first column heads its row, a second line in a cell is set small."""
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in data.columns)
    body = "".join(
        "<tr>" + "".join(_cell(value, heading=i == 0) for i, value in enumerate(row)) + "</tr>"
        for row in data.itertuples(index=False)
    )
    st.html(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}">'
        f'<table class="words"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cell(value: object, *, heading: bool) -> str:
    first, _, second = str(value).partition("\n")
    inner = escape(first) + (f"<small>{escape(second)}</small>" if second else "")
    return f'<th scope="row">{inner}</th>' if heading else f"<td>{inner}</td>"


def probabilities(data: pd.DataFrame, *, label: str) -> None:
    """Classes as rows, masks as columns, each probability as a number on a bar of its mask's colour."""
    colors = [mask_color(place) for place in mask_places(data.columns).values()]
    head = "".join(f'<th scope="col">{escape(mask_words(mask))}</th>' for mask in data.columns)
    rows = []
    for name, row in data.iterrows():
        cells = "".join(
            f'<td><span class="bar" style="width:{100 * p:.1f}%;background:{color}"></span>'
            f"<span>{percent(p)}</span></td>"
            for color, p in zip(colors, row, strict=True)
        )
        rows.append(f'<tr><th scope="row">{escape(str(name))}</th>{cells}</tr>')
    st.html(
        f'<table class="bars" aria-label="{escape(label)}"><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def answers(data: Mapping[str, str]) -> None:
    """One task's answers, each under its heading."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in data.items())
    st.html(f'<dl class="answers">{items}</dl>')


def html_lines(first: str, *others: str) -> None:
    """Words under a picture: the first line stands out, the others are small."""
    small = "".join(f"<small>{escape(line)}</small>" for line in others)
    st.html(f'<p class="under"><b>{escape(first)}</b>{small}</p>')


def scale(full: float, unit: str) -> None:
    """The key of a positive map: from nothing to full colour."""
    ramp = ", ".join(sequential.Inferno)
    st.html(
        f'<p class="key"><span>0</span><span class="ramp" style="background:linear-gradient(90deg, {ramp})"></span>'
        f"<span>{full:.3g} {escape(unit)}</span></p>"
    )


def badge(passed: bool, figures: str, reason: str) -> None:
    """Whether a map may be read: a sign, a word and its figures; the reason where it may not."""
    sign, word = ("✓", "passed") if passed else ("✗", "not to be trusted")
    why = f"<small>{escape(reason)}</small>" if reason else ""
    kind = "passed" if passed else "failed"
    st.html(f'<p class="badge {kind}"><b>{sign} {word}</b> {escape(figures)}{why}</p>')


def csv(label: str, name: str, make: Callable[[], pd.DataFrame], of: str = "") -> None:
    """A button for a table, which is made when it is asked for; `of`: what it is of, for the file's name."""
    download(label, name, lambda: make().to_csv(index=False), "text/csv", of)


def download(
    label: str, name: str, make: Callable[[], str | bytes], mime: str = "application/octet-stream", of: str = ""
) -> None:
    """A button for a file, which is made when it is asked for; `of`: what it is of, for the file's name."""
    file = "-".join([*dict.fromkeys(re.findall(r"[\w.]+", of)), name])  # a table's model may be called as its faces
    st.download_button(label, make, file, mime, key=name, on_click="ignore", icon=":material/download:")


def methods_for(model: MaskMTL) -> list[str]:
    """The methods that this network has maps of."""
    looks = any(isinstance(module, NonLocalBlock) for module in model.modules())
    return [method for method in METHODS if looks or method != "attention"]


def drawable(text: str) -> str | None:
    """A mask's text, a kind or typed, as a MaskSpec writes it; or None, and a sentence on the page."""
    try:
        return str(MaskSpec.parse(text))
    except ValueError as error:
        st.error(plain(f"This mask can't be drawn: {error}."))
        return None


def run_into(slot: str, order: Order | None, run: Callable[[Order, DeltaGenerator], T]) -> T | None:
    """Run an order, if there is one, and keep what came of it in the session; gives what is kept, or None.

    An order stands until it has been run, or Stop was pressed: what else ends a run of the script before that, another
    click or a connection that was lost, begins it anew. `run` gets a bar to report on; ValueError and OSError that it
    raises become a sentence.
    """
    if order is not None:
        forget(slot)
        st.session_state[slot + ORDERED] = order
    place = st.empty()
    if ordered(slot):
        with place.container(), st.container(key=f"{slot}_running"):
            bar = st.progress(0.0, "Opening the faces …")
            st.button("Stop", key=f"{slot}_stop", icon=":material/stop_circle:", on_click=forget, args=(slot,))
            try:
                found = run(st.session_state[slot + ORDERED], bar)
            except (ValueError, OSError) as error:
                forget(slot)
                st.error(plain(f"This can't be run: {error}."))
            except Exception:  # of ours: to fail once is enough
                forget(slot)
                raise
            else:
                forget(slot)
                st.session_state[slot] = found
                place.empty()
    return st.session_state.get(slot)


def ordered(slot: str) -> bool:
    """Whether `run_into` has an order that has not been run."""
    return slot + ORDERED in st.session_state


def forget(slot: str) -> None:
    """Drop what `run_into` was to run, and what came of the last order."""
    for key in (slot, slot + ORDERED):
        st.session_state.pop(key, None)


@contextmanager
def stoppable(
    place: DeltaGenerator, words: str, of: str, stop: str, key: str, on_stop: Callable[[], None]
) -> Iterator[Progress]:
    """For what runs by itself: progress at `place` in `words`, with how many `of` it are done, and a button that stops
    it and tells by `on_stop`, so that it does not run again. Gives what to call with the counts."""
    clock = Clock()
    with place.container(), st.container(key=key):
        bar = st.progress(0.0, f"{words} …")
        st.button(stop, key=f"{key}_stop", icon=":material/stop_circle:", on_click=on_stop)

        def progress(done: int, total: int) -> None:
            bar.progress(done / total, f"{words}: {done} of {total}{of}{clock.left(done, total)}")

        try:
            yield progress
        except Exception:
            place.empty()
            raise
    place.empty()


def derive(slot: str, key: Hashable, words: str, of: str, make: Callable[[Progress], T]) -> T | None:
    """What a page works out by itself from its choices, kept in the session until `key` changes.

    Progress stands there in `words`, with how many `of` it are done, and Stop; where that was pressed comes None, and a
    button to begin again. What `make` raises passes through.
    """
    stopped = f"{slot}_stopped"
    if st.session_state.get(stopped) == key:
        st.info("It was stopped. Choose otherwise, or begin again.")
        if not st.button("Begin again", key=f"{slot}_again", type="primary", icon=":material/play_arrow:"):
            return None
    st.session_state.pop(stopped, None)
    place = st.empty()

    def watched() -> T:
        stop = partial(st.session_state.update, {stopped: key})
        with stoppable(place, words, of, "Stop", f"{slot}_bar", stop) as progress:
            return make(progress)

    return resources.remember(slot, key, watched)


def opening(bar: DeltaGenerator, words: str = "Reading faces") -> Callable[[int, int | None], None]:
    """What tells at `bar`, in `words`, how far the opening of a set is; `total` is None where nobody knows it."""
    clock = Clock()

    def tell(done: int, total: int | None) -> None:
        of_all, left = (f" of {total:,}", clock.left(done, total)) if total else ("", "")
        bar.progress(done / total if total else 0.0, f"{words}: {done:,}{of_all}{left}")

    return tell


def duration(seconds: float) -> str:
    """'about 40 s', 'about 3 min', 'about 2.5 h'."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"


def chart(figure: go.Figure, alt: str, key: str) -> None:
    """A figure with its text alternative."""
    st.plotly_chart(figure, config={"displayModeBar": False}, alt=alt, key=key)


class Clock:
    """Time left, from the pace so far."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def left(self, done: int, total: int) -> str:
        """', about 40 s left', or nothing in the first seconds."""
        spent = time.monotonic() - self._started
        if spent < 2 or not 0 < done < total:
            return ""
        return f", {duration(spent * (total - done) / done)} left"
