import tempfile
import time
import weakref

from streamlit.runtime.state import SessionState

from workbench.sessions import GONE, Sessions


class Picture:
    pass


def test_what_a_session_holds_goes_when_its_browser_is_gone_for_good():
    here = {"one", "two"}
    sessions, states = Sessions(here.__contains__), {name: SessionState() for name in here}
    pictures = {}
    for name, state in states.items():
        state["photo"] = Picture()
        pictures[name] = weakref.ref(state["photo"])
        sessions.enter(name, state)
    now = time.monotonic()
    here.remove("one")
    sessions.sweep(now + GONE - 1)
    assert pictures["one"]() is not None  # the browser may come back
    sessions.sweep(now + GONE + 1)
    assert pictures["one"]() is None and pictures["two"]() is not None and "photo" in states["two"]


def test_a_session_that_comes_back_in_time_keeps_what_it_holds():
    here = {"one"}
    sessions, state = Sessions(here.__contains__), SessionState()
    state["folder"] = tempfile.gettempdir()
    sessions.enter("one", state)
    now = time.monotonic()
    here.clear()
    sessions.sweep(now + GONE - 1)
    here.add("one")
    sessions.sweep(now + GONE)
    here.clear()
    sessions.sweep(now + GONE + 2)
    assert "folder" in state
