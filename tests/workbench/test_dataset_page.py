"""The page of a data set, without a browser."""

import shutil

import pytest

from maskmtl.checkpoint import DEFAULT_MODEL, load_model
from maskmtl.evaluation import evaluate
from maskmtl.manifest import open_faces
from maskmtl.prepare import prepare


@pytest.fixture
def page(app):
    return app.run().switch_page("views/dataset.py").run()


def name_folder(at, path):
    at.segmented_control(key="set_kind").set_value("A folder").run()
    return at.text_input(key="set_folder").set_value(str(path)).run()


def run(at):
    return next(button for button in at.button if button.label == "Run").click().run()


def test_folder_is_assessed_as_maskmtl_evaluates_it(page, few_faces, models, say):
    at = run(name_folder(page, few_faces))
    assert not at.exception and not at.error
    model = load_model(models / DEFAULT_MODEL)
    figures, _ = evaluate(model, open_faces(few_faces), masks=("none", "surgical"))
    text = say(at)
    for mask in ("none", "surgical"):
        assert f"{100 * figures[mask]['gender_accuracy']:.1f}\N{NO-BREAK SPACE}%" in text
        assert f"{figures[mask]['age_mae']:.1f}\N{NO-BREAK SPACE}years" in text
    assert "faces the model has not seen, 12 of 12" in text
    assert "Pictures that were not taken: 1" in [expander.label for expander in at.expander]


def test_results_stay_when_widgets_change_and_say_so(page, few_faces, say):
    at = run(name_folder(page, few_faces))
    first = at.session_state["set_result"]
    at.selectbox(key="gallery_task").set_value("ethnicity").run()
    assert at.session_state["set_result"] is first and "choices above have changed" not in say(at)
    at.number_input(key="set_seed").set_value(5).run()
    assert at.session_state["set_result"] is first and "choices above have changed" in say(at)


def test_pictures_without_annotations_are_predicted_only(page, few_faces, tmp_path, say):
    for i, file in enumerate(sorted(few_faces.iterdir())[:4]):
        (tmp_path / f"picture{i}.png").write_bytes(file.read_bytes())
    at = run(name_folder(page, tmp_path))
    assert not at.exception and not at.error
    assert "no annotations to compare with" in say(at)
    assert at.download_button(key="predictions.csv")


def test_prepared_folder_has_splits(page, few_faces, tmp_path, say):
    prepare(few_faces, tmp_path / "prepared", workers=1)
    at = name_folder(page, tmp_path / "prepared")
    at.selectbox(key="set_split").set_value("train").run()
    at.multiselect(key="set_masks").set_value(["none"]).run()
    at = run(at)
    assert not at.exception and not at.error
    expected = len(open_faces(tmp_path / "prepared").in_split("train"))
    assert f"the training split, {expected} of 12" in say(at)
    at.selectbox(key="set_protocol").set_value("parts").run()
    at = run(at)  # every capture day is in part I
    assert "the training split, 12 of 12" in say(at)


def test_split_without_faces_is_a_sentence(page, few_faces, tmp_path):
    prepare(few_faces, tmp_path / "prepared", workers=1)
    at = name_folder(page, tmp_path / "prepared")
    at.selectbox(key="set_protocol").set_value("parts").run()
    at.selectbox(key="set_split").set_value("test").run()
    at = run(at)
    assert not at.exception and "should have faces" in at.error[0].value


def test_missing_folder(page):
    at = name_folder(page, "/nowhere/at/all")
    assert "There is nothing at /nowhere/at/all." in at.error[0].value and not at.exception


def test_folder_without_pictures(page, tmp_path):
    at = run(name_folder(page, tmp_path))
    assert not at.exception
    assert "folder should hold pictures" in at.error[0].value


def test_no_mask_chosen(page):
    at = page.multiselect(key="set_masks").set_value([]).run()
    assert not at.exception
    assert "at least one" in at.info[0].value


def test_gallery_filters_and_opens_a_face(page, few_faces, say):
    at = run(name_folder(page, few_faces))
    found = at.session_state["set_result"].assessment.predictions.query("task == 'gender' and mask == 'surgical'")
    at.selectbox(key="gallery_task").set_value("gender").run()
    at.selectbox(key="gallery_mask").set_value("surgical").run()
    at.selectbox(key="gallery_show").set_value("wrong").run()
    wrong = found[found["y_true"] != found["y_pred"]]
    assert f"**{len(wrong)} of 12 faces**" in say(at) and len(at.image) == len(wrong) > 0
    at.button(key=f"open_{wrong.index[0] - found.index[0]}").click().run()
    assert not at.exception
    text = say(at)
    assert f"Face {wrong['face_id'].iloc[0]} of" in text and "Annotated age" in text
    assert at.selectbox(key="face_mask").value == "surgical"


def test_a_run_can_be_linked_to(app, few_faces, say):
    app.query_params["run"] = f"{few_faces}|random|all|none|0"
    at = app.switch_page("views/performance.py").run()
    assert not at.exception and "all faces, 12 of 12" in say(at)
    assert at.session_state["set_result"].order.masks == ("none",)
    first = at.session_state["set_result"].id
    at.segmented_control(key="perf_task").set_value("gender").run()
    assert at.session_state["set_result"].id == first and "What confidence is worth" in say(at)


def test_a_link_to_a_run_that_can_not_be_made(app, say):
    for text in ("nonsense", "demo|sideways|all|none|0", "demo|random|all|veil|0", "upload:x|random|all|none|0"):
        app.query_params["run"] = text
        at = app.switch_page("views/performance.py").run()
        assert not at.exception and "asks for a run that can't be made" in say(at)


def test_results_outlive_their_model(app, models, few_faces, tmp_path, say):
    shutil.copytree(models / DEFAULT_MODEL, tmp_path / "mine")
    app.session_state["model"], app.session_state["model_folder"] = "a run folder …", str(tmp_path / "mine")
    at = run(name_folder(app.switch_page("views/dataset.py").run(), few_faces))
    shutil.rmtree(tmp_path / "mine")
    at.selectbox(key="model").set_value(DEFAULT_MODEL).run()
    at.selectbox(key="gallery_task").set_value("gender").run()
    assert not at.exception and "12 of 12 faces" in say(at)


def test_other_filters_begin_with_their_first_page(page, say):
    at = run(page.multiselect(key="set_masks").set_value(["none"]).run())
    at.number_input(key="gallery_page").set_value(5).run()
    link = dict(at.query_params)
    at.selectbox(key="gallery_show").set_value("wrong").run()
    assert not at.exception and at.number_input(key="gallery_page").value == 1
    at.query_params.clear()
    at.query_params.update(link)
    at.session_state["address"].left = 0.0  # a link, not a click that comes late
    at.run()
    assert not at.exception and at.number_input(key="gallery_page").value == 5
