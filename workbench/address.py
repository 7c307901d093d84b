"""The address bar keeps a page's choices: a link opens the same view.

Streamlit's own binding of widgets forgets a value when the page changes, and writes options as they are shown, pictures
included. Here a value stands in the address as it is in the code, and belongs to the session as well.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

Texts = dict[str, list[str]]
CHOICES = ("selectbox", "pills", "segmented_control", "radio", "multiselect")
NUMBERS = ("number_input", "slider")
LAG = 1.0  # s in which a click may come with the address of before the last run, as the browser has not yet got its own


@dataclass
class _Address:
    """What a session knows of its address between two runs.

    page: the page of the last run. before: what stood in the address when that run began; shown: when it ended; left:
    the time of that, s; held: what the widgets held then. bare: by page, what its address without any text stood for.
    coming: what a link brings to this run, or None; waiting: what of it no widget has taken yet. late: whether this run
    came with the address of before. there: what the last run's widgets held, leaving: this one's. quiet: whether Back
    led to an address without a text, which must not be written over: Back would never get past it.
    """

    page: str | None = None
    shown: Texts = field(default_factory=dict)
    before: Texts = field(default_factory=dict)
    left: float = 0.0
    held: dict[str, Any] = field(default_factory=dict)
    bare: dict[str, Texts] = field(default_factory=dict)
    defaults: Texts = field(default_factory=dict)
    coming: Texts | None = None
    waiting: Texts = field(default_factory=dict)
    there: Texts = field(default_factory=dict)
    leaving: Texts = field(default_factory=dict)
    late: bool = False
    quiet: bool = False


def arrive(page: str) -> None:
    """At the start of a run: see whether the address was opened as a link, or changed by hand or by Back."""
    address, here = _address(), _here()
    turned = address.page != page
    address.late = here == address.before and (_touched(address.held) or time.monotonic() - address.left < LAG)
    opened = bool(here) if turned else here != address.shown and not address.late
    address.quiet = opened and not here
    address.coming = (here or address.bare.get(page, {})) if opened else None
    if opened or turned:  # a widget may come only in a later run, when there is a photo to speak of
        address.waiting = dict(address.coming or {})
    address.page, address.there, address.leaving = page, address.leaving, {}
    if turned and not here:
        address.bare.pop(page, None)
    if not address.late:
        address.shown = here  # a run that is stopped never leaves: the next one must not take the link anew


def leave() -> None:
    """At the end of a run: show the choices that are not as they were at first."""
    address, here = _address(), _here()
    if not here and address.page is not None:
        address.bare.setdefault(address.page, address.leaving)
    if not address.quiet:
        shown = {key: texts for key, texts in address.leaving.items() if texts != address.defaults.get(key)}
        if shown != here or address.late:
            st.query_params.from_dict(shown)
    address.before, address.shown = here, _here()
    address.left, address.held = time.monotonic(), _held()


def _address() -> _Address:
    return st.session_state.setdefault("address", _Address())


def _held() -> dict[str, Any]:
    """What the widgets with a key hold, as far as it can be told whether it is still the same."""
    held = {}
    for key, value in st.session_state.items():
        plain = getattr(value, "file_id", value)
        several = plain if isinstance(plain, list | tuple) else [plain]
        if all(isinstance(v, str | int | float) for v in several):  # not what a page keeps: arrays have no one truth
            held[str(key)] = tuple(several)
    return held


def _touched(before: Mapping[str, Any]) -> bool:
    """Whether a person has touched a widget since, so that this run can't be due to Back. (A button that was pressed
    then is not any more: that is no touch.)"""
    lasting = _address().leaving
    return any(before.get(key) != value for key, value in _held().items() if value != (False,) or key in lasting)


def _here() -> Texts:
    return {key: st.query_params.get_all(key) for key in st.query_params}


def kept(
    widget: Callable[..., Any], label: str, *args: Any, key: str, usual: Sequence[Any] | None = None, **settings: Any
) -> Any:
    """Call a widget, such as `st.selectbox`, whose value the address and the session keep under `key`.

    What the address holds and the widget can't take is passed over. A value that was there at first needs no place in
    the address; where another visitor could see another one first, `usual` holds what all see, or nothing.
    """
    state, address, name = st.session_state, _address(), widget.__name__
    coming = address.coming
    value = _read(name, address.waiting.pop(key, []), args, settings)
    if value is not None:
        state[key] = value
    elif coming is not None and key in state and key not in coming:
        del state[key]
    if key in state and not _fits(name, state[key], args, settings):  # what was chosen is no longer offered
        left = _still(name, state[key], args, settings)
        if left:
            state[key] = left
        else:
            del state[key]
    fresh = key not in state
    if not fresh and key not in address.there:  # new on the page: the browser would show its default
        state[key] = state[key]
    value = widget(label, *args, key=key, persist_state="session", **settings)
    if usual is not None:
        address.defaults[key] = _texts(usual)
    elif fresh:
        address.defaults[key] = _texts(value)
    address.leaving[key] = _texts(value)
    return value


def keep(key: str, value: str) -> None:
    """Let the address hold a text that no widget shows, or nothing for ''; `kept_text` reads it."""
    if value:
        _address().leaving[key] = [value]


def kept_text(key: str) -> str | None:
    """A text of an address that has just been opened, else None."""
    return next(iter(kept_texts(key)), None)


def kept_texts(key: str) -> list[str]:
    """What an address that has just been opened holds under `key`."""
    return (_address().coming or {}).get(key, [])


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list | tuple) else [value]
    return [format(v, "g") if isinstance(v, float) else str(v) for v in values]


def _fits(name: str, value: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> bool:
    if name in CHOICES and not settings.get("accept_new_options", False):
        options = _options(args, settings)
        return all(v in options for v in value) if isinstance(value, list | tuple) else value in options
    if name in NUMBERS:
        low, high = args[:2]
        return bool(low <= value <= high)
    return True


def _still(name: str, value: Any, args: Sequence[Any], settings: Mapping[str, Any]) -> list[Any]:
    """Of several that were chosen those that are still offered."""
    several = name in CHOICES and isinstance(value, list | tuple)
    return [v for v in value if v in _options(args, settings)] if several else []


def _options(args: Sequence[Any], settings: Mapping[str, Any]) -> Sequence[Any]:
    return list(args[0] if args else settings["options"])


def _read(name: str, texts: Sequence[str], args: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    """The value that these texts stand for, or None."""
    if not texts:
        return None
    if name in CHOICES:
        options = {str(option): option for option in _options(args, settings)}
        free = settings.get("accept_new_options", False)
        known = [options.get(text, text) for text in texts if text in options or (free and text)]
        several = name == "multiselect" or settings.get("selection_mode") == "multi"
        known = known[: settings.get("max_selections")] if several else known
        return (known if several else known[0]) if known else None
    if name in NUMBERS:
        low, high = args[:2]
        try:
            value = type(low)(texts[0])
        except ValueError:
            return None
        return value if low <= value <= high else None
    if name in ("toggle", "checkbox"):
        return {"True": True, "False": False}.get(texts[0])
    return texts[0]
