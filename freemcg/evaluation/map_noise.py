"""How much of a map is noise between neighbouring pixels? Its total variation against that of the denoised map."""

from __future__ import annotations

from torch import Tensor

from freemcg.evaluation.blur import gaussian_blur


def effective_noise(attributions: Tensor, *, sigma: float = 1.0) -> Tensor:
    """The share of a map's total variation that a slight blur takes away, `(N,)` float64 in [0, 1].

    `1 - TV(G a) / TV(a)` with a Gaussian `G` of `sigma` pixels, mirrored at the edges. Lower is smoother. White noise
    has about 0.86, a wide ramp about 0, a checkerboard 1 and a constant map 0. It tells no truth: a smooth map
    may be wrong. The total variation is anisotropic (Rudin, Osher, Fatemi 1992), `sum |a_right - a| + |a_below - a|`;
    its use as a measure of maps is our choice. It costs no query.

    Args:
        attributions: `(N, C, H, W)`. Their channels are summed.
    """
    maps = attributions.double().sum(dim=1)
    before, after = total_variation(maps), total_variation(gaussian_blur(maps, sigma))
    return (1 - after / before.clamp(min=1e-300)).clamp(0, 1) * (before > 0)


def total_variation(maps: Tensor) -> Tensor:
    """The sum of absolute differences of neighbours, across and down, of `(N, H, W)`: `(N,)`."""
    return maps.diff(dim=1).abs().sum(dim=(1, 2)) + maps.diff(dim=2).abs().sum(dim=(1, 2))
