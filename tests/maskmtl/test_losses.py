import numpy as np
import pandas as pd
import pytest
import torch

from maskmtl.losses import Mean, constant_losses, terms
from maskmtl.tasks import TASKS, TaskSpec
from maskmtl.training import AGE_LOSSES, training_specs

TABLE = pd.DataFrame({"age": [10.0, 20, 60], "gender": 0, "ethnicity": 0})
SPECS = {"age": training_specs(TABLE, "l1_years")["age"], "gender": TASKS["gender"]}
LOGITS = {"age": torch.tensor([[25.0], [75.0]]), "gender": torch.zeros(2, 1)}
LABELS = {"age": torch.tensor([20.0, 60.0]), "gender": torch.tensor([0.0, torch.nan])}


def mean(*args, **settings):
    return {name: loss.item() for name, loss in Mean()(terms(*args, **settings)).items()}


class TestMixed:
    def test_faces_have_the_losses_of_both_labels(self):
        losses = mean(SPECS, LOGITS, LABELS, np.arange(2), 0.75)
        assert losses["age"] == pytest.approx(0.75 * (5 + 15) / 2 + 0.25 * (35 + 55) / 2)
        assert losses["gender"] == pytest.approx(np.log(2))
        assert mean(SPECS, LOGITS, LABELS, np.arange(2))["age"] == pytest.approx(10)

    def test_without_any_label_nothing_is_lost(self):
        nothing = {name: torch.full((2,), torch.nan) for name in LABELS}
        assert set(mean(SPECS, LOGITS, nothing, np.arange(2)).values()) == {0}

    def test_a_teacher_is_heard_beside_the_labels_and_where_there_is_none(self):
        imitation = {"age": torch.tensor([1.0, 3.0]), "gender": torch.tensor([4.0, 8.0])}
        losses = mean(SPECS, LOGITS, LABELS, np.arange(2), 0.75, imitation)
        assert losses["age"] == pytest.approx(0.75 * 10 + 0.25 * 45 + 2)
        assert losses["gender"] == pytest.approx(np.log(2) + 6)

    def test_terms_say_whose_labels_they_are(self):
        found = terms(SPECS, LOGITS, LABELS, np.array([7, 9]), 0.75, {"age": torch.ones(2)})
        assert [(term.weight, term.faces.tolist()) for term in found] == [
            (0.75, [7, 9]), (0.25, [9, 7]), (0.75, [7, 9]), (0.25, [9, 7]),
        ]  # fmt: skip


def test_constant_answers_by_hand():
    y = {"age": torch.tensor([10.0, 20, 60]), "gender": torch.tensor([0.0, 1, torch.nan]), "ethnicity": torch.zeros(3)}
    cost = constant_losses(training_specs(TABLE, "l1_years"), y)
    np.testing.assert_allclose(cost, [50 / 3, np.log(2), 1], rtol=1e-6)  # of labels that are all alike: 1


@pytest.mark.parametrize("age_loss", [*AGE_LOSSES, "distribution"])
def test_no_other_constant_answer_costs_less(age_loss):
    rng = np.random.default_rng(0)
    ages, classes = rng.gamma(4, 9, 200).clip(0, 116).round(), rng.integers(0, 5, 200)
    y = {"age": torch.tensor(ages), "ethnicity": torch.tensor(classes, dtype=torch.float64)}
    specs = training_specs(pd.DataFrame({"age": ages, "gender": 0, "ethnicity": classes}), age_loss)
    specs = {name: specs[name] for name in y}
    found = dict(zip(specs, constant_losses(specs, y).tolist(), strict=True))
    for name, spec in specs.items():
        target, labels = spec.target, y[name]
        answer = target.constant(labels)
        near = 0.01 if name == "age" and age_loss == "distribution" else 1e-9  # of a distribution: about the best
        for _ in range(20):
            other = answer + 0.3 * torch.randn(answer.shape)
            cost = target.loss(other.expand(len(labels), -1), labels).mean().item()
            assert cost > found[name] - near
        assert found[name] > 0.5


def test_a_distribution_costs_more_than_its_distance():
    y = {"age": torch.tensor(TABLE["age"].to_numpy())}
    whole = constant_losses({"age": training_specs(TABLE, "distribution")["age"]}, y).item()
    distance = constant_losses({"age": TaskSpec("age", training_specs(TABLE, "l1_z")["age"].target)}, y).item()
    assert whole > distance + 0.5  # half the cross-entropy
