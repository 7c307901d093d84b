"""The page of group atlases, without a browser."""

import cv2
import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analyses.attribution.atlas import atlas
from analyses.figures import map_scale
from maskmtl.checkpoint import DEFAULT_MODEL, load_model


@pytest.fixture
def page(app):
    return app.run().switch_page("views/atlas.py").run()


def make(at, most: int = 40):
    at.number_input(key="atlas_most").set_value(most).run()
    return next(button for button in at.button if button.label == "Make the atlas").click().run()


def test_groups_are_those_of_the_analysis(page, say, models, demo_faces):
    at = page.selectbox(key="atlas_by").set_value("gender").run()
    at = make(at)
    assert not at.exception and not at.error
    rows = np.unique(np.linspace(0, len(demo_faces) - 1, 40).round().astype(int))
    expected = atlas(load_model(models / DEFAULT_MODEL), demo_faces.select(rows), masks=["surgical"], by="gender")
    shown = at.session_state["atlas_result"]["atlas"]
    for task in expected.mean:
        np.testing.assert_allclose(shown.mean[task], expected.mean[task], atol=1e-5)
    text = say(at)
    for group, n in zip(expected.groups, expected.n, strict=True):
        assert f"**{group}**, n {n}" in text
    assert len(at.image) == 3 * len(expected.groups)
    mean, change = expected.mean["age"], expected.change["age"][:, 1:]
    of_means, of_changes = map_scale(mean), map_scale(change, mode="signed")
    assert f"<span>{of_means:.3g} of the output, bare and masked</span>" in text
    assert f"<span>−{of_changes:.3g}</span>" in text
    assert f"<span>+{of_changes:.3g} of the output, bare − masked</span>" in text
    before = [image.proto.imgs[0].url for image in at.image]
    at.segmented_control(key="atlas_task").set_value("ethnicity").run()
    assert [image.proto.imgs[0].url for image in at.image] != before and "of the logit, bare and masked" in say(at)
    at.selectbox(key="atlas_mask").set_value("cloth").run()
    assert "the choices above have changed since" in say(at)


def test_small_groups_are_not_tested(page, say):
    at = make(page, most=25)
    assert "fewer than 20 faces, not tested" in say(at) and not at.exception


def test_faces_without_annotations_are_one_group_and_it_is_said(page, say, demo_faces, tmp_path):
    for i in range(2):
        cv2.imwrite(str(tmp_path / f"picture{i}.png"), demo_faces.images[i][..., ::-1])
    page.segmented_control(key="set_kind").set_value("A folder").run()
    at = make(page.text_input(key="set_folder").set_value(str(tmp_path)).run())
    assert not at.exception and not at.error
    assert at.info[0].value.startswith("These faces carry no annotation of ethnicity") and "**unlabelled**" in say(at)


def test_a_link_makes_the_atlas(page, say):
    at = make(page.selectbox(key="atlas_by").set_value("gender").run())
    link = dict(at.query_params)
    fresh = AppTest.from_file(page._script_path, default_timeout=120)
    fresh.query_params.update(link)
    at = fresh.switch_page("views/atlas.py").run()
    assert not at.exception and "**female**" in say(at)
    first = at.session_state["atlas_result"]
    assert at.run().session_state["atlas_result"] is first
