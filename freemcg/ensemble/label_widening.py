"""The factor that widens error bars of bare labels. The count of a seldom seen label is uncertain."""

from __future__ import annotations

import math

from torch import Tensor

PSEUDO = 2


def label_widening(values: Tensor) -> float:
    """The factor for a standard error that was estimated from `values` `(K,)`, if many are the same.

    Of K labels, n differ from the most common one. A variance estimated from them is proportional to `p (1 - p)` with
    `p = n / K`. For small n that is too small more often than too large, so an interval of normal width covers too
    seldom. Two more labels of either kind, `p = (n + 2) / (K + 4)`, correct this for a binomial share (Agresti, Coull
    1998), and here too. (To use it here is our choice. It was tested on a Gaussian ensemble, whose covariance with a
    label is known.) The factor is infinite if all labels are the same: no change was seen, but there may be one.
    """
    count = len(values)
    others = int((values != values.mode().values).sum()) if count else 0
    if others == 0:
        return math.inf
    more, total = others + PSEUDO, count + 2 * PSEUDO
    return math.sqrt(more * (total - more) / (others * (count - others))) * count / total
