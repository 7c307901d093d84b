import math

import pytest
import torch

from maskmtl.tasks import TASKS, Classes, Distribution, Scalar, Target, TaskSpec

BINARY, THREE, YEARS = Classes(("no", "yes")), Classes(("a", "b", "c")), Scalar("years", 0, 116, mean=30, std=20)


def test_two_classes_share_one_logit():
    logits = torch.tensor([[0.0], [math.log(3)]])
    assert BINARY.out_features == 1
    torch.testing.assert_close(BINARY.probabilities(logits), torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    # -log 0.75 for a yes, -log 0.25 for a no
    torch.testing.assert_close(BINARY.loss(logits[1:], torch.tensor([1.0])), torch.tensor([-math.log(0.75)]))
    torch.testing.assert_close(BINARY.loss(logits[1:], torch.tensor([0.0])), torch.tensor([-math.log(0.25)]))
    assert BINARY.decode(torch.tensor([[-0.1], [0.1]])).tolist() == [0, 1]


def test_binary_score_of_the_first_class_is_the_negative_logit():
    logits = torch.tensor([[2.0], [-3.0]])
    assert BINARY.score(logits, 1).tolist() == [2, -3]
    assert BINARY.score(logits, 0).tolist() == [-2, 3]
    assert BINARY.score(logits).tolist() == [2, 3]  # of the predicted class
    assert BINARY.score(logits, torch.tensor([1, 0])).tolist() == [2, 3]


def test_classes_by_hand():
    logits = torch.log(torch.tensor([[1.0, 2.0, 5.0]]))
    torch.testing.assert_close(THREE.probabilities(logits), torch.tensor([[0.125, 0.25, 0.625]]))
    torch.testing.assert_close(THREE.loss(logits, torch.tensor([1.0])), torch.tensor([math.log(4)]))
    assert THREE.decode(logits).item() == 2
    torch.testing.assert_close(THREE.score(logits, 0), torch.tensor([0.0]))


@pytest.mark.parametrize("index", [-1, 3])
def test_score_refuses_an_index_out_of_range(index):
    with pytest.raises(ValueError, match=rf"index should be in 0\.\.2 .* got {index}"):
        THREE.score(torch.zeros(1, 3), index)


def test_scalar_works_in_standard_units_and_answers_in_years():
    logits = torch.tensor([[0.5], [-9.0], [9.0]])
    assert YEARS.decode(logits).tolist() == [40, 0, 116]  # 30 + 20 x 0.5, then the ends of the range
    torch.testing.assert_close(YEARS.loss(logits[:1], torch.tensor([50.0])), torch.tensor([0.5]))
    squared = Scalar("years", 0, 116, mean=30, std=20, criterion="mse")
    torch.testing.assert_close(squared.loss(logits[:1], torch.tensor([60.0])), torch.tensor([1.0]))


def test_a_distribution_over_years_answers_with_its_median():
    ages = Distribution("years", 20, 24, std=10.0, sigma=1.0)
    assert ages.out_features == 5
    logits = torch.log(torch.tensor([[0.1, 0.3, 0.2, 0.1, 0.3]]))
    assert ages.decode(logits).item() == 22
    assert ages.score(logits).item() == pytest.approx((20 * 0.1 + 21 * 0.3 + 22 * 0.2 + 23 * 0.1 + 24 * 0.3) / 10)
    sure = torch.tensor([[0.0, 0.0, 90.0, 0.0, 0.0]])
    assert ages.decode(sure).item() == 22
    near, far = (ages.loss(sure, torch.tensor([y])).item() for y in (22.0, 24.0))
    wanted = torch.softmax(-torch.tensor([4.0, 1, 0, 1, 4]) / 2, 0)
    assert near == pytest.approx(0.5 * 90 * (1 - wanted[2].item()), rel=1e-4)
    assert far > near + 0.2  # two years of ten
    assert ages.decode(torch.zeros(1, 5)).item() == 22
    assert TaskSpec.from_json(TaskSpec("age", ages).to_json()).target == ages


@pytest.mark.parametrize("spec", TASKS.values(), ids=lambda spec: spec.name)
def test_every_task_keeps_its_contract(spec):
    assert isinstance(spec.target, Target)
    assert TaskSpec.from_json(spec.to_json()) == spec
    logits, y = torch.randn(7, spec.target.out_features), torch.zeros(7)
    for result in (spec.target.loss(logits, y), spec.target.decode(logits), spec.target.score(logits)):
        assert result.shape == (7,)
        assert result.isfinite().all()


def test_wrong_definitions_are_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        Classes(("one",))
    with pytest.raises(ValueError, match=r"criterion should be one of \['l1', 'mse'\], got 'huber'"):
        Scalar("years", 0, 1, criterion="huber")
    with pytest.raises(ValueError, match="std should be positive"):
        Scalar("years", 0, 1, std=0)
    with pytest.raises(ValueError, match="kind of task 'x'"):
        TaskSpec.from_json({"name": "x", "kind": "Mystery"})


def test_imitation_of_a_sure_teacher_is_the_loss_of_its_label():
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    three, two = Classes(("a", "b", "c")), Classes(("a", "b"))
    sure = torch.tensor([[-40.0, 40.0, -40.0]])
    assert three.imitation(logits, sure, three).item() == pytest.approx(three.loss(logits, torch.tensor([1.0])).item())
    assert two.imitation(logits[:, :1], sure[:, :1], two).item() == pytest.approx(
        two.loss(logits[:, :1], torch.tensor([0.0])).item()
    )


def test_imitation_is_least_for_the_teachers_own_answer():
    teacher = torch.tensor([[0.5, -0.2, 1.0, 0.0]])
    for target, width in (
        (Classes(("a", "b", "c", "d")), 4),
        (Classes(("a", "b")), 1),
        (Distribution("years", 0, 3), 4),
    ):
        logits = teacher[:, :width].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(target.imitation(logits, teacher[:, :width], target).sum(), logits)
        assert gradient.abs().max() < 1e-6
        own = teacher[:, :width]
        assert target.imitation(own + torch.eye(width)[:1], own, target) > target.imitation(own, own, target)
    scalar = Scalar("years", 0, 116, mean=30, std=10)
    assert scalar.imitation(torch.tensor([[0.5]]), torch.tensor([[1.5]]), scalar).item() == pytest.approx(1)


def test_a_teachers_value_is_read_in_its_own_unit():
    raw, scaled = Scalar("years", 0, 116), Scalar("years", 0, 116, mean=30, std=10)
    says_43 = {raw: torch.tensor([[43.0]]), scaled: torch.tensor([[1.3]])}
    for student in says_43:
        for teacher, answer in says_43.items():
            assert student.imitation(says_43[student], answer, teacher).item() == pytest.approx(0, abs=1e-5)
