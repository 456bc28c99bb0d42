"""Is one method better than another on the same images, or is it chance? Paired tests, corrected for their number."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor

from freemcg.diffusion.noise import generator_for

EXACT = 12  # up to so many images, all 2^N signs are tried
DRAWS = 9999
SLACK = 1e-9  # of the largest possible mean: differences that are equal up to rounding count as equal


def paired_p_value(differences: Tensor, *, seed: int = 0) -> float:
    """The two-sided p-value of the mean of paired `differences` `(N,)`, by flipping their signs (Fisher 1935).

    If the methods are alike, each difference could have had the other sign. The p-value is the share of signs whose
    mean is at least as far from 0. Up to 12 images all signs are tried, so it is exact, and at least `2 / 2^N`. Beyond,
    9,999 signs are drawn, and the observed ones count as one more (Phipson, Smyth 2010). It is 1 without differences.
    """
    values = differences.double()
    if not len(values) or not values.any():
        return 1.0
    observed = values.mean().abs() - SLACK * values.abs().mean()
    if len(values) <= EXACT:
        signs = torch.tensor(list(product((1.0, -1.0), repeat=len(values))), dtype=torch.double)
        return ((signs @ values / len(values)).abs() >= observed).double().mean().item()
    drawn = torch.randint(2, (DRAWS, len(values)), generator=generator_for(seed, "signs")).double()
    as_far = ((2 * drawn - 1) @ values / len(values)).abs() >= observed
    return (as_far.sum().item() + 1) / (DRAWS + 1)


def holm(p_values: Tensor) -> Tensor:
    """P-values `(K,)` of `K` tests, corrected for their number (Holm 1979), in [0, 1].

    If those below a level are called significant, the chance of even one false call is at most that level, however the
    tests depend on each other. The smallest is multiplied by `K`, the next by `K - 1`, and so on; none falls below
    one before it.
    """
    order = p_values.double().argsort(stable=True)
    factors = torch.arange(len(p_values), 0, -1, dtype=torch.double)
    raised = (p_values.double()[order] * factors).clamp(max=1)
    corrected = torch.empty_like(raised)
    corrected[order] = raised.cummax(dim=0).values if len(raised) else raised
    return corrected
