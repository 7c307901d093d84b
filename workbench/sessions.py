"""Nothing that a session holds outlives it: photos, uploads and results are dropped once its browser is gone for good.

Streamlit forgets a session 2 minutes after its browser has left, but only when another one leaves, and only if nothing
else holds it; what `resources.settle` has spared the garbage collector holds those of the first moments for ever. What
a server that was killed has left on the disk goes when the next one starts.
"""

import threading
import time
from collections.abc import Callable

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.state import SessionState

from maskmtl.files import sweep

GONE = 180.0  # s without a browser: Streamlit lets it come back for 120
EVERY = 30.0  # s between two looks


class Sessions:
    """States of sessions, emptied when they have been inactive for `GONE`."""

    def __init__(self, active: Callable[[str], bool]) -> None:
        self._active, self._lock = active, threading.Lock()
        self._states: dict[str, SessionState] = {}
        self._seen: dict[str, float] = {}

    def enter(self, name: str, state: SessionState) -> None:
        with self._lock:
            self._states[name], self._seen[name] = state, time.monotonic()

    def sweep(self, now: float) -> None:
        """Empty those whose browser has been gone for long; now: of time.monotonic()."""
        with self._lock:
            for name in list(self._states):
                if self._active(name):
                    self._seen[name] = now
                elif now - self._seen[name] > GONE:
                    self._states.pop(name).clear()
                    del self._seen[name]


def enter() -> None:
    """To be called by every run of the script."""
    context = get_script_run_ctx()
    if context is not None and st.runtime.exists():  # a server, not a test
        _sessions().enter(context.session_id, context.session_state._state)


@st.cache_resource
def _sessions() -> Sessions:
    sweep()  # of a server that was killed
    sessions = Sessions(st.runtime.get_instance().is_active_session)
    threading.Thread(target=_watch, args=(sessions,), name="sessions", daemon=True).start()
    return sessions


def _watch(sessions: Sessions) -> None:
    while st.runtime.exists():
        time.sleep(EVERY)
        sessions.sweep(time.monotonic())
