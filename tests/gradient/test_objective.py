from __future__ import annotations

import math

import pytest
import torch

from freemcg import FreeMCG
from freemcg.gradient.objective import OBJECTIVES, gradient_in_scores, log_odds, log_probability
from freemcg.messages.errors import InvalidValue

PROBABILITIES = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.25, 0.25], [0.02, 0.08, 0.9]], dtype=torch.float64)


def by_hand(name, row, target):
    """Each objective, computed from the probabilities themselves."""
    p, others = row[target], [q for index, q in enumerate(row) if index != target]
    return {
        "log_odds": lambda: math.log(p / (1 - p)),
        "log_probability": lambda: math.log(p),
        "logit": lambda: math.log(p) - sum(math.log(q) for q in row) / len(row),
        "margin": lambda: math.log(p) - math.log(max(others)),
    }[name]()


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_in_closed_form(name, target):
    expected = [by_hand(name, row, target) for row in PROBABILITIES.tolist()]
    torch.testing.assert_close(OBJECTIVES[name](PROBABILITIES.log(), target), torch.tensor(expected).double())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_classes_make_log_odds_and_margin_the_difference_of_logits(name):
    logits = torch.tensor([[0.3, 2.0], [-40.0, 5.0]]).double()
    difference = logits[:, 1] - logits[:, 0]
    expected = {"log_odds": difference, "margin": difference, "logit": difference / 2}.get(
        name, difference - torch.log1p(difference.exp())
    )
    torch.testing.assert_close(OBJECTIVES[name](logits.log_softmax(dim=1), 1), expected)


def test_log_odds_go_on_growing_where_the_probability_has_rounded_to_one():
    logits = torch.tensor([[60.0, 0.0, 0.0], [90.0, 0.0, 0.0]])
    log_probabilities = logits.log_softmax(dim=1)
    assert (log_probabilities[:, 0].exp() == 1).all()
    torch.testing.assert_close(log_odds(log_probabilities, 0), torch.tensor([60, 90]) - math.log(2))


@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient_in_scores_in_closed_form(name, target):
    scores = PROBABILITIES.log() + torch.tensor([[3.0], [0.0], [-7.0]])  # logits, whose offset does not matter
    onehot = torch.eye(3, dtype=torch.float64)[target]
    others = PROBABILITIES * (1 - onehot)
    expected = {
        "log_probability": onehot - PROBABILITIES,
        "log_odds": onehot - others / others.sum(dim=1, keepdim=True),
        "logit": (onehot - 1 / 3).expand(3, 3),
    }
    # the middle row has two equal runners-up for target 0: the margin has no gradient there
    rows = [0, 2] if name == "margin" else [0, 1, 2]
    expected["margin"] = onehot - torch.eye(3, dtype=torch.float64)[others.argmax(dim=1)]
    with torch.no_grad():
        gradient = gradient_in_scores(OBJECTIVES[name], scores, target)
    torch.testing.assert_close(gradient[rows], expected[name][rows])
    assert not scores.requires_grad


def test_gradient_of_a_callable_of_the_users():
    gradient = gradient_in_scores(lambda scores, target: 2 * log_probability(scores, target), PROBABILITIES.log(), 1)
    onehot = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(gradient, 2 * (onehot - PROBABILITIES))


@pytest.mark.parametrize(
    ("objective", "got"),
    [
        (lambda rows, target: rows, r"shape \(1, 3\)"),
        (lambda rows, target: rows[:, target].sum(), r"shape \(\)"),
        (lambda rows, target: 3.0, "a float"),
        (lambda rows, target: rows[:, target] * math.nan, "NaN or infinity"),
    ],
)
def test_an_objective_that_answers_otherwise_costs_one_query(classifier, denoiser, image, objective, got):
    explainer = FreeMCG(classifier, denoiser, objective=objective)
    said = r"^the objective must answer a tensor of shape \(1,\), a finite number an image, got "
    with pytest.raises(InvalidValue, match=f"{said}{got}$"):
        explainer.explain(image)
    assert explainer.black_box.queries == 1
