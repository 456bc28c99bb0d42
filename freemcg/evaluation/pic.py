"""Performance information curves (Kapishnikov et al. 2019, arXiv:1906.02825): SIC and AIC. Does little picture do?"""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.imputation import linear_imputation
from freemcg.evaluation.saliency import check_maps, saliency_ranks

THRESHOLDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.07, 0.10, 0.13, 0.21, 0.34, 0.5, 0.75)
KEPT = 0.01  # of the pixels, from which the first image is imputed


@dataclass(frozen=True)
class Pic:
    """Areas under the performance over the information of the picture, `(N,)` float64 in [0, 1]. Higher is better.

    Both are NaN for an image that is left out: its own probability is below `least`, or the picture without its
    pixels has as much information or as high a probability.

    Attributes:
        sic: of the probability of the target, as a share of that of the image.
        aic: of the decision for the target, 0 or 1.
    """

    sic: Tensor
    aic: Tensor


def pic(
    black_box: BlackBox,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    *,
    least: float = 0.8,
    reduction: str = "sum",
    seed: int = 0,
) -> Pic:
    """Reveal the most salient pixels of images, and ask how much of the picture brings the decision back.

    An image begins as 1 % of its pixels, at random, and its corners; the others are imputed from these. At each of 13
    thresholds, the most salient share of the pixels is revealed as well. The information of a picture is its length in
    bytes as lossless WebP. It and the probability count from the first picture (0) to the image (1). As in the
    published program, the performance never falls with the threshold, and the curve begins at (0, 0) and ends at
    (1, 1). By our choice pixels are imputed as ROAD does it, without noise, and ties are broken at random.

    Args:
        black_box: its answers are read. Give a separate one, so that no method is charged for being measured.
        images: `(N, C, H, W)` in [0, 1].
        attributions: attributions of the same shape.
        targets: the class of each image, `(N,)`.
        least: the least probability of an image that is not left out.
        reduction: how a pixel's saliency comes from its channels; see `REDUCTIONS`.
        seed: the seed of the first pixels, and of the order of equally salient ones. It is the same for every image.

    An image costs 15 queries.

    Raises:
        ValueError: the shapes differ, an attribution is NaN or infinite, or there is no such reduction.
    """
    check_maps(images, attributions, targets)
    ranks = saliency_ranks(attributions, reduction, seed=seed).to(images.device)
    height, width = images.shape[2:]
    first = torch.rand(height, width, generator=generator_for(seed, "first pixels")).to(images.device) < KEPT
    first[:: max(1, height - 1), :: max(1, width - 1)] = True
    shares = torch.tensor([0.0, *THRESHOLDS], dtype=torch.double)
    counts = (shares * height * width).round().to(images.device)[:, None, None]
    figures = []
    for image, rank, target in zip(images, ranks, targets.tolist(), strict=True):
        revealed = torch.cat([linear_imputation(image, ~(first | (rank < counts))).clamp(0, 1), image[None]])
        answers = black_box(revealed).double()
        probability, decided = answers[:, target].exp(), (answers.argmax(dim=1) == target).double()
        information = torch.tensor([_bytes(each) for each in revealed], dtype=torch.double)
        left_out = probability[-1] < least or information[0] >= information[-1] or probability[0] >= probability[-1]
        x, y = _from_first_to_last(information), _from_first_to_last(probability.cpu())
        figures.append([float("nan")] * 2 if left_out else [curve_area(x, y), curve_area(x, decided[:-1].cpu())])
    return Pic(*torch.tensor(figures, dtype=torch.double).T)


def curve_area(information: Tensor, performance: Tensor) -> float:
    """The area under a curve through (0, 0), points `(T,)` by rising threshold, and (1, 1), by trapezoids."""
    rising = performance.cummax(dim=0).values
    x, y = torch.tensor([0.0, 1.0]).double(), torch.tensor([0.0, 1.0]).double()
    x, y = torch.cat([x[:1], information, x[1:]]), torch.cat([y[:1], rising, y[1:]])
    order = x.argsort(stable=True)
    return torch.trapezoid(y[order], x[order]).item()


def _from_first_to_last(values: Tensor) -> Tensor:
    """All but the last of `(T + 1,)`, on a scale where the first is 0 and the last is 1, clipped to it."""
    return ((values[:-1] - values[0]) / (values[-1] - values[0])).clamp(0, 1)


def _bytes(image: Tensor) -> int:
    """The length of `(C, H, W)` in [0, 1] as lossless WebP of 8 bits."""
    pixels = (image.cpu() * 255).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0)
    stream = io.BytesIO()
    Image.fromarray(pixels.contiguous().numpy()).save(stream, format="WEBP", lossless=True, quality=100)
    return stream.tell()
