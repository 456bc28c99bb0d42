"""The result of a search: a realistic image that is decided otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from freemcg.results.status import Status
from freemcg.results.stored import Stored

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Counterfactual(Stored):
    """A realistic image close to the input that the black box decides as the target.

    Attributes:
        image: the answer, `(C, H, W)` in [0, 1], exactly as an 8-bit file holds it.
        original: the input.
        path: the answer's particle at each step, from the noisiest to the last, `(S, C, H, W)`. An answer that was
            trimmed or moved back afterwards is one more.
        log_probabilities: the black box's answer for `image` itself, `(num_classes,)`.
        original_log_probabilities: the black box's answer for the input.
        target: the class wanted.
        decision: the class that the black box decides for `image`.
        original_decision: the class that it decides for the input.
        l1: the mean absolute change of a pixel.
        l2: the Euclidean norm of the change.
        realism: the denoising error of `image` divided by that of the input. At most 1 is as realistic as the input.
        status: `complete`, `not_flipped`, `no_signal`, `budget_exhausted`, `already_target` or `model_changed`.
        queries: the images that it queried, including those answered from the cache.
        seconds: the time that it took.
        record: the settings, seed, identities and versions that made it. If the model did not repeat itself, it also
            holds the `disagreement` of the answers to the image. With a latent model, it holds what the `autoencoder`
            loses; see `freemcg.tasks.restored`. If the answer was `trimmed`, it holds how many `regions` its change
            has, and how many were `kept`; see `freemcg.tasks.trimming`. If its path was asked about, it holds the
            `path_queries` that this cost, which are among `queries`.
        path_log_probabilities: the black box's answer for each image of `path` as an 8-bit file holds it,
            `(S, num_classes)`. `None` if it was not asked (`ask_path`, or too few queries left), or if an older version
            saved the result.
    """

    image: Tensor
    original: Tensor
    path: Tensor
    log_probabilities: Tensor
    original_log_probabilities: Tensor
    target: int
    decision: int
    original_decision: int
    l1: float
    l2: float
    realism: float
    status: Status
    queries: int
    seconds: float
    record: dict[str, Any]
    path_log_probabilities: Tensor | None = None

    @property
    def flipped(self) -> bool:
        """Whether the black box decides the answer as the target."""
        return self.decision == self.target

    @property
    def target_probability(self) -> float:
        """The probability of the target that the black box gives the answer."""
        return self.log_probabilities[self.target].exp().item()

    def plot(self) -> Figure:
        """A figure of the input, the counterfactual and their signed difference."""
        from freemcg.show.figures import plot_counterfactual  # noqa: PLC0415

        return plot_counterfactual(self)
