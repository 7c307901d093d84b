"""The sidebar: which model, and what stands there when there is none."""

import numpy as np

from analyses.assessment import assess
from analyses.model_card import figures
from maskmtl.checkpoint import load_model
from maskmtl.inference import predict
from maskmtl.paths import ROOT
from workbench.sidebar import card_lines


def test_card_is_shown(app, say):
    text = say(app.run())
    assert "Random weights, for tests." in text
    assert "**Data** nothing: 1,234 to train, 5 to validate" in text
    assert "gender 50.0\N{NO-BREAK SPACE}%" in text and "age error 7.2\N{NO-BREAK SPACE}years" in text
    assert "**Licence** none needed" in text


def test_card_of_a_published_model_gives_its_test_figures(models, demo_faces):
    model = load_model(next(models.iterdir()))
    predictions = predict(model, demo_faces.select(np.arange(8)))
    measured = figures(assess(predictions, demo_faces.table, model.specs))
    model.card.update(
        test={"protocol": "random", "faces": 8, "figures": measured}, forbidden_use=["Selling.", "Sorting."]
    )
    text = "\n".join(card_lines(model))
    assert f"gender {measured['none']['gender_accuracy']['value']:.1%}".replace("%", "\N{NO-BREAK SPACE}%") in text
    assert "**Test, bare**" in text and "Validation" not in text and "**Not for** Selling. Sorting." in text


def test_without_a_model_the_page_says_what_to_do(app, say, tmp_path, monkeypatch):
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", tmp_path)
    at = app.switch_page("views/face.py").run()
    assert not at.exception
    assert "maskmtl train" in at.warning[0].value and "Choose or train a model" in at.info[0].value


def test_a_link_to_a_model_that_is_gone_says_so(app, models):
    app.query_params["model"] = "gone"
    at = app.switch_page("views/face.py").run()
    shown = next(models.iterdir()).name
    assert f"The link names the model gone, which is not here: {shown} is shown instead." in at.warning[0].value
    assert not at.switch_page("views/masks.py").run().warning


def test_run_folder_serves_as_a_model(app, models, tmp_path, monkeypatch):
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", tmp_path)
    at = app.switch_page("views/face.py").run()
    at.text_input(key="model_folder").set_value(str(next(models.iterdir()))).run()
    assert not at.exception and not at.error and len(at.image) == 8


def test_broken_model_is_a_sentence(app, models, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "model.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"nothing")
    at = app.switch_page("views/face.py").run()
    at.selectbox(key="model").set_value("a run folder …").run()
    at.text_input(key="model_folder").set_value(str(folder)).run()
    assert not at.exception
    assert "This model can't be loaded" in at.error[0].value


def test_every_page_carries_the_notice_once(app, say):
    at = app.run()
    for page in sorted((ROOT / "workbench" / "views").glob("*.py")):
        at.switch_page(f"views/{page.name}").run()
        assert not at.exception
        text = say(at)
        assert text.count("never for deciding about a person") == text.count('role="note"') == 1
        assert "Labels are annotations, not identities" in text
