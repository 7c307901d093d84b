"""The pages Fairness and Report, without a browser."""

import io
import json

import numpy as np
import pandas as pd
import pytest

from analyses.fairness import audit
from analyses.fairness.audit import COLUMNS
from maskmtl.checkpoint import DEFAULT_MODEL


@pytest.fixture(scope="module")
def foreign():
    """600 answers of another tool, with names of its own: women are read wrong more often."""
    rng = np.random.default_rng(0)
    sex, site = np.repeat(["male", "female"], 300), rng.choice(["north", "south"], 600)
    wrong = rng.random(600) < np.where(sex == "female", 0.2, 0.03)
    guess = np.where(wrong, np.where(sex == "male", "female", "male"), sex)
    return pd.DataFrame({"label": sex, "guess": guess, "site": site})


@pytest.fixture
def fairness(app):
    return app.run().switch_page("views/fairness.py").run()


def upload(at, table, name="theirs.csv"):
    at.segmented_control(key="fair_kind").set_value("A predictions table").run()
    return at.file_uploader(key="fair_file").set_value((name, table.to_csv(index=False).encode(), "text/csv")).run()


def after_a_run(app, folder):
    at = app.run().switch_page("views/dataset.py").run()
    at.segmented_control(key="set_kind").set_value("A folder").run()
    at.text_input(key="set_folder").set_value(str(folder)).run()
    at = next(button for button in at.button if button.label == "Run").click().run()
    return at.switch_page("views/fairness.py").run()


def map_columns(at):
    at.selectbox(key="fair_col_y_true").set_value("label").run()
    at = at.selectbox(key="fair_col_y_pred").set_value("guess").run()
    return at.text_input(key="fair_task_name").set_value("gender").run()


def test_nothing_yet_says_what_to_do(fairness, say):
    assert not fairness.exception and "Nothing has been run yet" in say(fairness)
    at = fairness.segmented_control(key="fair_kind").set_value("A predictions table").run()
    assert "Upload a table of predictions" in say(at)


def test_a_foreign_table_is_mapped_and_audited(fairness, foreign, say):
    at = upload(fairness, foreign)
    assert not at.exception and not at.error
    assert "Choose under Columns which column holds the annotation and the answer." in say(at)
    at = map_columns(at)
    assert not at.exception and not at.error
    assert at.multiselect(key="fair_by").options == ["gender", "site", "gender × site"]
    at = at.multiselect(key="fair_by").set_value(["gender", "site", "gender*site"]).run()
    text = say(at)
    assert "female" in text and "less often than all others" in text
    assert at.selectbox(key="fair_grouping").options == ["gender", "site", "gender × site"]
    kept = at.session_state["fair_audit"]
    at = at.selectbox(key="fair_grouping").set_value("gender*site").run()
    assert at.session_state["fair_audit"] is kept  # filters compute nothing anew
    assert "female, north" in say(at) and "adjusted p" in say(at)
    assert tuple(kept[1].columns) == COLUMNS


def test_a_task_of_their_own_may_have_classes(fairness):
    rng = np.random.default_rng(1)
    table = pd.DataFrame({"y_true": rng.integers(0, 2, 80), "y_pred": rng.integers(0, 2, 80)})
    at = upload(fairness, table)
    assert "Say under Columns which task the answers are of" in at.info[0].value  # a number may be anything
    at = at.text_input(key="fair_task_name").set_value("gender").run()
    assert "Numbers are read as 0 male, 1 female." in " ".join(caption.value for caption in at.caption)
    at = at.text_input(key="fair_task_name").set_value("glasses").run()
    assert not at.exception and "0 or 1 alone: name the classes" in at.error[0].value
    at = at.text_input(key="fair_classes").set_value("no, yes").run()
    assert not at.exception and "accuracy" in set(at.session_state["fair_audit"][1]["metric"])


def test_the_run_over_a_data_set_is_what_is_audited(app, few_faces, say):
    at = after_a_run(app, few_faces)
    assert not at.exception and not at.error
    predictions = at.session_state["set_result"].assessment.predictions
    by = ["ethnicity", "gender", "age_band", "ethnicity*gender"]
    wanted = audit(predictions, by=by)
    pd.testing.assert_frame_equal(at.session_state["fair_audit"][1], wanted)
    assert "n&lt;20: too few to judge" in say(at)


def test_a_stopped_audit_can_be_begun_again(app, few_faces, say):
    at = after_a_run(app, few_faces)
    at.session_state["fair_audit_stopped"] = at.session_state["fair_audit"][0]  # as its button does while it runs
    at.run()
    assert not at.exception and "It was stopped" in say(at) and "In brief" not in say(at)
    next(button for button in at.button if button.label == "Begin again").click().run()
    assert not at.exception and "In brief" in say(at)


def test_what_is_no_table_is_a_sentence(fairness):
    at = fairness.segmented_control(key="fair_kind").set_value("A predictions table").run()
    at = at.file_uploader(key="fair_file").set_value(("broken.parquet", b"PAR1 and no more", "")).run()
    assert not at.exception and "broken.parquet should be a whole, readable .parquet file" in at.error[0].value
    at = at.file_uploader(key="fair_file").set_value(("empty.csv", b"", "text/csv")).run()
    assert not at.exception and "empty.csv" in at.error[0].value
    bomb = io.BytesIO()  # a few kilobytes that would be gigabytes
    pd.DataFrame({"task": pd.Categorical(["age"]).repeat(5_000_001)}).to_parquet(bomb)
    at = at.file_uploader(key="fair_file").set_value(("bomb.parquet", bomb.getvalue(), "")).run()
    assert not at.exception and "at most 5,000,000 rows here, got 5,000,001" in at.error[0].value


def test_the_report_of_the_same_table(fairness, foreign, say):
    at = map_columns(upload(fairness, foreign))
    at = at.multiselect(key="fair_by").set_value(["gender"]).run().switch_page("views/report.py").run()
    assert not at.exception and not at.error and not at.info  # the table and its columns go with the person
    html, content = at.session_state["report"][1]
    assert "<h2" in html and "female" in html
    assert json.loads(content)["model"] == "theirs"
    assert at.download_button(key="fairness-report.html") and at.download_button(key="fairness-report.json")


def test_a_report_takes_the_name_of_its_own_source(app, few_faces, foreign):
    def name(at):
        assert not at.exception
        return next(field for field in at.text_input if field.label == "Name of the faces in the report").value

    at = after_a_run(app, few_faces).switch_page("views/report.py").run()
    at = map_columns(upload(at, foreign))
    assert name(at) == "theirs"
    at = at.segmented_control(key="fair_kind").set_value("The last run over a data set").run()
    assert name(at) == f"{few_faces.name}, faces the model has not seen"


def test_a_table_stays_until_it_is_removed(fairness, foreign, say):
    at = upload(fairness, foreign).switch_page("views/about.py").run().switch_page("views/fairness.py").run()
    assert not at.exception and "Choose under Columns" in say(at)


def test_another_table_of_the_same_columns_is_asked_about_anew(fairness, foreign, say):
    at = map_columns(upload(fairness, foreign))
    assert "In brief" in say(at)
    at = upload(at, foreign.assign(label=foreign["label"] == "male", guess=foreign["guess"] == "male"), "glasses.csv")
    assert not at.exception and "Choose under Columns" in say(at) and "In brief" not in say(at)


def test_the_report_on_a_run_has_its_models_card(app, few_faces):
    at = after_a_run(app, few_faces).switch_page("views/report.py").run()
    assert not at.exception and not at.error
    content = json.loads(at.session_state["report"][1][1])
    assert content["card"] is not None and "weights" in content["provenance"]["hashes"]
    settings = content["provenance"]["settings"]
    assert settings["masks"] == ["none", "surgical"] and settings["mask_seed"] == 0


def test_another_model_than_the_sidebars_is_named_and_offered(app, two_models, few_faces, say):
    at = after_a_run(app, few_faces)
    first, other = DEFAULT_MODEL, "second"
    at = at.selectbox(key="model").set_value(other).run()
    assert f"These are the figures of {first}; the sidebar has {other}." in say(at)
    assert "run" not in at.query_params  # the address would name a run that was never made
    at = next(button for button in at.button if button.label == f"Run {other} on the same faces").click().run()
    assert not at.exception and at.session_state["set_result"].model == other
    assert "These are the figures of" not in say(at) and "run" in at.query_params


def test_a_column_of_lists_is_no_grouping(fairness, foreign):
    data = io.BytesIO()
    table = foreign.rename(columns={"label": "y_true", "guess": "y_pred"}).assign(task="gender", face_id=range(600))
    table.assign(embedding=[[0.1, 0.2]] * 600).to_parquet(data)
    at = fairness.segmented_control(key="fair_kind").set_value("A predictions table").run()
    at = at.file_uploader(key="fair_file").set_value(("theirs.parquet", data.getvalue(), "")).run()
    assert not at.exception and "embedding" not in at.multiselect(key="fair_by").options
    assert "site" in at.multiselect(key="fair_by").options
