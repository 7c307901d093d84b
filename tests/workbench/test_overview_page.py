"""The first page, without a browser."""

import json
import shutil

from maskmtl.checkpoint import CARD, DEFAULT_MODEL


def test_models_and_what_they_reach(app, models, tmp_path, monkeypatch, say):
    folder = tmp_path / "models"
    shutil.copytree(models, folder)
    shutil.copytree(models / DEFAULT_MODEL, folder / "published")
    shutil.copytree(models / DEFAULT_MODEL, folder / "plain")
    monkeypatch.setattr("maskmtl.checkpoint.MODELS", folder)
    card = json.loads((models / DEFAULT_MODEL / CARD).read_text())
    figures = {"n95_valve": {"age_mae": {"value": 5.25, "ci_low": 4.0, "ci_high": 6.5}}}
    (folder / "published" / CARD).write_text(json.dumps({**card, "test": {"faces": 800, "figures": figures}}))
    (folder / "plain" / CARD).write_text(json.dumps({name: card[name] for name in card if name != "val"}))
    at = app.run()
    text = say(at).replace("\N{NO-BREAK SPACE}", " ")
    assert not at.exception and not at.error
    assert '<th scope="col">mask</th>' in text and '<th scope="col">faces</th>' not in text
    assert "<td>bare<small>validation</small></td><td>7.2 years</td><td>50.0 %</td>" in text
    assert "<td>N95 with valve<small>test</small></td><td>5.2 years<small>4.0 to 6.5</small></td>" in text
    assert '<th scope="row">plain<small>no figures in its card</small></th><td>–</td>' in text
    assert "Val:" not in text and "Validation: those its epoch was chosen by" in text
