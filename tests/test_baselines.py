from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines import Gradient, InputXGradient, IntegratedGradients
from baselines.path import RULES, integrate, straight_line
from freemcg import BlackBox

METHODS = [Gradient, InputXGradient, IntegratedGradients]


class Smooth(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.Tanh(), nn.Dropout(), nn.Linear(8, 4)).double()

    def forward(self, images):
        return self.layers(images)


@pytest.fixture
def model() -> nn.Module:
    return Smooth().eval()


@pytest.fixture
def batch(images):
    return images.double()


@pytest.mark.parametrize("method", METHODS)
class TestLaws:
    def test_batch_equals_singles_with_a_target_an_image(self, method, model, batch):
        targets = torch.tensor([0, 3, 1, 2, 0])
        together = method(model, batch_size=2).attribute(batch, targets)
        for image, target, values in zip(batch, targets, together, strict=True):
            torch.testing.assert_close(method(model).attribute(image[None], int(target))[0], values)

    def test_none_explains_the_decision(self, method, model, batch):
        decided = model(batch).argmax(dim=1)
        torch.testing.assert_close(method(model).attribute(batch), method(model).attribute(batch, decided))

    def test_constant_model_gives_zero(self, method, model, batch):
        nn.init.zeros_(model.layers[-1].weight)
        assert (method(model).attribute(batch, 1) == 0).all()

    def test_linear_in_the_model(self, method, model, batch):
        first = method(model).attribute(batch, 1)
        model.layers[-1].weight.data *= 3
        torch.testing.assert_close(method(model).attribute(batch, 1), 3 * first)

    def test_model_and_images_are_left_as_found(self, method, model, batch):
        method(model).attribute(batch.requires_grad_(True), 1)
        assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
        assert batch.grad is None
        assert not model.training

    def test_refusals_are_one_sentence(self, method, model, batch):
        with pytest.raises(TypeError) as caught:
            method(BlackBox(model))
        assert str(caught.value) == (
            f"{method.__name__} differentiates the model and needs a torch.nn.Module, got BlackBox; "
            "a model that can only be queried is explained by freemcg.FreeMCG"
        )
        with pytest.raises(ValueError, match=r"there is no class 4; classes are 0\.\.3"):
            method(model).attribute(batch, 4)
        with pytest.raises(ValueError, match="there are 5 images but 2 targets"):
            method(model).attribute(batch, [0, 1])
        with pytest.raises(ValueError, match=r"the model is in training mode.*call model\.eval\(\) first"):
            method(model.train()).attribute(batch, 0)


def test_gradient_equals_finite_differences(model, batch):
    found = Gradient(model).attribute(batch, 2)
    step = torch.zeros_like(batch)
    step[:, 1, 2, 3] = 1e-6
    wanted = (model(batch + step) - model(batch - step))[:, 2] / 2e-6
    torch.testing.assert_close(found[:, 1, 2, 3], wanted, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(InputXGradient(model).attribute(batch, 2), batch * found)


@pytest.mark.parametrize("output", ["logit", "log_probability", "probability"])
@pytest.mark.parametrize("base", [0.0, 1.0])
def test_integrated_gradients_are_complete(model, batch, output, base):
    method = IntegratedGradients(model, base=base, output=output, steps=200)
    targets = torch.full((5,), 2)
    rise = method.value(batch, targets) - method.value(torch.full_like(batch, base), targets)
    torch.testing.assert_close(method.attribute(batch, 2).sum(dim=(1, 2, 3)), rise, rtol=1e-4, atol=1e-6)


def test_closed_forms_of_the_path_engine():
    """f = (2 x1 + x2)^2 from 0 to (3, 3) gives (54, 27); left and right miss it by 81 / N, shared out alike."""
    start, end = torch.zeros(1, 2, dtype=torch.double), torch.full((1, 2), 3, dtype=torch.double)
    weights = torch.tensor([[2.0, 1.0]], dtype=torch.double)
    gradient = lambda x: 2 * (x * weights).sum(1, keepdim=True) * weights  # noqa: E731
    factors = {"left": 1 - 1 / 4, "right": 1 + 1 / 4, "trapezoid": 1, "midpoint": 1}
    for rule in RULES:
        found = integrate(straight_line(start, end, 4), gradient, rule=rule)
        torch.testing.assert_close(found, factors[rule] * torch.tensor([[54.0, 27.0]], dtype=torch.double))
        linear = integrate(straight_line(start, end, 3), weights.expand_as, rule=rule)
        torch.testing.assert_close(linear, weights * 3)
    with pytest.raises(ValueError, match="a path needs at least two points"):
        integrate([start], gradient)
