"""Do error bars hold what they promise? Their coverage of a reference map."""

from __future__ import annotations

from torch import Tensor

from freemcg.evaluation.intervals import Z
from freemcg.messages.errors import InvalidValue


def coverage(values: Tensor, standard_errors: Tensor, reference: Tensor, *, width: float = Z) -> Tensor:
    """The share of pixels whose bar `values +- width * standard_errors` holds the reference, `(N,)` float64 in [0, 1].

    Right is the share that the bars promise: 0.95 with the default width. Less is too bold, more is too timid. An
    infinite bar holds everything. It costs no query beyond the reference map, which another, larger sample makes.

    Args:
        values, standard_errors, reference: `(N, C, H, W)` each.
        width: the half-width of a bar in standard errors.

    Raises:
        ValueError: the shapes differ.
    """
    if not values.shape == standard_errors.shape == reference.shape:
        shapes = ", ".join(str(tuple(each.shape)) for each in (values, standard_errors, reference))
        raise InvalidValue(f"values, standard errors and reference must have one shape, got {shapes}")
    held = (values - reference).abs() <= width * standard_errors
    return held.flatten(1).double().mean(dim=1)
