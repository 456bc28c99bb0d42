"""Measure the time and the batch sizes of the bundled digits.

python tests/benchmarks/digits.py profile
python tests/benchmarks/digits.py batches
python tests/benchmarks/digits.py compiled
"""

from __future__ import annotations

import time

import torch
import typer

from freemcg import BlackBox, Denoiser, FreeMCG, load_bundle

app = typer.Typer(add_completion=False, help=__doc__)


class _Timed(torch.nn.Module):
    """A network that adds up the seconds spent in it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network
        self.config = getattr(network, "config", None)
        self.seconds = 0.0

    def forward(self, *arguments: torch.Tensor) -> object:
        began = time.perf_counter()
        answer = self.network(*arguments)
        self.seconds += time.perf_counter() - began
        return answer


@app.command()
def profile(images: int = 5) -> None:
    """Print the share of a counterfactual's time that is spent outside the denoiser and the classifier."""
    from diffusers import DDPMPipeline

    from freemcg.files.bundles import bundle_folder

    bundle = load_bundle("digits")
    scheduler = DDPMPipeline.from_pretrained(bundle_folder("digits") / "denoiser").scheduler
    unet, classifier = _Timed(bundle.denoiser.unet).eval(), _Timed(bundle.classifier).eval()
    explainer = FreeMCG(classifier, Denoiser(unet, scheduler))
    explainer.counterfactual(bundle.images[0])
    unet.seconds = classifier.seconds = 0.0
    total = sum(explainer.counterfactual(image).seconds for image in bundle.images[:images])
    outside = 1 - (unet.seconds + classifier.seconds) / total
    print(f"{images} counterfactuals, {total / images:.2f} s each: denoiser {unet.seconds / total:.1%}, ", end="")
    print(f"classifier {classifier.seconds / total:.1%}, outside both {outside:.1%}")


@app.command()
def batches(images: int = 5) -> None:
    """Print the largest difference of results between batch sizes 1, 7 and 64."""
    bundle = load_bundle("digits")
    attributions, counterfactuals = [], []
    for batch_size in (1, 7, 64):
        bundle.denoiser.batch_size = batch_size
        explainer = FreeMCG(BlackBox(bundle.classifier, batch_size=batch_size), bundle.denoiser)
        attributions.append(explainer.attribute(bundle.images[:images]))
        counterfactuals.append(torch.stack([explainer.counterfactual(x).image for x in bundle.images[:images]]))
    for name, values in (("attribution", attributions), ("counterfactual", counterfactuals)):
        scale = values[-1].abs().max().item()
        worst = max((values[-1] - other).abs().max().item() for other in values[:-1])
        print(f"{name}: largest difference {worst:.2e}, largest value {scale:.2e}")


@app.command()
def compiled(repeats: int = 10, batch: int = 64, backend: str = "inductor") -> None:
    """Print the time of a denoised batch, with the network compiled and not, in turn."""
    plain, faster = (Denoiser.from_pretrained("digits", batch_size=batch) for _ in range(2))
    faster.unet.compile(backend=backend, dynamic=True)
    noisy = torch.randn(batch, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    began = time.perf_counter()
    worst = (faster.denoise(noisy, 200) - plain.denoise(noisy, 200)).abs().max()
    print(f"compiled in {time.perf_counter() - began:.0f} s; largest difference of a pixel {worst:.1e}")
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for repeat in range(2 * repeats):
        began = time.perf_counter()
        (faster if repeat % 2 else plain).denoise(noisy, 200)
        seconds[bool(repeat % 2)].append(time.perf_counter() - began)
    before, after = (sorted(seconds[each])[repeats // 2] for each in (False, True))
    print(f"{batch} images, medians of {repeats}: {before:.3f} s, compiled {after:.3f} s, ratio {before / after:.2f}")


if __name__ == "__main__":
    app()
