"""Draw the pictures of these pages, all or those that are named: python docs/pictures.py map counterfactual.

Everything in them is computed here, with the bundled digits or with a denoiser that is known in closed form.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from freemcg import BlackBox, FreeMCG, load_bundle
from freemcg.diffusion.noise import particle_noise
from freemcg.diffusion.particles import draw_particles
from freemcg.ensemble import cross_covariance, principal_axes, sigma_points
from freemcg.jobs.demo import choose_images
from freemcg.show.figures import SIGNED_COLOURS, plot_grid
from freemcg.show.significant import significant

OUT = Path(__file__).parent / "pictures"
SIGMA = 0.45
GREY, BLUE, RED, GREEN = "0.75", "tab:blue", "tab:red", "tab:green"


def curve() -> Tensor:
    """Realistic images of a world with two pixels: an arc, as points `(N, 2)`."""
    angle = torch.linspace(0.15 * math.pi, 0.85 * math.pi, 400)
    return torch.stack([2.2 * angle.cos(), 2.2 * angle.sin() - 1.2], dim=1)


def score(points: Tensor) -> Tensor:
    """The answers of the black box for points `(N, 2)`."""
    return 0.8 * points[:, 0] + points[:, 1] + 0.15 * points[:, 0] ** 2


def denoise(noisy: Tensor) -> Tensor:
    """The mean of the realistic images that a noisy one may have come from, exactly."""
    realistic = curve()
    weights = (-torch.cdist(noisy, realistic).square() / (2 * SIGMA**2)).softmax(dim=1)
    return weights @ realistic


def plane() -> Figure:
    """The four steps in a world with two pixels."""
    image = curve()[140]
    noisy = image + SIGMA * torch.randn(60, 2, generator=torch.Generator().manual_seed(3))
    particles = denoise(noisy)
    points = sigma_points(principal_axes(particles), 2, reach=1.5)
    gradient = cross_covariance(particles, score(particles)[:, None], torch.ones(1)).gradient
    plain = torch.tensor([0.8 + 0.3 * image[0], 1.0])
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    first, second, third, fourth = figure.subplots(1, 4)
    _world(first, "1. noisy copies")
    first.scatter(*noisy.T, s=12, color=BLUE, alpha=0.6, label="noisy copies")
    _world(second, "2. denoised: particles (free)")
    for start, end in zip(noisy[:25], particles[:25], strict=True):
        second.plot(*torch.stack([start, end]).T, color=BLUE, alpha=0.25, linewidth=0.8)
    second.scatter(*particles.T, s=12, color=BLUE, label="particles")
    _world(third, "3. query points (paid)")
    _contours(third)
    third.scatter(*particles.T, s=8, color=BLUE, alpha=0.25)
    third.scatter(*points.T, s=60, color=RED, marker="X", label="query points", zorder=3)
    _world(fourth, "4. manifold gradient")
    _contours(fourth)
    _arrow(fourth, image, gradient, RED, "manifold gradient")
    _arrow(fourth, image, plain, GREY, "plain gradient")
    for axes in (first, second, third, fourth):
        axes.scatter(*image[:, None], s=70, color="black", zorder=4, label="image")
        axes.legend(loc="lower left", fontsize="small", framealpha=0.9)
    return figure


def _world(axes: Axes, title: str) -> None:
    axes.plot(*curve().T, color=GREEN, linewidth=2, label="realistic images")
    axes.set(title=title, xlim=(-2, 2.2), ylim=(-1.6, 2), aspect="equal", xticks=[], yticks=[])
    axes.set_xlabel("one pixel")
    axes.set_ylabel("another pixel")


def _contours(axes: Axes) -> None:
    across, up = torch.linspace(-2, 2.2, 60), torch.linspace(-1.6, 2, 50)
    grid = torch.cartesian_prod(up, across).flip(1)
    axes.contour(across, up, score(grid).reshape(50, 60), levels=12, cmap="RdBu_r", linewidths=0.6, alpha=0.8)


def _arrow(axes: Axes, start: Tensor, direction: Tensor, color: str, label: str) -> None:
    length = 1.1 * direction / direction.norm()
    axes.quiver(*start, *length, color=color, angles="xy", scale_units="xy", scale=1, width=0.018, label=label)


def digit() -> Figure:
    """The same steps with a digit."""
    bundle = load_bundle()
    denoiser, image = bundle.denoiser, bundle.images[6]
    t = denoiser.timestep(0.2)
    noisy = denoiser.add_noise(image, t, particle_noise(0, "particles", 0, 4, tuple(image.shape)))
    particles = draw_particles(denoiser, image, t, 256, seed=0).flatten(1)
    axes_of_all = principal_axes(particles)
    points = sigma_points(axes_of_all, 5, reach=1.0).reshape(-1, *image.shape)
    result = FreeMCG(BlackBox(bundle.classifier), denoiser).explain(image)
    few = particles[:4].reshape(-1, *image.shape)
    figure = Figure(figsize=(9, 6.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    first, second, third, fourth = left.subplots(4, 4)
    for column in range(4):
        _picture(first[column], (noisy[column] + 1) / 2)
        _picture(second[column], few[column])
        _map(third[column], few[column] - points[0], 1.0)
        _map(fourth[column], points[1 + column] - points[0], 1.0)
    first[0].set_title("noisy copies of the image", loc="left", fontsize="medium")
    second[0].set_title("denoised: four particles of 256", loc="left", fontsize="medium")
    third[0].set_title("the same, less their mean", loc="left", fontsize="medium")
    fourth[0].set_title("four query points, less the mean", loc="left", fontsize="medium")
    top, bottom = right.subplots(2, 1)
    _picture(top, image)
    top.set_title("the image")
    _map(bottom, result.values, 1.0)
    bottom.set_title("the manifold gradient")
    return figure


def front() -> Figure:
    """The picture of the README: the images of the demo of two digits and of two chest X-rays."""
    pairs = []
    for name in ("digits", "chest-xrays"):
        bundle = load_bundle(name)
        explainer = FreeMCG(BlackBox(bundle.classifier, class_names=bundle.class_names), bundle.denoiser)
        for image in bundle.images[choose_images(bundle, 2, seed=0)]:
            pairs.append((explainer.explain(image), explainer.counterfactual(image)))
    return plot_grid(pairs)


def a_map() -> Figure:
    """One attribution as `plot` draws it."""
    bundle = load_bundle()
    box = BlackBox(bundle.classifier, class_names=bundle.class_names)
    return FreeMCG(box, bundle.denoiser).explain(bundle.images[6]).plot()


def a_contribution() -> Figure:
    """The contribution that follows from the same attribution."""
    bundle = load_bundle()
    box = BlackBox(bundle.classifier, class_names=bundle.class_names)
    return FreeMCG(box, bundle.denoiser).explain(bundle.images[6]).contribution().plot()


def a_counterfactual() -> Figure:
    """One counterfactual as `plot` draws it."""
    bundle = load_bundle()
    box = BlackBox(bundle.classifier, class_names=bundle.class_names)
    return FreeMCG(box, bundle.denoiser).counterfactual(bundle.images[6]).plot()


def error_bars() -> Figure:
    """The same map from more and more queries, and the part of it that differs from zero."""
    bundle = load_bundle()
    counts = (17, 33, 65, 257)
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    upper, lower = figure.subplots(2, len(counts))
    for above, below, queries in zip(upper, lower, counts, strict=True):
        explainer = FreeMCG(BlackBox(bundle.classifier), bundle.denoiser, queries=queries)
        result = explainer.explain(bundle.images[6])
        told = significant(result)
        _map(above, result.values, 1.0)
        above.set_title(f"{queries} queries")
        _map(below, result.values, told.float())
        below.set_title(f"reliability {result.reliability:.2f}", fontsize="medium")
    upper[0].text(-0.12, 0.5, "the map", rotation=90, va="center", transform=upper[0].transAxes)
    lower[0].text(-0.12, 0.5, "told from zero", rotation=90, va="center", transform=lower[0].transAxes)
    return figure


def blind_spot() -> Figure:
    """A model that also looks at a corner where no digit ever is: the map cannot show it."""
    bundle = load_bundle()

    def corner(images: Tensor) -> Tensor:
        answers = bundle.classifier(images)
        answers[:, 0] += 60 * images[:, 0, 1:5, 1:5].mean(dim=(1, 2))
        return answers

    image = bundle.images[6]
    marked = image.clone()
    marked[:, 1:5, 1:5] = 1
    box = BlackBox(corner, class_names=bundle.class_names)
    result = FreeMCG(box, bundle.denoiser).explain(image)
    pixels = image.clone().requires_grad_()
    answers = corner(pixels[None])[0]
    plain = torch.autograd.grad(answers[result.decision] - answers[0], pixels)[0]
    decisions = [bundle.class_names[int(box(each[None])[0].argmax())] for each in (image, marked)]
    figure = Figure(figsize=(9, 2.7), layout="constrained")
    first, second, third, fourth = figure.subplots(1, 4)
    _picture(first, image)
    first.set_title(f"decided {decisions[0]}")
    _picture(second, marked)
    second.set_title(f"with a mark: decided {decisions[1]}")
    _map(third, plain, 1.0)
    third.set_title("plain gradient sees the corner", fontsize="medium")
    _map(fourth, result.values, 1.0)
    fourth.set_title("the map does not", fontsize="medium")
    return figure


def _picture(axes: Axes, image: Tensor) -> None:
    axes.imshow(image[0], cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()


def _map(axes: Axes, values: Tensor, visible: Tensor | float) -> None:
    shown = (values.sum(dim=0) * visible).detach()
    reach = values.sum(dim=0).abs().max().item()
    axes.imshow(shown, cmap=SIGNED_COLOURS, vmin=-reach, vmax=reach)
    axes.set(xticks=[], yticks=[])


PICTURES = {
    "front": front,
    "how-it-works": plane,
    "particles": digit,
    "map": a_map,
    "contribution": a_contribution,
    "counterfactual": a_counterfactual,
    "error-bars": error_bars,
    "blind-spot": blind_spot,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PICTURES)}; all unless named")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names or PICTURES:
        PICTURES[name]().savefig(given.out / f"{name}.png", dpi=90)
