"""What makes a network faster changes a map by rounding only: memory layout and compilation."""

from __future__ import annotations

import copy

import diffusers
import pytest
import torch
from torch import nn
from unets import tiny_unet

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.identity.network import identity

SHAPE = (1, 8, 8)


class Convolutions(nn.Module):
    """A network without classes or a text, small enough to be compiled in seconds."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, x, time):
        return self.layers(x) + time.reshape(-1, 1, 1, 1) / 1000


class Contiguous(nn.Module):
    """A network that is called with the pixels of a channel beside one another, and held so."""

    def __init__(self, network):
        super().__init__()
        self.network = network.to(memory_format=torch.contiguous_format)

    def forward(self, x, time):
        return self.network(x.contiguous(), time)


def map_with(network):
    torch.manual_seed(1)
    weights = torch.randn(64, 3)
    image = torch.rand(SHAPE)
    explainer = FreeMCG(
        BlackBox(lambda images: images.flatten(1) @ weights),
        Denoiser(network, diffusers.DDPMScheduler(), batch_size=5),
        particles=12,
        queries=9,
    )
    return explainer.explain(image, 1).values


def assert_alike(one, other):
    """Equal to a thousandth of a map's length. Between seeds, maps differ by about their own length."""
    assert (one - other).norm() < 1e-3 * one.norm()


def test_a_map_does_not_depend_on_the_memory_layout(tmp_path):
    """`Denoiser.from_pretrained` lays a network out with the channels of a pixel beside one another."""
    torch.manual_seed(0)
    scheduler = diffusers.DDPMScheduler()
    diffusers.DDPMPipeline(tiny_unet(norm_num_groups=2, block_out_channels=(8, 8)), scheduler).save_pretrained(tmp_path)
    laid_out = Denoiser.from_pretrained(tmp_path).unet
    weight = laid_out.mid_block.resnets[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert_alike(map_with(Contiguous(copy.deepcopy(laid_out)).eval()), map_with(laid_out))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # raised by torch
def test_a_map_with_a_compiled_network_is_the_same():
    """The last of the batches is smaller, and a search also asks for gradients."""
    torch.manual_seed(0)
    network = Convolutions().eval().requires_grad_(False)
    compiled = copy.deepcopy(network)
    compiled.compile(backend="aot_eager", dynamic=True)  # all of torch.compile but the C++ or Triton code
    assert_alike(map_with(network), map_with(compiled))
    assert identity(compiled) == identity(network)
    x_t, slopes = torch.randn(7, *SHAPE), torch.randn(7, *SHAPE)
    plain, faster = (
        Denoiser(each, diffusers.DDPMScheduler()).pull_back(x_t, 300, slopes) for each in (network, compiled)
    )
    torch.testing.assert_close(faster, plain, rtol=1e-4, atol=1e-5 * plain.abs().max().item())
