"""A link opens the same view, and nonsense in it does no harm."""

import numpy as np

from maskmtl.checkpoint import DEFAULT_MODEL


def shown(at):
    return {key: value if isinstance(value, list) else [value] for key, value in dict(at.query_params).items()}


def test_choices_stand_in_the_address_and_a_link_brings_them_back(app, demo_faces):
    at = app.switch_page("views/face.py").run()
    preset = {"face_check": ["False"]}  # by the fixture
    assert shown(at) == preset
    at.selectbox(key="face_mask").set_value("n95").run()
    at.number_input(key="face_seed").set_value(7).run()
    assert shown(at) == {"face_mask": ["n95"], "face_seed": ["7"], **preset}
    at.switch_page("views/masks.py").run()
    at.switch_page("views/face.py").run()
    assert at.selectbox(key="face_mask").value == "n95" and at.number_input(key="face_seed").value == 7
    assert shown(at) == {"face_mask": ["n95"], "face_seed": ["7"], **preset}


def test_a_click_that_comes_with_the_address_of_before_undoes_nothing_but_back_does(app, monkeypatch):
    at = app.switch_page("views/face.py").run()
    before = dict(at.query_params)

    def at_address_of_before(at):
        at.query_params.clear()
        at.query_params.update(before)
        return at

    at.number_input(key="face_seed").set_value(7).run()
    at_address_of_before(at).run()  # at once: the browser did not know better
    assert at.number_input(key="face_seed").value == 7 and shown(at)["face_seed"] == ["7"]
    monkeypatch.setattr("workbench.address.LAG", 0)
    at.run()
    at.slider(key="face_opacity").set_value(0.5).run()
    before = dict(face_seed="7", face_check="False")
    at_address_of_before(at).toggle(key="face_check").set_value(True).run()  # late, but a choice of its own: not Back
    assert at.slider(key="face_opacity").value == 0.5 and at.toggle(key="face_check").value is True
    before = dict(face_check="False")
    at_address_of_before(at).run()
    assert at.number_input(key="face_seed").value == 0 and "face_seed" not in shown(at)


def test_a_link(app):
    app.query_params.update({"face_mask": "n95:nose_out", "face_seed": "12", "face_opacity": "0.5", "demo_face": "321"})
    at = app.switch_page("views/face.py").run()
    assert not at.exception
    assert at.selectbox(key="face_mask").value == "n95:nose_out" and at.number_input(key="face_seed").value == 12
    assert at.slider(key="face_opacity").value == 0.5 and at.pills(key="demo_face").value == 321


def test_a_choice_made_while_a_link_still_opens_stands(app, monkeypatch):
    app.query_params["face_mask"] = "n95"
    with monkeypatch.context() as stopped:
        stopped.setattr("workbench.address.leave", lambda: None)  # a run that is stopped ends before that
        at = app.switch_page("views/face.py").run()
    at.number_input(key="face_seed").set_value(7).run()
    assert at.number_input(key="face_seed").value == 7 and at.selectbox(key="face_mask").value == "n95"


def test_a_link_waits_for_a_widget_that_comes_later(app):
    app.query_params.update({"face_mask": "n95", "face_check": "False", "face_source": "Your photo"})
    app.session_state["face_check"] = True
    at = app.switch_page("views/face.py").run()  # there is no photo yet, so no mask to choose
    assert "face_mask" not in [box.key for box in at.selectbox]
    at.segmented_control(key="face_source").set_value("Demo faces").run()
    assert at.selectbox(key="face_mask").value == "n95" and at.toggle(key="face_check").value is False


def test_nonsense_is_passed_over(app):
    app.query_params.update(
        {
            "face_seed": "-3",
            "face_opacity": "x",
            "demo_face": "99999",
            "demo_gender": "<b>",
            "model": "none",
            "face": "a|b|c",
        }
    )
    at = app.switch_page("views/face.py").run()
    assert not at.exception and at.number_input(key="face_seed").value == 0
    assert at.selectbox(key="model").value == DEFAULT_MODEL and at.selectbox(key="demo_gender").value == "any"


def test_what_a_page_keeps_is_not_held_against_the_widgets(app):
    """Arrays have no one truth: an app that compared them would fail on every page."""
    at = app.switch_page("views/face.py").run()
    for _ in range(2):
        at.session_state["any_slot"] = ("a key", np.zeros(3))
        at.run()
        assert not at.exception


def test_a_face_stands_in_the_address_unless_all_see_it_first(app):
    at = app.switch_page("views/face.py").run()
    assert "demo_face" not in shown(at)
    next(button for button in at.button if button.label == "Show others").click().run()
    others = [str(at.pills(key="demo_face").value)]
    assert not at.exception and shown(at)["demo_face"] == others


def test_a_face_that_a_filter_showed_first_stays_in_the_address(app):
    app.query_params["demo_gender"] = "female"
    at = app.switch_page("views/face.py").run()
    assert shown(at)["demo_gender"] == ["female"] and "demo_face" not in shown(at)  # the link shows it already
    first = [str(at.pills(key="demo_face").value)]
    at.selectbox(key="demo_gender").set_value("any").run()
    assert not at.exception and shown(at)["demo_face"] == first
