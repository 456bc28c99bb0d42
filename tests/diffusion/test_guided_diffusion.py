"""Checkpoints of guided-diffusion as pipelines of diffusers, against a direct implementation of that UNet."""

from __future__ import annotations

import math
import re

import pytest
import torch
from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention, AttnProcessor
from guided_unet import GuidedUNet, Shape, random_unet

from freemcg.diffusion.guided_diffusion import convert
from freemcg.messages.errors import InvalidValue

PLAIN = Shape(resblock_updown=False, scale_shift=False, learned_variance=False)
SHAPES = {
    "as released": Shape(blocks=2, multipliers=(1, 1, 2), attention=(1, 2)),
    "convolutions, time added, no variance, new order": Shape(
        blocks=2, resblock_updown=False, scale_shift=False, learned_variance=False, new_order=True
    ),
    "classes, grey": Shape(image_channels=1, multipliers=(1, 2, 3), attention=(0, 2), classes=5, head_channels=32),
    "attention in the middle only, four heads": Shape(scale_shift=False, attention=(), heads=4, blocks=3),
    "one head whatever the level": Shape(heads=1, attention=(0, 1), resblock_updown=False, new_order=True),
    "four heads, of another width on each level": Shape(multipliers=(1, 2, 4), attention=(1, 2), heads=4),
    "two heads on every level, new order": Shape(
        multipliers=(1, 3), attention=(0, 1), heads=2, resblock_updown=False, new_order=True, classes=5
    ),
    "one level": Shape(multipliers=(1,), attention=(0,), heads=2, blocks=1, learned_variance=False),
}
IMAGENET_256 = Shape(width=256, multipliers=(1, 1, 2, 2, 4, 4), blocks=2, attention=(3, 4, 5), head_channels=64)
IMAGENET_128 = Shape(width=256, multipliers=(1, 1, 2, 3, 4), blocks=2, attention=(2, 3, 4), heads=4, classes=1000)
IMAGENET_64 = Shape(width=192, multipliers=(1, 2, 3, 4), blocks=3, attention=(1, 2, 3), classes=1000, new_order=True)


def converted(shape, state, **flags):
    heads = {"num_head_channels": shape.head_channels} if shape.heads is None else {"num_heads": shape.heads}
    return convert(state, "some.pt", **{**heads, "new_attention_order": shape.new_order, **flags})[0]


def answers(network, unet, shape, rng):
    """What the network and its conversion answer to the same noisy images at two times."""
    x_t = torch.randn(2, shape.image_channels, 16, 16, generator=rng)
    t, classes = torch.tensor([3, 700]), None if shape.classes is None else torch.tensor([1, 4])
    with torch.no_grad():
        return network(x_t, t, classes), unet(x_t, t, class_labels=classes).sample


def difference(expected, found):
    return ((found - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_conversion_answers_as_the_network_does(shape, rng):
    network = random_unet(shape)
    expected, found = answers(network, converted(shape, network.state_dict()).unet, shape, rng)
    assert expected.std() > 0.1
    assert difference(expected, found) <= 1e-5


@pytest.mark.parametrize("shape", [SHAPES["as released"], SHAPES["convolutions, time added, no variance, new order"]])
def test_the_other_order_of_queries_keys_and_values_answers_otherwise(shape, rng):
    network = random_unet(shape)
    wrong = converted(shape, network.state_dict(), new_attention_order=not shape.new_order)
    assert difference(*answers(network, wrong.unet, shape, rng)) > 0.01


def test_another_width_of_heads_answers_otherwise(rng):
    shape = SHAPES["as released"]
    network = random_unet(shape)
    wrong = converted(shape, network.state_dict(), num_head_channels=32)
    assert difference(*answers(network, wrong.unet, shape, rng)) > 0.01


def test_heads_of_one_width_on_every_level_answer_otherwise(rng):
    shape = SHAPES["four heads, of another width on each level"]
    network = random_unet(shape)
    unet = converted(shape, network.state_dict()).unet
    for width in (8, 16):  # of the first level with attention, and of the coarsest in the middle
        plain = UNet2DModel(**{**unet.config, "attention_head_dim": width}).eval()
        plain.load_state_dict(unet.state_dict())
        assert difference(*answers(network, plain, shape, rng)) > 0.01


def test_both_ways_to_compute_attention_know_the_heads(rng):
    """`AttnProcessor` reads the scale of the products from the layer; the usual one derives it from the heads."""
    shape = SHAPES["four heads, of another width on each level"]
    network = random_unet(shape)
    unet = converted(shape, network.state_dict()).unet
    for layer in (each for each in unet.modules() if isinstance(each, Attention)):
        layer.set_processor(AttnProcessor())
    assert difference(*answers(network, unet, shape, rng)) <= 1e-5


def on_meta(shape):
    with torch.device("meta"):
        return GuidedUNet(shape)


@pytest.mark.parametrize(
    ("shape", "millions", "size", "schedule"),
    [
        (IMAGENET_256, 552.8, 256, "linear"),
        (IMAGENET_128, 421.5, 128, "linear"),
        (IMAGENET_64, 295.9, 64, "squaredcos_cap_v2"),
    ],
)
def test_the_released_models_are_converted_without_a_flag(shape, millions, size, schedule):
    state = on_meta(shape).state_dict()
    pipeline, flags = convert(state, "released.pt")
    found = pipeline.unet.state_dict()
    assert round(sum(weight.numel() for weight in found.values()) / 1e6, 1) == millions
    assert sum(weight.numel() for weight in found.values()) == sum(weight.numel() for weight in state.values())
    assert len(found) == len(state) + 2 * sum(".qkv." in name for name in state)  # one tensor becomes three
    assert (flags.num_head_channels, flags.num_heads) == ((64, None) if shape.heads is None else (None, 4))
    assert (flags.image_size, flags.new_attention_order) == (size, shape.new_order)
    assert pipeline.unet.config.sample_size == size
    assert pipeline.scheduler.config.beta_schedule == schedule
    assert pipeline.scheduler.config.variance_type == "learned_range"


def test_a_time_embedding_wider_than_the_first_level_is_refused():
    state = on_meta(IMAGENET_64).state_dict()
    state["time_embed.0.weight"] = torch.empty(768, 384, device="meta")
    message = (
        "the first level of released.pt has 192 channels and its time embedding 384 (time_embed.0.weight), which "
        "diffusers.UNet2DModel cannot represent; take a model whose first multiplier is 1"
    )
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        convert(state, "released.pt")


LAID_OUT = Shape(multipliers=(1, 1), blocks=1, attention=(1,), head_channels=32)


CONVOLUTIONS = Shape(multipliers=(1, 1), attention=(0,), resblock_updown=False, head_channels=32)


@pytest.mark.parametrize("shape", [LAID_OUT, CONVOLUTIONS])
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(shape):
    state = on_meta(shape).state_dict()
    assert len(state) > 80
    for name in list(state)[::9]:
        with pytest.raises(InvalidValue, match=rf"{re.escape(name)}\b.*; take the state dict"):
            converted(shape, {other: weight for other, weight in state.items() if other != name})
    for name, weight in list(state.items())[4::9]:
        longer = weight.new_empty(len(weight) + 32, *weight.shape[1:])
        with pytest.raises(InvalidValue, match=re.escape(f"{name} {tuple(longer.shape)} for {tuple(weight.shape)}")):
            converted(shape, {**state, name: longer})


@pytest.mark.parametrize(
    "name",
    [
        "rgb_to_grey.weight",
        "input_blocks.1.2.norm.weight",
        "output_blocks.9.0.in_layers.0.weight",
        "input_blocks.x.y.z",
    ],
)
def test_a_tensor_too_many_is_named(name):
    state = {**on_meta(LAID_OUT).state_dict(), name: torch.empty(32, device="meta")}
    with pytest.raises(InvalidValue, match=f"unknown: {re.escape(name)}"):
        converted(LAID_OUT, state)


REFUSED = [
    (
        *(LAID_OUT, "input_blocks.", {}),
        "some.pt is not a UNet of guided-diffusion (input_blocks.1.0.out_layers.3.weight is missing); take the state "
        "dict of an image model of that program, unchanged",
    ),
    (
        *(Shape(image_channels=6), "nothing", {}),
        "the network of some.pt takes 6 channels (input_blocks.0.0.weight); take one that makes grey (1) or colour (3) "
        "images out of noise alone",
    ),
    (
        *(LAID_OUT, "nothing", {"num_head_channels": 48}),
        "num_head_channels 48 does not divide the 32 channels of an attention in some.pt; give num_heads or "
        "num_head_channels as the model was trained",
    ),
    (LAID_OUT, "nothing", {"num_head_channels": 0}, "num_head_channels must be >= 1, got 0"),
    (LAID_OUT, "nothing", {"num_heads": 2}, "give num_heads or num_head_channels, not both; got 2 and 32"),
    (LAID_OUT, "nothing", {"noise_schedule": "best"}, "noise_schedule must be one of linear, cosine, got 'best'"),
    (LAID_OUT, "nothing", {"diffusion_steps": 20}, "diffusion_steps must be >= 21 (linear schedule), got 20"),
    (LAID_OUT, "nothing", {"image_size": 9}, "image_size must be a multiple of 2 for some.pt, got 9"),
]


@pytest.mark.parametrize(("shape", "without", "flags", "message"), REFUSED)
def test_what_cannot_be_converted_is_refused(shape, without, flags, message):
    state = {name: weight for name, weight in on_meta(shape).state_dict().items() if without not in name}
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        converted(shape, state, **flags)


@pytest.mark.parametrize("steps", [1000, 4000, 50])
def test_the_schedules_are_those_of_the_papers(steps):
    """Linear from 1e-4 to 0.02 over 1,000 steps (Ho et al. 2020); `cos^2` of the time (Nichol, Dhariwal 2021)."""
    state = on_meta(LAID_OUT).state_dict()
    linear = converted(LAID_OUT, state, diffusion_steps=steps).scheduler.alphas_cumprod.double()
    betas = [1000 / steps * (0.0001 + (0.02 - 0.0001) * i / (steps - 1)) for i in range(steps)]
    torch.testing.assert_close(
        linear, torch.tensor([1 - beta for beta in betas]).double().cumprod(0), rtol=1e-3, atol=0
    )

    cosine = converted(LAID_OUT, state, diffusion_steps=steps, noise_schedule="cosine").scheduler
    times = [(i + 1) / steps for i in range(steps - 1)]  # the last beta is cut off at 0.999
    exact = [(math.cos((t + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2 for t in times]
    torch.testing.assert_close(cosine.alphas_cumprod[:-1].double(), torch.tensor(exact).double(), rtol=2e-3, atol=0)
