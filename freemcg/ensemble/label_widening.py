"""How much wider the error bars of bare labels are than those of scores: a label seldom seen is an uncertain count."""

from __future__ import annotations

import math

from torch import Tensor

PSEUDO = 2


def label_widening(values: Tensor) -> float:
    """The factor for a standard error that was estimated from `values` `(K,)` of which many are the same.

    Of K labels n differ from the most common one. A variance estimated from them is proportional to `p (1 - p)` with
    `p = n / K`, which is too small more often than too large where n is small, so that an interval of normal width
    covers too seldom. Two more of either kind, `p = (n + 2) / (K + 4)`, mend that for a binomial share (Agresti, Coull
    1998), and here. (That it may be used here is a choice of ours, tested on a Gaussian ensemble, whose covariance with
    a label is known.) Infinite where all are alike: a change was not seen, which does not mean that there is none.
    """
    count = len(values)
    others = int((values != values.mode().values).sum()) if count else 0
    if others == 0:
        return math.inf
    more, total = others + PSEUDO, count + 2 * PSEUDO
    return math.sqrt(more * (total - more) / (others * (count - others))) * count / total
