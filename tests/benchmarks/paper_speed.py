"""Measure how much faster the paper's search runs here than a program that takes its particles one by one.

python tests/benchmarks/paper_speed.py
python tests/benchmarks/paper_speed.py --particles 3 --steps 3 --repeats 1   # whether it works

`one_by_one` is the search of Kim et al. 2025 (arXiv 2411.15265), written down as it stands: for each particle one call
of the denoiser, one of the classifier, and a step by its own term. It draws the same noise, so the answers are the same
but for the rounding of ours to 8 bits, about half a grey level. Scores count in double precision in both: once all
particles are decided as the target, their weights are tiny, and rescaling would blow up the rounding of single
precision to a full step. The bar is 3 times.
"""

from __future__ import annotations

import time

import diffusers
import torch
import typer
from torch import Tensor, nn

from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.diffusion.noise import particle_noise
from freemcg.evaluation.intervals import ratio_interval
from freemcg.files.bundles import bundle_folder

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)
BAR = 3.0
STRENGTH, GUIDANCE, PROXIMITY = 0.4, 0.2, 0.02


def rescaled(direction: Tensor, noise: Tensor) -> Tensor:
    """A direction, as long as the predicted noise."""
    return direction * (noise.norm() / direction.norm()) if direction.norm() > 0 else direction


@torch.no_grad()
def one_by_one(
    unet: nn.Module,
    abar: Tensor,
    classifier: nn.Module,
    image: Tensor,
    target: int,
    *,
    particles: int,
    steps: int,
    together: bool,
) -> Tensor:
    """The mean of the particles at the end, `(C, H, W)` in [0, 1], with `eta = 1` and seed 0.

    Args:
        unet: predicts the velocity `v = sqrt(abar) eps - sqrt(1 - abar) x_0` (Salimans, Ho 2022), as the digits' does.
        abar: the schedule.
        together: the particles are denoised in one call, and still scored one by one.
    """
    start, x = round(STRENGTH * len(abar)), 2 * image - 1
    times = [round(start * (1 - i / steps)) for i in range(steps)]
    a = abar[times[0]]
    x_t = a.sqrt() * x + (1 - a).sqrt() * particle_noise(0, "start", 0, particles, tuple(x.shape))
    for step, t in enumerate(times):
        a = abar[t]
        parts = [x_t] if together else x_t.split(1)
        velocity = torch.cat([unet(part, torch.full((len(part),), t)).sample for part in parts])
        eps = a.sqrt() * velocity + (1 - a).sqrt() * x_t
        clean = ((x_t - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        if step + 1 == steps:
            break
        y = torch.stack([classifier(each[None] / 2 + 0.5)[0] for each in clean]).double()
        a_next, mean, y_mean = abar[times[step + 1]], clean.mean(dim=0), y.mean(dim=0)
        c1 = ((1 - a / a_next) * (1 - a_next) / (1 - a)).sqrt()
        c2 = (1 - a_next - c1**2).sqrt()
        z = particle_noise(0, "reverse", step, particles, tuple(x.shape))
        moved = []
        for k in range(particles):
            e = nn.functional.one_hot(torch.tensor(target), y.shape[1]) - y[k].softmax(dim=0)
            g = ((clean[k] - mean) * ((y[k] - y_mean) @ e)).float()
            p = (clean[k] - x).sign()
            push = GUIDANCE * rescaled(g, eps[k]) - PROXIMITY * rescaled(p, eps[k])
            moved.append(a_next.sqrt() * clean[k] + c1 * z[k] + c2 * eps[k] + (a * a_next).sqrt() * push)
        x_t = torch.stack(moved)
    return clean.mean(dim=0) / 2 + 0.5


@app.command()
def main(particles: int = 100, steps: int = 100, repeats: int = 3) -> None:
    """Print the ratio of times on one held-out digit, in turn, and the largest difference of the answers."""
    bundle = load_bundle("digits")
    abar = diffusers.DDPMScheduler.from_pretrained(bundle_folder("digits") / "denoiser" / "scheduler").alphas_cumprod
    image = bundle.images[0]
    target = int(bundle.classifier(image[None])[0].argsort()[-2])
    search = {"method": "paper", "particles": particles, "steps": steps}
    explainer = FreeMCG(BlackBox(bundle.classifier), bundle.denoiser, objective="log_probability", search=search)
    explainer.counterfactual(image, target)  # the first call also prepares
    ours, others = list[float](), dict[bool, list[float]]({False: [], True: []})
    for _ in range(repeats):
        began = time.perf_counter()
        found = explainer.counterfactual(image, target).image
        ours.append(time.perf_counter() - began)
        for together, seconds in others.items():
            began = time.perf_counter()
            written = one_by_one(
                bundle.denoiser.unet,
                abar,
                bundle.classifier,
                image,
                target,
                particles=particles,
                steps=steps,
                together=together,
            )
            seconds.append(time.perf_counter() - began)
            print(f"largest difference of a pixel: {255 * (found - written).abs().max():.3f} grey levels of 255")
    for together, seconds in others.items():
        ratio = ratio_interval(torch.tensor(seconds), torch.tensor(ours))
        how = "denoised together, scored one by one" if together else "one by one"
        print(f"{how}: {ratio:.2f} times our {sum(ours) / repeats:.2f} s; the bar is {BAR:g}")


if __name__ == "__main__":
    app()
