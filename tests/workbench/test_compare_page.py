"""Models on the same faces, without a browser."""

import shutil

from streamlit.testing.v1 import AppTest

from analyses.fairness.audit import select
from analyses.fairness.models import compare_models
from analyses.fairness.samples import ALL
from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.inference import predict
from maskmtl.manifest import open_faces


def compared(at, few_faces):
    at = at.switch_page("views/compare.py").run()
    at.segmented_control(key="set_kind").set_value("A folder").run()
    at.text_input(key="set_folder").set_value(str(few_faces)).run()
    return next(button for button in at.button if button.label == "Compare").click().run()


def test_two_models_are_compared_in_pairs(app, two_models, few_faces, say):
    at = compared(app, few_faces)
    assert not at.exception and not at.error
    first, second = (
        predict(load_model(two_models / name), open_faces(few_faces), masks=("none", "surgical"))
        for name in (DEFAULT_MODEL, "second")
    )
    where = {"metric": "flips", "task": "gender", "mask": "none", "by": ALL}
    expected = select(compare_models(first, second), **where)
    found = at.session_state["compare_result"].changes["second"]
    same = select(found, **where)
    assert same["n"].item() == expected["n"].item() == 12 and same["flag"].item() == expected["flag"].item()
    text = say(at)
    assert f"What second changes against {DEFAULT_MODEL}" in text and "12 of 12" in text
    assert f'<th scope="row">{DEFAULT_MODEL}</th>' in text and '<th scope="row">second</th>' in text


def test_a_link_to_models_that_are_gone_says_so(app, two_models):
    app.query_params["compare_models"] = [DEFAULT_MODEL, "second", "gone"]
    at = app.switch_page("views/compare.py").run()
    assert "not here: gone. They are left out" in at.warning[0].value
    assert at.multiselect(key="compare_models").value == [DEFAULT_MODEL, "second"]


def test_faces_without_annotations_are_compared_by_their_answers(app, two_models, few_faces, tmp_path, say):
    plain = tmp_path / "plain"
    plain.mkdir()
    for i, path in enumerate(sorted(few_faces.glob("*.png"))[:6]):
        shutil.copy(path, plain / f"photo{i}.png")
    at = compared(app, plain)
    assert not at.exception and not at.error
    assert "only how far the answers differ can be told" in say(at) and "nan" not in say(at)
    assert at.download_button(key="comparison.csv")


def test_one_model_is_not_enough(app, say):
    at = app.switch_page("views/compare.py").run()
    assert not at.exception and "at least two models" in say(at)


def test_faces_that_one_of_them_has_seen_are_left_out(app, two_models, few_faces, say):
    import numpy as np

    faces = open_faces(few_faces)
    np.save(two_models / "second" / "seen.npy", np.sort(faces.digests[:4]))
    at = compared(app, few_faces)
    assert not at.exception and not at.error and "8 of 12" in say(at)
    np.save(two_models / "second" / "seen.npy", np.sort(faces.digests))
    at = compared(app, few_faces)
    assert not at.exception and "should have faces" in at.error[0].value


def test_a_link_compares(app, two_models, few_faces, say):
    at = compared(app, few_faces)
    link = dict(at.query_params)
    fresh = AppTest.from_file(app._script_path, default_timeout=120)
    fresh.query_params.update(link)
    at = fresh.switch_page("views/compare.py").run()
    assert not at.exception and f"What second changes against {DEFAULT_MODEL}" in say(at)
    first = at.session_state["compare_result"].id
    assert at.run().session_state["compare_result"].id == first
