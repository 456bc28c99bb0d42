"""IG2 where its path is a straight line that is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.ig2 import IG2
from freemcg import BlackBox
from freemcg.blackbox.local.white_box import WhiteBox

SHAPE = (1, 4, 4)
STEPS, STEP = 20, 0.002


class TwoLayers(nn.Module):
    """Logits `[-v, v]` with `v = slope . (x - 1/2)`, or `exp(v) - 1`. The layer `hidden` sees only pixel 3."""

    def __init__(self, curved: bool = False) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(16, generator=torch.Generator().manual_seed(1)).double())
        self.hidden = nn.Linear(16, 1, bias=False).double()
        self.curved = curved
        with torch.no_grad():
            self.hidden.weight[:] = torch.eye(16)[3]

    def forward(self, images):
        flat = images.flatten(1) - 0.5
        value = flat @ self.slope + 0 * self.hidden(flat)[:, 0]
        value = value.exp() - 1 if self.curved else value
        return torch.stack([-value, value], dim=1)


@pytest.fixture
def model():
    return TwoLayers().eval()


def image_of(model, value: float) -> torch.Tensor:
    """The image whose `v` is `value`, along the slope from mid-grey."""
    slope = model.slope.detach()
    return (0.5 + value * slope / slope.square().sum()).reshape(1, *SHAPE)


def test_linear_model_gives_squared_weights_times_the_way(model):
    """The path goes straight along the slope. Each step adds `w_i * step * w_i / rms(w)`, for either class."""
    slope = model.slope.detach().reshape(SHAPE)
    rms = slope.square().mean().sqrt()
    references = torch.cat([image_of(model, 2.0), image_of(model, -2.0)])
    method = IG2(model, references=references, steps=STEPS, step_size=STEP)
    wanted = slope**2 * STEPS * STEP / rms
    torch.testing.assert_close(method.attribute(image_of(model, 1.0), 1)[0], wanted)
    torch.testing.assert_close(method.attribute(image_of(model, -1.0), 0)[0], wanted)


def test_sum_is_the_fall_of_the_score_along_the_path_whatever_the_model():
    """The residual falls as one over the steps, for the same length of the path."""
    model = TwoLayers(curved=True).eval()
    residuals = []
    for steps in (10, 40):
        method = IG2(model, references=image_of(model, -1.0), steps=steps, step_size=0.1 / steps)
        explained = method.explain(image_of(model, 0.6), 1)
        residuals.append(abs(explained.residual.item()))
        assert explained.values.sum() > 0
    assert residuals[0] / residuals[1] == pytest.approx(4, rel=0.1)


def test_each_step_takes_the_gradient_where_it_begins(model):
    """For `f = exp(v) - 1` the path is as straight, and step `j` begins at `v_j = v_0 - j * step * |w|^2 / rms(w)`."""
    model = TwoLayers(curved=True).eval()
    slope = model.slope.detach().reshape(SHAPE)
    rms = slope.square().mean().sqrt()
    method = IG2(model, references=image_of(model, -2.0), steps=3, step_size=STEP)
    begins = 0.5 - torch.arange(3) * STEP * slope.square().sum() / rms
    wanted = begins.exp().sum() * slope**2 * STEP / rms
    torch.testing.assert_close(method.attribute(image_of(model, 0.5), 1)[0], wanted)


def test_representation_decides_the_path(model):
    """Only pixel 3 plays a part in the layer, so only that pixel moves: by `step * sqrt(D)` a step."""
    method = IG2(model, references=image_of(model, -2.0), steps=3, step_size=STEP, representation="hidden")
    found = method.attribute(image_of(model, 1.0), 1).flatten()
    moved = image_of(model, -2.0).flatten()[3] - image_of(model, 1.0).flatten()[3]
    wanted = torch.zeros(16, dtype=torch.double)
    wanted[3] = -model.slope.detach()[3] * moved.sign() * 3 * STEP * 4
    torch.testing.assert_close(found, wanted)
    assert not model.hidden._forward_hooks


def test_references_of_the_class_explained_are_left_out(model):
    both = torch.cat([image_of(model, 3.0), image_of(model, -2.0)])
    settings = {"steps": 3, "step_size": STEP}
    found = IG2(model, references=both, n_references=2, **settings).attribute(image_of(model, 1.0), 1)
    wanted = IG2(model, references=both[1:], **settings).attribute(image_of(model, 1.0), 1)
    torch.testing.assert_close(found, wanted)
    with pytest.raises(ValueError) as caught:
        IG2(model, references=both[:1]).attribute(image_of(model, 1.0), 1)
    assert str(caught.value) == "all references are decided as class 1; add images of other classes"


def test_cost_in_gradients():
    model = TwoLayers().float().eval()
    white = WhiteBox(BlackBox(model))
    references = image_of(model, -2.0)
    IG2(white, references=references, **IG2.within(9)).attribute(image_of(model, 1.0), 1)
    assert white.gradients == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"n_references": 0}, "n_references must be >= 1, got 0"),
        ({"step_size": 0}, "step_size must be > 0, got 0"),
        ({"representation": "last"}, "the model has no submodule 'last'; see model.named_modules()"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(settings, message, model):
    with pytest.raises(ValueError) as caught:
        IG2(model, references=image_of(model, -1.0), **settings)
    assert str(caught.value) == message
