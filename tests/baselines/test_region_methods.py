"""Grad-CAM and XRAI: closed forms, agreement with captum, what is refused, what is counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import baselines
from freemcg import BlackBox
from freemcg.blackbox.local.white_box import WhiteBox


class Convolutional(nn.Module):
    """Two convolutions, and the logits `weights @ mean of each channel`."""

    def __init__(self, weights) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 2, 3, padding=1, stride=2)
        self.register_buffer("weights", torch.tensor(weights))

    def forward(self, images):
        return self.last(self.first(images).tanh()).mean(dim=(2, 3)) @ self.weights.T


@pytest.fixture
def model():
    return Convolutional([[1.0, -2.0], [0.5, 3.0], [0.0, 0.0]]).eval()


@pytest.fixture
def batch():
    return torch.rand(4, 3, 12, 8, generator=torch.Generator().manual_seed(1))


# --- Grad-CAM ---


def test_the_channels_of_the_last_convolution_are_weighted_by_their_slopes(model, batch):
    """A logit is linear in the mean of a channel, so the slope at each of the 24 places is its weight over 24."""
    maps = baselines.create("grad_cam", model).attribute(batch, [0, 1, 0, 1])
    for image, values, target in zip(batch, maps, [0, 1, 0, 1], strict=True):
        channels = model.last(model.first(image[None]).tanh())
        coarse = (model.weights[target, :, None, None] / 24 * channels).sum(dim=1, keepdim=True).relu()
        wanted = nn.functional.interpolate(coarse, size=(12, 8), mode="bilinear")[0]
        torch.testing.assert_close(values, wanted.expand(3, -1, -1))
    assert maps.max() > 0
    assert maps.min() == 0


def test_the_last_map_is_what_is_pooled(batch):
    """The activation, and neither the convolution before it nor the pooled answer of one place."""
    torch.manual_seed(0)
    pooled = nn.AdaptiveAvgPool2d(1)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), pooled, nn.Flatten(), nn.Linear(4, 3)).eval()
    found = baselines.create("grad_cam", model).attribute(batch, 1)
    assert torch.equal(found, baselines.create("grad_cam", model, layer="1").attribute(batch, 1))
    assert not torch.allclose(found, baselines.create("grad_cam", model, layer="0").attribute(batch, 1))


@pytest.mark.parametrize("layer", ["first", "last"])
def test_it_is_captums(model, batch, layer):
    captum = pytest.importorskip("captum.attr")
    ours = baselines.create("grad_cam", model, layer=layer).attribute(batch, 1)
    coarse = captum.LayerGradCam(model, getattr(model, layer)).attribute(batch, target=1, relu_attributions=True)
    torch.testing.assert_close(ours, captum.LayerAttribution.interpolate(coarse, (12, 8), "bilinear").expand_as(ours))


def test_it_costs_one_gradient_and_leaves_no_hook(model, batch):
    counted = WhiteBox(BlackBox(model))
    baselines.create("grad_cam", counted).attribute(batch, 1)
    assert counted.gradients == len(batch)
    assert not model.first._forward_hooks
    assert not model.last._forward_hooks


def test_a_layer_has_the_name_that_the_users_model_gives_it(model, batch):
    maps = [
        baselines.create("grad_cam", each, layer="first").attribute(batch, 1)
        for each in (model, WhiteBox(BlackBox(model)))
    ]
    assert torch.equal(*maps)


def test_what_has_no_map_is_refused(model, batch):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(288, 2)).eval()
    with pytest.raises(ValueError, match=r"^GradCAM found no convolution in the model; name a layer that answers \(N"):
        baselines.create("grad_cam", flat).attribute(batch, 1)
    with pytest.raises(ValueError, match=r"^GradCAM cannot use the layer '1'; name a layer that answers"):
        baselines.create("grad_cam", flat, layer="1").attribute(batch, 1)
    with pytest.raises(ValueError, match=r"^the model has no layer 'conv'; model.named_modules\(\) lists the names"):
        baselines.create("grad_cam", model, layer="conv")


class Branching(nn.Module):
    """A convolution, and a layer that answers the image cut in four, or a pair, or nothing of use."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.first, self.layer = nn.Conv2d(3, 2, 3), layer

    def forward(self, images):
        logits = self.first(images).mean(dim=(2, 3))
        answer = self.layer(images)
        return logits if isinstance(self.layer, nn.Conv2d) else logits + answer[0].sum()


class Pair(nn.Module):
    def forward(self, images):
        return images.mean(), images


class Quarters(nn.Module):
    def forward(self, images):
        return torch.cat([images[..., ::2, ::2], images[..., 1::2, 1::2]])


def test_a_layer_without_a_map_for_each_image_is_refused(batch):
    for layer in (Pair(), Quarters()):
        with pytest.raises(ValueError, match=r"^GradCAM cannot use the layer 'layer'; name a layer that answers"):
            baselines.create("grad_cam", Branching(layer).eval(), layer="layer").attribute(batch, 1)
    unused = Branching(nn.Conv2d(3, 2, 3)).eval()
    with pytest.raises(ValueError, match=r"^no answer of the model depends on its last map; name another layer"):
        baselines.create("grad_cam", unused).attribute(batch, 1)
    with pytest.raises(ValueError, match=r"^no answer of the model depends on its layer 'layer'; name another layer"):
        baselines.create("grad_cam", unused, layer="layer").attribute(batch, 1)


@pytest.mark.parametrize("layer", [None, "0"])
def test_what_follows_in_place_does_not_change_the_map(batch, layer):
    """The channels are what the convolution answers, though the next layer overwrites them."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)]
    maps = []
    for inplace in (False, True):
        model = nn.Sequential(layers[0], nn.ReLU(inplace=inplace), *layers[1:]).eval()
        maps.append(baselines.create("grad_cam", model, layer=layer).attribute(batch, 1))
    assert maps[0].max() > 0
    assert torch.equal(*maps)


# --- XRAI ---


class HalfBright(nn.Module):
    """The mean brightness of the left half is the first logit."""

    def forward(self, images):
        left = images[..., : images.shape[-1] // 2].mean(dim=(1, 2, 3))
        return torch.stack([left, torch.zeros_like(left)], dim=1)


def halves(channels=3):
    """Dark on the left and bright on the right, with some texture."""
    image = torch.full((1, channels, 32, 32), 0.2)
    image[..., 16:] = 0.9
    return image + 0.02 * torch.rand(image.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_region_gets_the_mean_attribution_of_its_pixels(channels):
    """From black the left half gets x / 512, from white x - 1; their mean is that of 2 x - 1, over 1,024 numbers."""
    image = halves(channels)
    values = baselines.create("xrai", HalfBright().eval(), steps=4).attribute(image, 0)
    assert values.shape == image.shape
    assert (values == values[:, :1]).all()
    left = (2 * image[..., :16] - 1).amax(dim=1).mean() / (2 * 512 * channels)
    inner = values[0, 0, 6:-6, 6:10]  # regions are widened by 5 pixels at their edges
    torch.testing.assert_close(inner, torch.full_like(inner, left.item()), rtol=0.1, atol=0)
    assert values[0, 0, :, 28:].abs().max() < 1e-9


def test_xrai_costs_twice_its_steps_and_keeps_within_a_cost(batch):
    counted = WhiteBox(BlackBox(HalfBright().eval(), scores="logits"))
    baselines.create("xrai", counted, **baselines.settings_within("xrai", 11)).attribute(batch, 0)
    assert counted.gradients == 10 * len(batch)


def test_an_image_of_one_colour_is_one_region():
    values = baselines.create("xrai", HalfBright().eval(), steps=2).attribute(torch.full((1, 3, 32, 32), 0.7), 0)
    assert values.isfinite().all()
    assert values.std() == 0
