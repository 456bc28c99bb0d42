"""Does a counterfactual carry information, or does it only fool the classifier that it was made for?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from freemcg.results import Counterfactual


def informative_changes(results: Sequence[Counterfactual], judge: Callable[[Tensor], Tensor]) -> Tensor:
    """Which counterfactuals change the decision of a classifier that was trained apart, bool `(N,)`.

    It must decide the counterfactual as the target and the input otherwise. An input that it decided as the target from
    the start shows nothing. `judge` maps images `(N, C, H, W)` in [0, 1] to scores `(N, num_classes)`.
    """
    targets = torch.tensor([result.target for result in results])
    with torch.no_grad():
        before = judge(torch.stack([result.original for result in results])).argmax(dim=1).cpu()
        after = judge(torch.stack([result.image for result in results])).argmax(dim=1).cpu()
    return (after == targets) & (before != targets)
