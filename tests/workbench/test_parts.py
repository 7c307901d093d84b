"""What a page runs with a bar and a button to stop it."""

import pytest
from streamlit.testing.v1 import AppTest

from workbench import parts


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("$20k and $50k", r"\$20k and \$50k"),
        ("![x](https://example.org/p.png)", r"!\[x\](https://example.org/p.png)"),
        ("*a* <d> `e` ~f~ a|b", r"\*a\* \<d> \`e\` \~f\~ a\|b"),
        ("__init__ of my_own_faces", r"\_\_init\_\_ of my_own_faces"),
        (":smile: &lt; at 10:30", r"\:smile: \&lt; at 10:30"),
        ("# 1.csv", r"\# 1.csv"),
    ],
)
def test_names_from_outside_are_shown_as_they_are(name, shown):
    assert parts.plain(name) == shown


def script():
    import streamlit as st

    from workbench import parts

    def run(order, bar):
        begun = st.session_state["begun"] = st.session_state.get("begun", 0) + 1
        if begun <= st.session_state["interrupted"]:
            if st.session_state["stop"]:
                parts.forget("slot")  # what the button calls
            st.rerun()
        if st.session_state["broken"]:
            raise ValueError("no face is in it")
        return f"{order} is done"

    pressed = st.button("Run")
    found = parts.run_into("slot", "the order" if pressed else None, run)
    st.markdown(found or "nothing yet")


def pressed(interrupted=0, stop=False, broken=False):
    at = AppTest.from_function(script)
    for name, value in {"interrupted": interrupted, "stop": stop, "broken": broken}.items():
        at.session_state[name] = value
    return at.run().button[0].click().run()


def test_an_order_that_is_interrupted_begins_anew():
    at = pressed(interrupted=2)
    assert at.markdown[0].value == "the order is done" and at.session_state["begun"] == 3
    assert at.run().session_state["begun"] == 3


def test_an_order_that_is_stopped_does_not():
    at = pressed(interrupted=1, stop=True)
    assert at.markdown[0].value == "nothing yet" and at.session_state["begun"] == 1


def test_what_went_wrong_is_said_and_not_tried_again():
    at = pressed(broken=True)
    assert [error.value for error in at.error] == ["This can't be run: no face is in it."]
    assert at.run().session_state["begun"] == 1 and not at.error


def deriving():
    import streamlit as st

    from workbench import parts

    def make(progress):
        st.session_state["made"] = st.session_state.get("made", 0) + 1
        progress(1, 2)
        if st.session_state["stop"]:
            st.session_state.update({"stop": False, "slot_stopped": "the key"})  # what the button does
            st.rerun()
        return "found"

    st.markdown(parts.derive("slot", "the key", "Working", "", make) or "nothing")


def test_what_was_stopped_waits_to_be_begun_again():
    at = AppTest.from_function(deriving)
    at.session_state["stop"] = True
    at.run()
    assert at.markdown[0].value == "nothing" and "It was stopped" in at.info[0].value
    at.run().button[0].click().run()
    assert at.markdown[0].value == "found" and at.session_state["made"] == 2
    assert not at.run().info and not at.button and at.session_state["made"] == 2
