"""Measure what an explanation takes beyond its models: its time over that of the same calls of both networks, bare.

python tests/benchmarks/overhead.py --data digits
python tests/benchmarks/overhead.py --data random-64
python tests/benchmarks/overhead.py --data random-64 --images 1 --repeats 1 --width 4   # whether it works

One explanation of each image is recorded: each call of the denoiser's network and of the classifier, with its input.
Then the explanation and the same calls without it are timed in turn, several times in one run. The bar is 1.05.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import diffusers
import torch
import typer
from torch import Tensor, nn

from freemcg import BlackBox, Denoiser, FreeMCG, load_bundle
from freemcg.evaluation.intervals import ratio_interval
from freemcg.files.bundles import bundle_folder

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)
BAR = 1.05
Call = tuple[nn.Module, tuple[Any, ...]]


class Recorded(nn.Module):
    """A network that notes its calls in a list while it has one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.config = getattr(network, "config", None)
        self.calls: list[Call] | None = None
        self.eval().requires_grad_(False)

    def forward(self, *arguments: Any) -> Any:
        if self.calls is not None:
            assert not torch.is_grad_enabled()
            self.calls.append((self.network, arguments))
        return self.network(*arguments)


def models(data: str, images: int, width: int) -> tuple[nn.Module, Any, nn.Module, Tensor]:
    """The network and the scheduler of a denoiser, a classifier, and images."""
    if data == "digits":
        bundle = load_bundle("digits")
        scheduler = diffusers.DDPMScheduler.from_pretrained(bundle_folder("digits") / "denoiser" / "scheduler")
        return bundle.denoiser.unet, scheduler, bundle.classifier, bundle.images[:images]
    if data != "random-64":
        raise typer.BadParameter(f"data must be digits or random-64, got {data}")
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(
        sample_size=64,
        layers_per_block=1,
        block_out_channels=(width, 2 * width, 2 * width),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    convolutions = [nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU()]
    classifier = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, 10))
    unet.to(memory_format=torch.channels_last)
    return unet, diffusers.DDPMScheduler(), classifier, torch.rand(images, 3, 64, 64)


def bare(calls: list[Call]) -> None:
    with torch.no_grad():
        for network, arguments in calls:
            network(*arguments)


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def batches(calls: list[Call], network: nn.Module) -> str:
    """`3 x 64, 1 x 2`: how often a network was called with how many images."""
    sizes = Counter(len(arguments[0]) for each, arguments in calls if each is network)
    return ", ".join(f"{sizes[size]} x {size}" for size in sorted(sizes, reverse=True))


@app.command()
def main(data: str = "digits", images: int = 3, repeats: int = 5, width: int = 32) -> None:
    """Print the ratio for an attribution and for a counterfactual, with the defaults of both.

    The UNet of random-64 has width, 2 width and 2 width channels at its three levels.
    """
    unet, scheduler, classifier, pictures = models(data, images, width)
    recorded = Recorded(unet), Recorded(classifier)
    explainer = FreeMCG(BlackBox(recorded[1]), Denoiser(recorded[0], scheduler))
    for task, explain in (("attribution", explainer.explain), ("counterfactual", explainer.counterfactual)):
        whole, alone = list[float](), list[float]()
        for index, image in enumerate(pictures):
            calls: list[Call] = []
            for each in recorded:
                each.calls = calls
            explain(image)
            for each in recorded:
                each.calls = None
            if not index:
                print(f"{data}, {task}: denoiser {batches(calls, unet)}; classifier {batches(calls, classifier)}")
            bare(calls)
            for _ in range(repeats):
                whole.append(seconds(lambda: explain(image)))  # noqa: B023  (called at once)
                alone.append(seconds(lambda: bare(calls)))  # noqa: B023
        found = ratio_interval(torch.tensor(whole), torch.tensor(alone))
        mean = sum(whole) / len(whole)
        print(f"{data}, {task}: {mean:.2f} s, {found:.3f} of its calls alone; {len(whole)} runs; the bar is {BAR}")


if __name__ == "__main__":
    app()
