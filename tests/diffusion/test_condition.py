"""Class-conditional networks: told one class, the null class, or guided from one to the other."""

from __future__ import annotations

import re

import diffusers
import pytest
import torch
from torch import nn
from unets import tiny_unet

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.tasks.record import made_by

CLASSES = 4
SHAPE = (1, 4, 4)
VARIANCE = 0.04


class ClassesOfBlobs(nn.Module):
    """The exact noise prediction for classes of images `N(m_c, VARIANCE I)`, one mean for each class."""

    def __init__(self, abar) -> None:
        super().__init__()
        self.means = nn.Embedding(CLASSES, 16, dtype=torch.float64)
        nn.init.uniform_(self.means.weight, -0.3, 0.3)
        self.abar, self.config = abar.double(), {"num_class_embeds": CLASSES, "in_channels": 1}
        self.asked: list[int] = []
        self.eval().requires_grad_(False)

    def forward(self, x_t, t, class_labels):
        self.asked += class_labels.tolist()
        abar, means = self.abar[t[0]], self.means(class_labels).reshape(x_t.shape)
        return (1 - abar).sqrt() * (x_t - abar.sqrt() * means) / (abar * VARIANCE + 1 - abar)


def posterior_mean(x_t, abar, mean):
    """The mean of the two, weighted by their precisions: of `x_t / sqrt(abar)`, and of the class."""
    seen, prior = abar / (1 - abar), 1 / VARIANCE
    return (seen * x_t / abar.sqrt() + prior * mean) / (seen + prior)


@pytest.fixture
def blobs():
    torch.manual_seed(3)
    scheduler = diffusers.DDPMScheduler()
    network = ClassesOfBlobs(scheduler.alphas_cumprod)
    return network, scheduler


@pytest.mark.parametrize(
    ("told", "weights", "passes"),
    [
        ({"condition": 2}, {2: 1}, [2]),
        ({"condition": 0}, {0: 1}, [0]),
        ({"null_class": 3}, {3: 1}, [3]),
        ({"condition": 2, "null_class": 3}, {2: 1}, [2]),
        ({"condition": 2, "null_class": 3, "guidance_scale": 2.5}, {2: 2.5, 3: -1.5}, [3, 2]),
        ({"condition": 0, "null_class": 3, "guidance_scale": 0.5}, {0: 0.5, 3: 0.5}, [3, 0]),
    ],
)
def test_denoised_images_are_those_of_the_class(told, weights, passes, blobs, rng):
    """The noise is linear in the clean image, so a guided one is the same mixture of the classes' posterior means."""
    network, scheduler = blobs
    denoiser = Denoiser(network, scheduler, **told)
    x_t = 0.5 * torch.randn(3, *SHAPE, generator=rng, dtype=torch.float64)
    for t in (20, 200, 600):
        abar = scheduler.alphas_cumprod[t].double()
        parts = [
            weight * posterior_mean(x_t, abar, network.means.weight[c].reshape(SHAPE)) for c, weight in weights.items()
        ]
        network.asked.clear()
        expected = (torch.stack(parts).sum(dim=0) / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(denoiser.denoise(x_t, t), expected, rtol=0, atol=1e-6)
        assert network.asked == [c for c in passes for _ in range(3)]


def test_the_map_is_that_of_the_same_images_without_classes(blobs, gaussian_network, rng):
    network, scheduler = blobs
    mean = network.means.weight[1].reshape(SHAPE)
    alone = gaussian_network(mean, VARIANCE * torch.eye(16, dtype=torch.float64), scheduler)
    weights = torch.randn(16, 3, generator=rng)
    maps = [
        FreeMCG(BlackBox(lambda images: images.flatten(1) @ weights), denoiser).explain(0.5 + 0 * mean.float(), 1)
        for denoiser in (Denoiser(alone, scheduler), Denoiser(network, scheduler, condition=1))
    ]
    assert (maps[0].values - maps[1].values).norm() < 1e-4 * maps[0].values.norm()


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    pipeline = diffusers.DDPMPipeline(tiny_unet(num_class_embeds=CLASSES), diffusers.DDPMScheduler())
    pipeline.save_pretrained(tmp_path / "classes")
    return tmp_path / "classes"


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_a_saved_pipeline_is_told_its_class(guidance_scale, folder, rng):
    denoiser = Denoiser.from_pretrained(folder, condition=2, guidance_scale=guidance_scale, null_class=3)
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet").eval()
    x_t, t = torch.randn(2, 1, 8, 8, generator=rng), torch.tensor([40, 40])
    with torch.no_grad():
        of_class, of_null = (unet(x_t, t, class_labels=torch.tensor([c, c])).sample for c in (2, 3))
    noise = of_null + guidance_scale * (of_class - of_null)
    abar = diffusers.DDPMScheduler().alphas_cumprod[40].item()
    expected = (x_t - (1 - abar) ** 0.5 * noise) / abar**0.5
    torch.testing.assert_close(denoiser.denoise(x_t, 40), (expected / 2 + 0.5).clamp(0, 1), rtol=0, atol=1e-5)
    assert not torch.allclose(of_class, of_null, atol=1e-3)


def test_the_condition_is_part_of_the_identity_and_of_the_record(folder):
    told = [
        {"condition": 2},
        {"condition": 1},
        {"condition": 2, "null_class": 3, "guidance_scale": 2},
        {"condition": 2, "null_class": 0, "guidance_scale": 2},
        {"condition": 2, "null_class": 3, "guidance_scale": 2.5},
    ]
    denoisers = [Denoiser.from_pretrained(folder, **each) for each in told]
    assert len({each.identity for each in denoisers}) == len(told)
    assert denoisers[0].identity.endswith(":class 2")
    assert Denoiser.from_pretrained(folder, condition=2, null_class=3).identity == denoisers[0].identity
    for each, conditional in zip(told, denoisers, strict=True):
        recorded = made_by(BlackBox(lambda images: images), conditional, {})["condition"]
        assert recorded == {"null_class": None, "guidance_scale": 1.0, **each}
    plain = Denoiser(tiny_unet(), diffusers.DDPMScheduler())
    assert "condition" not in made_by(BlackBox(lambda images: images), plain, {})


NEEDED = (
    "the denoiser {} needs a class; give condition (--condition), one of 0..3, or its null class (--null-class) if it "
    "was trained with one"
)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, NEEDED),
        ({"guidance_scale": 2.0}, NEEDED),
        ({"condition": 4}, "condition must be a class of the denoiser's network, one of 0..3, got 4"),
        ({"condition": -1}, "condition must be a class of the denoiser's network, one of 0..3, got -1"),
        ({"condition": True}, "condition must be a whole number, got True"),
        ({"condition": "cat"}, "condition must be a whole number, got 'cat'"),
        ({"condition": 1, "guidance_scale": "high"}, "guidance_scale must be a number, got 'high'"),
        (
            {"condition": 1, "null_class": 4},
            "null_class must be a class of the denoiser's network, one of 0..3, got 4",
        ),
        *(
            (
                {**told, "guidance_scale": 2.0},
                "guidance_scale=2 leads from the null class to another; give condition (--condition) and null_class "
                "(--null-class), two classes of the denoiser's network",
            )
            for told in ({"condition": 1}, {"null_class": 1}, {"condition": 1, "null_class": 1})
        ),
        ({"condition": 1, "guidance_scale": float("nan")}, "guidance_scale must be in 0..100, got nan"),
    ],
)
def test_a_condition_that_is_missing_or_wrong_is_refused(told, message, folder):
    with pytest.raises((InvalidValue, InvalidType), match=f"^{re.escape(message.format(folder))}$"):
        Denoiser.from_pretrained(folder, **told)


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"condition": 0}, "condition=0"),
        ({"condition": 0, "null_class": 3}, "condition=0 and null_class=3"),
        ({"guidance_scale": 2.0}, "guidance_scale=2"),
    ],
)
def test_a_condition_of_a_network_without_classes_is_refused(told, said):
    message = f"the denoiser UNet2DModel takes no class; leave out {said}"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(tiny_unet(), diffusers.DDPMScheduler(), **told)


def test_an_answer_that_is_no_number_is_refused(blobs):
    network, scheduler = blobs
    network.means.weight[1] = float("nan")
    message = "the denoiser answered NaN or infinity at timestep 20; try it in float32"
    with pytest.raises(InvalidValue, match=f"^{re.escape(message)}$"):
        Denoiser(network, scheduler, condition=1).denoise(torch.zeros(1, *SHAPE), 20)
