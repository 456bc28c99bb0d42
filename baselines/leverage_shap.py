"""Leverage SHAP on patches (Musco, Witter 2025, arXiv:2410.01917)."""

from __future__ import annotations

import math
from itertools import combinations

import torch
from torch import Tensor

from baselines.patch_method import PatchMethod, patch_mask
from freemcg.diffusion.noise import generator_for


class LeverageSHAP(PatchMethod):
    """Shapley values of patches, by least squares over coalitions drawn by their leverage scores.

    Coalitions come in pairs, each with its complement, and none comes twice. For the design see `coalitions`, for the
    least squares `shapley_values`. A map sums to `f(x) - f(base)` exactly. It is exact on a linear `f` if there are as
    many pairs as patches, and exact on any `f` once `queries` cover all coalitions.

    An image costs `2 + 2 * pairs` queries with the most pairs for which `queries - 1` suffice, and one more without
    `target`. For arguments see `PatchMethod`.
    """

    cost = "2 + 2 * pairs, at most queries - 1"
    fewest = 5
    least = 4

    def _price(self, shape: tuple[int, ...]) -> int:
        patches = int(patch_mask(shape, self.patch).max()) + 1
        return 2 + 2 * min((super()._price(shape) - 2) // 2, every_pair(patches))

    def _patch_values(self, image: Tensor, mask: Tensor, target: int) -> Tensor:
        patches, pairs = int(mask.max()) + 1, (self._price(tuple(image.shape)) - 2) // 2
        present, weights = coalitions(patches, pairs, self.seed)
        ends = torch.stack([torch.zeros(patches, dtype=torch.bool), torch.ones(patches, dtype=torch.bool)])
        answers = []
        for batch in torch.cat([ends, present]).split(self.black_box.batch_size):
            shown = batch[:, mask].to(image.device)
            answers.append(self._ask(torch.where(shown, image, self.base), target).double().cpu())
        return shapley_values(present, weights, *torch.cat(answers).tensor_split([1, 2]))


def every_pair(patches: int) -> int:
    """The number of all pairs of a coalition and its complement, without the empty and the full one."""
    return (1 << (patches - 1)) - 1


def coalitions(patches: int, pairs: int, seed: int) -> tuple[Tensor, Tensor]:
    """Coalitions in pairs, drawn without replacement with the probability `min(1, c / C(n, size))`.

    `1 / C(n, size)` is the leverage score of a coalition, so each size is about equally frequent. `c` is such that
    `pairs` are expected. The paper draws how many there are of each size, and so their total varies. Here the total is
    fixed by systematic sampling, with the same probability for each coalition (our choice).

    Args:
        patches: `n`, at least 2.
        pairs: at most `every_pair(n)`.

    Returns:
        The patches present, `(2 * pairs, n)` bool, and the weight of each coalition in the least squares,
        `(2 * pairs,)`: that of the Shapley kernel, `1 / (C(n, size) size (n - size))`, divided by the probability.
    """
    shares = _shares(patches, pairs)
    generator = generator_for(seed, "leverage shap")
    reached, taken = torch.rand((), generator=generator, dtype=torch.double).item(), 0
    rows, weights = [], []
    for size, share in enumerate(shares, start=1):
        reached += share
        drawn = math.floor(reached + 1e-9) - taken
        taken += drawn
        for chosen in _distinct(patches, size, drawn, generator):
            row = torch.zeros(patches, dtype=torch.bool)
            row[list(chosen)] = True
            rows += [row, ~row]
            weights += 2 * [_pairs_each(patches, size) / (share * size * (patches - size))]
    return torch.stack(rows), torch.tensor(weights, dtype=torch.double)


def _pairs_each(patches: int, size: int) -> float:
    """The pairs that a coalition of the size begins. Of two halves each begins the same pair, so it is one half."""
    return 0.5 if 2 * size == patches else 1.0


def _shares(patches: int, pairs: int) -> list[float]:
    """How many of `pairs` have the size 1, 2, .., n // 2 on average: `_pairs_each * min(C(n, size), c)`."""
    each = {size: _pairs_each(patches, size) for size in range(1, patches // 2 + 1)}
    most = {size: math.comb(patches, size) // (2 if 2 * size == patches else 1) for size in each}
    full: set[int] = set()
    while True:
        c = (pairs - sum(most[size] for size in full)) / sum(each[size] for size in each if size not in full)
        over = {size for size in each if size not in full and c * each[size] >= most[size]}
        full |= over
        if not over or len(full) == len(each):
            return [most[size] if size in full else c * each[size] for size in each]


def _distinct(patches: int, size: int, drawn: int, generator: torch.Generator) -> list[tuple[int, ...]]:
    """`drawn` different sets of `size` patches. Of two halves, the one with patch 0 stands for both."""
    halves = 2 * size == patches
    if drawn == math.comb(patches, size) // (2 if halves else 1):
        return [each for each in combinations(range(patches), size) if not halves or each[0] == 0]
    found: dict[tuple[int, ...], None] = {}
    while len(found) < drawn:
        order = torch.randperm(patches, generator=generator).tolist()
        chosen = order[:size] if not halves or 0 in order[:size] else order[size:]
        found[tuple(sorted(chosen))] = None
    return list(found)


def shapley_values(present: Tensor, weights: Tensor, empty: Tensor, full: Tensor, answers: Tensor) -> Tensor:
    """The `phi` that sums to `full - empty` and minimises `sum_z w_z (z phi - (f(z) - empty))^2`.

    With every coalition once and the weights of the Shapley kernel, it is the Shapley values (Lundberg, Lee 2017).

    Args:
        present: `z`, `(m, n)` bool.
        weights: `w_z`, `(m,)`.
        empty, full: the answers without any patch and with all of them, `(1,)`.
        answers: `f(z)`, `(m,)`.
    """
    root = (weights / weights.max()).sqrt()
    each = (full - empty) / present.shape[1]
    design = present.double()
    rest = answers - empty - design.sum(dim=1) * each
    centred = design - design.mean(dim=1, keepdim=True)  # so that what is fitted sums to 0
    fitted = torch.linalg.lstsq(root[:, None] * centred, (root * rest)[:, None], driver="gelsd").solution[:, 0]
    values: Tensor = fitted - fitted.mean() + each
    return values
