"""Properties that an explanation must have, on functions whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from baselines import Gradient, IntegratedGradients
from freemcg.evaluation import (
    cascading_randomisation,
    fool_gradient,
    implementation_difference,
    informative_changes,
    randomised,
    rewritten,
    spearman,
)
from freemcg.evaluation.fooling import attacked_map, gradient_shares, softened


def network(activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        activation(),
        nn.Conv2d(6, 6, 3, groups=2),
        activation(),
        nn.Flatten(),
        nn.Linear(48, 8),
        activation(),
        nn.Linear(8, 4, bias=False),
    ).eval()


# --- rank correlation ---


def test_spearman_of_small_rankings_by_hand():
    """Without ties it is 1 - 6 sum d^2 / (n (n^2 - 1)). With ties it is Pearson's of mean ranks: (1, 2.5, 2.5, 4)."""
    first = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [0.0, 5.0, 5.0, 9.0]])
    second = torch.tensor([[10.0, 20.0, 40.0, 30.0], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    wanted = torch.tensor([1 - 6 * 2 / 60, -1, 4.5 / (4.5 * 5) ** 0.5], dtype=torch.double)
    torch.testing.assert_close(spearman(first, second), wanted)


def test_spearman_sees_the_order_alone(images):
    torch.testing.assert_close(spearman(images, (5 * images).exp()), torch.ones(5, dtype=torch.double))
    torch.testing.assert_close(spearman(images, -(images**3)), -torch.ones(5, dtype=torch.double))


def test_spearman_equals_scipys(rng):
    stats = pytest.importorskip("scipy.stats")
    first, second = (torch.randint(6, (3, 40), generator=rng) for _ in range(2))
    wanted = [stats.spearmanr(a.numpy(), b.numpy()).statistic for a, b in zip(first, second, strict=True)]
    assert spearman(first, second).tolist() == pytest.approx(wanted)


def test_a_map_of_one_value_correlates_with_nothing(images):
    assert spearman(images, torch.ones_like(images)).tolist() == [0] * 5


def test_spearman_refuses_two_shapes():
    with pytest.raises(ValueError) as caught:
        spearman(torch.zeros(2, 3), torch.zeros(2, 4))
    assert str(caught.value) == "maps to correlate must have one shape, got (2, 3) and (2, 4)"


# --- model randomisation ---


def test_layers_become_random_from_the_output_down():
    model = network()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    stages = list(randomised(model, seed=1))
    assert [name for name, _ in stages] == ["7", "5", "2", "0"]
    for index, (_, copied) in enumerate(stages):
        random = tuple(f"{name}." for name, _ in stages[: index + 1])
        for name, value in copied.state_dict().items():
            assert torch.equal(value, weights[name]) != name.startswith(random)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    for (_, once), (_, again) in zip(stages, randomised(model, seed=1), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(once.parameters(), again.parameters(), strict=True))
    assert not torch.equal(next(randomised(model, seed=2))[1][7].weight, stages[0][1][7].weight)


def test_what_does_not_read_the_model_stays_at_one(images):
    edges = images - images.roll(1, dims=3)
    stages = cascading_randomisation(network(), lambda model: edges)
    assert [stage.layer for stage in stages] == ["", "7", "5", "2", "0"]
    for stage in stages:
        torch.testing.assert_close(stage.signed, torch.ones(5, dtype=torch.double))
        torch.testing.assert_close(stage.absolute, torch.ones(5, dtype=torch.double))


def test_the_gradient_of_a_linear_model_is_lost_with_its_weights():
    """Its gradient is the weights. With fresh weights the correlation is noise, of deviation 1 / sqrt(D - 1)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(1024, 4)).eval()
    images = torch.rand(4, 1, 32, 32)
    targets = torch.arange(4)
    first, last = cascading_randomisation(model, lambda each: Gradient(each).attribute(images, targets))
    torch.testing.assert_close(first.signed, torch.ones(4, dtype=torch.double))
    assert last.signed.abs().max() < 4 / 1023**0.5
    assert last.absolute.abs().max() < 4 / 1023**0.5


def test_signed_and_absolute_correlations_tell_a_turned_sign(images):
    maps = iter([images - 0.5, images - 0.5, 0.5 - images])
    _, turned = cascading_randomisation(nn.Linear(2, 2), lambda model: next(maps))
    torch.testing.assert_close(turned.signed, -torch.ones(5, dtype=torch.double))
    torch.testing.assert_close(turned.absolute, torch.ones(5, dtype=torch.double))


# --- implementation invariance ---


def test_a_rewritten_model_has_other_layers_and_the_same_function(images):
    model = network().double()
    copied = rewritten(model, seed=3)
    torch.testing.assert_close(copied(images.double()), model(images.double()))
    assert [type(layer).__name__ for layer in copied[0]] == ["Conv2d", "Conv2d"]
    assert [type(layer).__name__ for layer in copied[7]] == ["Linear", "Linear"]
    assert type(copied[2]).__name__ == "Conv2d"  # a grouped layer stays as it is
    assert not torch.allclose(copied[5][0].weight, model[5].weight)
    assert isinstance(model[0], nn.Conv2d)
    linear = nn.Linear(3, 2)
    torch.testing.assert_close(rewritten(linear)(torch.eye(3)), linear(torch.eye(3)))


def test_the_gradient_is_invariant_and_a_hidden_unit_is_not(images):
    model = network().double()
    difference = implementation_difference(model, lambda each: Gradient(each).attribute(images.double(), 1))
    assert difference.max() < 1e-12

    def first_layer(each: nn.Module) -> torch.Tensor:
        layer = each[0] if isinstance(each[0], nn.Conv2d) else each[0][0]
        return layer(images.double()).detach()

    assert implementation_difference(model, first_layer).min() > 0.1


def test_the_difference_is_relative_to_the_largest_value(images):
    maps = iter([images, images + 0.3])
    difference = implementation_difference(nn.Linear(2, 2), lambda model: next(maps))
    torch.testing.assert_close(difference, 0.3 / images.flatten(1).amax(dim=1))


# --- fooling attack ---


class Product(nn.Module):
    """Logits `(4 x y, 0)` of an image of two pixels `x, y`: their gradient is `4 (y, x)`."""

    def forward(self, images):
        x, y = images.flatten(1).T
        return torch.stack([4 * x * y, torch.zeros_like(x)], dim=1)


def test_the_attack_finds_the_only_image_with_this_answer_and_that_gradient():
    """`x y = c` and `y / (x + y) = a` have one solution, `x = sqrt(c (1 - a) / a)` and `y = sqrt(c a / (1 - a))`."""
    image = torch.tensor([0.5, 0.5], dtype=torch.double).reshape(1, 1, 1, 2)
    wanted = torch.tensor([0.7, 0.3], dtype=torch.double).reshape(1, 1, 1, 2)
    found = fool_gradient(Product().eval(), image, torch.tensor([0]), 5 * wanted, reach=1.0, steps=1500, keep=10.0)
    solution = torch.tensor([(0.25 * 0.3 / 0.7) ** 0.5, (0.25 * 0.7 / 0.3) ** 0.5], dtype=torch.double)
    torch.testing.assert_close(found.flatten(), solution, atol=1e-3, rtol=0)


class Weighted(nn.Module):
    """One logit, `2 x + 3 y`."""

    def forward(self, images):
        return (images.flatten(1) @ torch.tensor([[2.0], [3.0]], dtype=images.dtype)).reshape(-1, 1)


def test_the_attack_on_integrated_gradients_finds_the_only_image_with_this_answer_and_that_map():
    """For a linear `f` they are `w x`, so `w x / f = a` and `f = c` have one solution, `x = a c / w`."""
    image = torch.tensor([0.5, 0.5], dtype=torch.double).reshape(1, 1, 1, 2)
    wanted = torch.tensor([0.3, 0.7], dtype=torch.double).reshape(1, 1, 1, 2)
    options = {"reach": 1.0, "steps": 1500, "keep": 10.0, "points": 3}
    found = fool_gradient(Weighted().eval(), image, torch.tensor([0]), 5 * wanted, **options)
    solution = torch.tensor([0.3 * 2.5 / 2, 0.7 * 2.5 / 3], dtype=torch.double)
    torch.testing.assert_close(found.flatten(), solution, atol=1e-3, rtol=0)


def test_integrated_gradients_under_attack_are_those_of_the_baseline(images):
    model, targets = network(nn.Tanh), torch.tensor([0, 1, 2, 3, 0])
    wanted = IntegratedGradients(model, steps=4).attribute(images, targets)
    torch.testing.assert_close(attacked_map(model, images.requires_grad_(True), targets, 4).detach(), wanted)


def test_the_attack_keeps_within_reach_and_leaves_the_model_alone(images):
    model = network()
    targets = model(images).argmax(dim=1)
    wanted = images.flip(0)
    found = fool_gradient(model, images, targets, wanted, reach=0.03, steps=20, learning_rate=0.02)
    assert (found - images).abs().max() == pytest.approx(0.03, abs=1e-6)
    assert found.min() >= 0
    assert found.max() <= 1
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert isinstance(model[1], nn.ReLU)


def test_the_attack_lowers_what_it_minimises(images):
    """At the start the answers are kept exactly, so the loss at the end is at most the first miss."""
    model = network(nn.Tanh)
    targets, wanted = torch.tensor([0, 1, 2, 3, 0]), images.flip(0)
    found = fool_gradient(model, images, targets, wanted, steps=20, learning_rate=0.02, keep=100.0)

    def missed(batch):
        maps = gradient_shares(Gradient(model).attribute(batch, targets)) - gradient_shares(wanted)
        return maps.square().flatten(1).sum(dim=1) / gradient_shares(wanted).square().flatten(1).sum(dim=1)

    first, last = missed(images), missed(found)
    others = torch.tensor([0, 1, 3, 4])  # the third is already what it should become
    assert (last[others] < first[others]).all()
    assert (100 * (model(found) - model(images)).square().mean(dim=1) <= first - last + 1e-6).all()


def test_no_steps_change_nothing_and_neighbours_change_nothing(images):
    model, targets = network(), torch.tensor([0, 1, 2, 3, 0])
    assert torch.equal(fool_gradient(model, images, targets, images.flip(0), steps=0), images)
    together = fool_gradient(model, images, targets, images.flip(0), steps=5)
    alone = fool_gradient(model, images[1:2], targets[1:2], images.flip(0)[1:2], steps=5)
    torch.testing.assert_close(together[1:2], alone)


def test_a_softened_model_is_off_by_at_most_ln_2_over_the_softness():
    model = nn.Sequential(nn.ReLU(), nn.Identity())
    values = torch.linspace(-2, 2, 401, dtype=torch.double)
    difference = softened(model, 10.0)(values) - model(values)
    assert difference.max().item() == pytest.approx(torch.tensor(2.0).log().item() / 10)
    assert difference.min() >= 0


def test_the_attack_refuses_what_does_not_fit(images):
    model = network()
    with pytest.raises(ValueError) as caught:
        fool_gradient(model, images, torch.tensor([0, 1]), images)
    assert str(caught.value) == (
        "for images (5, 3, 6, 4) give as many targets and maps of the same shape, got (2,) and (5, 3, 6, 4)"
    )
    with pytest.raises(ValueError, match=r"the model is in training mode.*call model\.eval\(\) first"):
        fool_gradient(model.train(), images, torch.zeros(5).long(), images)


# --- informative change ---


def test_a_change_informs_where_the_judge_changes_to_the_target():
    """Class 1 is bright. Three images have target 1: one becomes bright, one was bright, one stays dark.

    The fourth has target 0 and becomes dark.
    """

    def result(before: float, after: float, target: int) -> SimpleNamespace:
        return SimpleNamespace(
            original=torch.full((1, 2, 2), before), image=torch.full((1, 2, 2), after), target=target, flipped=True
        )

    def judge(images):
        bright = images.mean(dim=(1, 2, 3))
        return torch.stack([1 - bright, bright], dim=1)

    results = [result(0.1, 0.9, 1), result(0.8, 0.9, 1), result(0.1, 0.4, 1), result(0.9, 0.1, 0)]
    assert informative_changes(results, judge).tolist() == [True, False, False, True]
