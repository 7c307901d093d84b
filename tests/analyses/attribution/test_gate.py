"""The gate, on a network whose evidence is known to the pixel: right maps pass, the rest fail for the right reason."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from analyses.attribution import METHODS, explain
from analyses.attribution import gate as gate_module
from analyses.attribution.gate import Thresholds, gate
from analyses.attribution.randomisation import redrawn
from analyses.attribution.result import Maps
from maskmtl.networks import MaskMTL
from maskmtl.tasks import TASKS
from tests.analyses.attribution.patches import PLACES, SIDE, Patches, pictures, truth


def network():
    torch.manual_seed(0)
    return MaskMTL(TASKS, encoder="compact").eval(), torch.rand(1, 1, 48, 48)


def test_right_maps_pass():
    model, images = Patches(), pictures(12)
    table = gate(model, images, truth(model, images))
    assert len(table) == 36
    assert table.groupby("task")["picture"].apply(list).to_dict() == {task: list(range(12)) for task in PLACES}
    assert set(table["method"]) == {"integrated_gradients"}
    assert table["passed"].mean() >= 0.95
    assert set(table.loc[table["passed"], "reason"]) == {""}
    np.testing.assert_allclose(table["agreement"], 1, atol=1e-4)  # what a region loses is the map's sum over it
    assert (table["agreement_p"] < 0.01).all() and (table["order_p"] <= 3 / 21).all()
    assert (table[["deletion_grey", "insertion_grey", "deletion_blur", "insertion_blur"]] > 0).all(axis=None)
    assert (table["similarity"] < 0.2).all() and (table["noise"] < 0.2).all()


def turned(maps):
    return {task: np.ascontiguousarray(values[:, ::-1, ::-1]) for task, values in maps.items()}


def negative(maps):
    return {task: -values for task, values in maps.items()}


@pytest.mark.parametrize("wrong", [turned, negative])
def test_maps_of_something_else_fail(wrong):
    model, images = Patches(), pictures(12)
    right = truth(model, images)
    table = gate(model, images, replace(right, values=wrong(right.values)))
    assert not table["passed"].any()
    assert table["reason"].str.contains("its regions are not those that the score depends on").mean() > 0.9
    assert table["reason"].str.contains("removing what it marks first is no better than a random order").mean() > 0.9


def test_maps_from_random_weights_fail():
    """Of eight networks. The method, asked again, gives them away as not this network's; and without asking, what the
    network shows lets fewer pass than happen to favour the right one of the nine squares."""
    model, images = Patches(), pictures(6)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    right, passed, faithful = truth(model, images), [], []
    for seed in range(8):
        wrong = truth(redrawn(model, layers, seed=seed), images)
        table = gate(model, images, replace(right, values=wrong.values))
        passed.append(table["passed"].mean())
        faithful.append((table["faithfulness"] >= Thresholds().faithfulness).mean())
    assert np.mean(passed) <= 0.01
    assert np.mean(faithful) <= 0.1


def test_maps_that_do_not_look_at_the_network(monkeypatch):
    def brightness(model, images, index):
        return Maps(dict.fromkeys(index, images.mean(dim=1)), model(images), dict.fromkeys(index, "input"))

    monkeypatch.setitem(METHODS, "brightness", brightness)
    model, images = Patches(), pictures(3)
    table = gate(model, images, explain(model, images, method="brightness"))
    assert list(table["similarity"]) == pytest.approx([1] * 9)
    assert (
        table["reason"].str.startswith("does not change when the network is randomised; does not change when the").all()
    )


def test_maps_that_do_not_look_at_the_task():
    """Eigen-CAM knows the encoder, not the head."""
    model, images = network()
    table = gate(model, images, explain(model, images, method="eigencam", tasks=["age", "ethnicity"]))
    assert list(table["similarity_head"]) == pytest.approx([1, 1])
    assert (table["similarity"] < 0.99).all()
    assert table["reason"].str.contains("does not change when the task's last layer is randomised").all()


def test_maps_without_evidence_say_so():
    model, images = Patches(), pictures(4)
    right = truth(model, images)
    values = right.values["age"].copy()
    values[0], values[1], values[2] = 0, 1, -np.abs(values[2])
    table = gate(model, images, replace(right, values={**right.values, "age": values}))
    of_age = table[table["task"] == "age"].reset_index(drop=True)
    assert of_age["reason"][:2].tolist() == ["no positive evidence", "the same everywhere"]
    assert of_age["reason"][2].startswith("no positive evidence")
    assert of_age["passed"].tolist() == [False, False, False, True]
    assert of_age.drop(columns=["picture", "task", "method", "passed", "reason"])[:2].isna().all(axis=None)
    others = table[table["task"] != "age"]
    assert others["passed"].all()


def test_fills_of_ones_own():
    model, images = Patches(), pictures(2)
    table = gate(model, images, truth(model, images), fills={"texture": torch.full_like(images, 0.2)})
    assert {"deletion_texture", "insertion_texture"} < set(table)
    assert "deletion_grey" not in table


def in_order(table):
    return table.sort_values(["task", "picture"], ignore_index=True)


def test_a_result_does_not_depend_on_the_batch_and_the_seed_draws_it(monkeypatch):
    model, images = Patches(), pictures(3)
    together = gate(model, images, truth(model, images), seed=1)
    monkeypatch.setattr("analyses.attribution.scores.PIXELS", 2 * SIDE * SIDE)  # in batches of two
    pd.testing.assert_frame_equal(
        in_order(gate(model, images, truth(model, images), seed=1)), in_order(together), rtol=1e-3
    )
    for picture in range(3):
        few = slice(picture, picture + 1)
        alone = gate(model, images[few], truth(model, images[few]), seed=1).assign(picture=picture)
        expected = together[together["picture"] == picture].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, expected, rtol=1e-3)
    other = gate(model, images, truth(model, images), seed=2)
    assert not np.allclose(other["order"], together["order"])


def test_progress_may_stop_it_and_nobody_waits_through_all_of_it(monkeypatch):
    monkeypatch.setattr("analyses.attribution.scores.PIXELS", 2 * SIDE * SIDE)  # in batches of two
    model, images = Patches(), pictures(3)
    told, turns = [], []

    @contextmanager
    def turn():
        turns.append("in")
        yield
        turns.append("out")

    def progress(done, total):
        assert turns.count("in") == turns.count("out") == 1 + done  # between two turns
        told.append((done, total))

    gate(model, images, truth(model, images), progress=progress, turn=turn)
    total = told[0][1]
    assert told == [(done, total) for done in range(total)] and turns.count("out") == 1 + total

    def stopping(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gate(model.train(), images, truth(model, images), progress=stopping)
    assert model.training


def test_the_model_is_never_run_nor_copied_out_of_turn(monkeypatch):
    model, images = Patches(), pictures(1)
    attribution, inside = truth(model, images), []

    @contextmanager
    def turn():
        inside.append(True)
        yield
        inside.pop()

    def in_turn(function):
        def checked(*args, **options):
            assert inside
            return function(*args, **options)

        return checked

    for name in ("paths", "redrawn"):
        monkeypatch.setattr(f"analyses.attribution.gate.{name}", in_turn(getattr(gate_module, name)))
    model.register_forward_pre_hook(in_turn(lambda *_: None))
    gate(model, images, attribution, turn=turn)


def test_the_model_is_left_as_it_was():
    model, images = network()
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attribution = explain(model, images)
    gate(model, images, attribution)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())


def test_thresholds_decide():
    model, images = Patches(), pictures(2)
    strict = Thresholds(noise=0.0)
    table = gate(model, images, truth(model, images), thresholds=strict)
    assert set(table["reason"]) == {"changes with noise too faint to see"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {"images": x[:1]}, r"images should be \(B, C, S, S\), the B that are explained"),
        (lambda x: {"regions": np.zeros((2, 3, 6, 6))}, r"regions should be \(2, R, 24, 24\), got \(2, 3, 6, 6\)"),
        (lambda x: {"regions": np.zeros((2, 3, 24, 24))}, "regions should cover something of every picture"),
        (lambda x: {"fills": {"grey": x[:1]}}, r"fill 'grey' should be \(2, 1, 24, 24\)"),
        (lambda x: {"fills": {}}, "fills should have at least one"),
    ],
)
def test_what_does_not_fit_is_told(change, message):
    model, images = Patches(), pictures(2)
    with pytest.raises(ValueError, match=message):
        gate(**{"model": model, "images": images, "attribution": truth(model, images), **change(images)})


def test_maps_that_are_not_finite_are_told():
    model, images = Patches(), pictures(1)
    right = truth(model, images)
    with pytest.raises(ValueError, match="maps should be finite"):
        gate(model, images, replace(right, values={**right.values, "age": right.values["age"] * np.nan}))
