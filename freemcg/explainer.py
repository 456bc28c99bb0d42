"""The explainer: constructed once with a black box, a denoiser and settings, then called."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from freemcg.blackbox import BlackBox, check_images
from freemcg.blackbox.scores import MULTI_LABEL, VALUE
from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.config import read_config
from freemcg.gradient.record import made_by
from freemcg.messages.errors import InvalidValue
from freemcg.results import Attribution, Counterfactual
from freemcg.settings import PaperSearch, Settings, SharedSearch, for_scores, make
from freemcg.tasks.attribution import attribute_image, contrast_maps, difference_map, stream_attributions
from freemcg.tasks.between import taken_back
from freemcg.tasks.counterfactual import find_counterfactual, find_diverse_counterfactuals
from freemcg.tasks.goal import ValueGoal, goal_of

Result = TypeVar("Result", Attribution, Counterfactual)
Target = int | str | Tensor | Sequence[int | str] | None
DEFAULT_TOLERANCE = 0.2
DEFAULT_QUERIES = 512


class FreeMCG:
    """Explain a classifier that can only be queried, with a diffusion model that knows what a realistic image is.

    Derivative-Free Diffusion Manifold-Constrained Gradient (Kim et al., CVPR 2025, arXiv 2411.15265): the particles
    are denoised noisy copies of the image, so they differ along the manifold of realistic images; how the black box's
    answers go with them gives the gradient on that manifold, without any derivative.

    Args:
        black_box: the classifier; what is not a `BlackBox` is wrapped in one, as `BlackBox(classifier)`.
        denoiser: the diffusion model.
        particles: denoised copies drawn for an attribution; costs time, no queries. At least as many are drawn as are
            asked about.
        queries: the most that one attribution asks, the image's own included.
        tolerance: relative standard error at which an attribution stops asking; then `queries` is the most it asks.
        noise: noise level of the attribution, a fraction of the schedule, or several to average over. Higher asks a
            coarser question.
        estimate: `"control_variate"`, `"sigma_points"`, `"cross_covariance"`, `"regression"` or `"per_particle"`; see
            `freemcg.ensemble`. Unless given it is the first, or `"cross_covariance"` for bare labels.
        objective: `"log_odds"`, `"log_probability"`, `"logit"`, `"margin"`, or a callable from log-probabilities
            `(N, num_classes)` and the target to values `(N,)`.
        search: how counterfactuals are sought: `SharedSearch(...)`, `PaperSearch(...)`, or a mapping of their fields.
            Where the black box answers top classes or bare labels, other defaults hold: `freemcg.settings.for_scores`.
        seed: of all noise. The same seed gives the same result, whatever the batch size or the number of processes.
        progress: show a bar over the images.

    Raises:
        ValueError: a setting is out of range; the message names it.
    """

    def __init__(
        self,
        black_box: BlackBox | Callable[[Tensor], Any],
        denoiser: Denoiser,
        *,
        particles: int = 256,
        queries: int = 65,
        tolerance: float | None = None,
        noise: float | Sequence[float] = 0.2,
        estimate: str | None = None,
        objective: str | Callable[[Tensor, int], Tensor] = "log_odds",
        search: SharedSearch | PaperSearch | dict[str, Any] | None = None,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        values: dict[str, Any] = {
            "particles": particles,
            "queries": queries,
            "tolerance": tolerance,
            "noise": noise,
            "objective": objective,
            "search": {} if search is None else search,
            "seed": seed,
        }
        if estimate is not None:
            values["estimate"] = estimate
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.settings = make(Settings, for_scores(values, self.black_box.scores))
        self.denoiser = denoiser
        self.progress = progress

    @classmethod
    def paper(cls, black_box: BlackBox | Callable[[Tensor], Any], denoiser: Denoiser, *, seed: int = 0) -> FreeMCG:
        """The procedure and the numbers of the paper: 101 queries an attribution, 9,902 a counterfactual."""
        return cls(black_box, denoiser, seed=seed, **read_config("paper")[0])

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Attributions of a batch, in the manner of Captum.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            target: class index or name, for all or one an image; `None` explains each decision made.

        Returns:
            Signed attributions, `(N, C, H, W)`. Each is what `explain` answers for that image alone.

        Costs `queries` queries an image.
        """
        self._check(images)
        targets = self._targets(target, len(images))
        bar = tqdm(images, desc="attributions", disable=not self.progress)
        return torch.stack([self.explain(image, each).values for image, each in zip(bar, targets, strict=True)])

    def explain(
        self,
        image: Tensor,
        target: int | str | None = None,
        *,
        tolerance: float | None = None,
        queries: int | None = None,
    ) -> Attribution:
        """Attribution of one image `(C, H, W)` or `(1, C, H, W)`, with its standard error, cost and status.

        Args:
            target: class index or name; `None` explains the decision made.
            tolerance: where given, in place of the explainer's: ask in small batches until the map's relative standard
                error is at most this.
            queries: the most that is asked then, the image's own included; 512 unless given.

        Costs the explainer's `queries`; with a tolerance 33, and 16 more for each step, up to `queries`.
        """
        if tolerance is not None or queries is not None:
            return deque(self.stream(image, target, tolerance=tolerance, queries=queries), maxlen=1).pop()
        prepared, record = self._one(image, target)
        result = attribute_image(self.black_box, self.denoiser, prepared, target, self.settings)
        return _finished(result, image, record)

    def stream(
        self,
        image: Tensor,
        target: int | str | None = None,
        *,
        tolerance: float | None = None,
        queries: int | None = None,
    ) -> Iterator[Attribution]:
        """What `explain` answers with these arguments, and before it the map so far after each batch.

        `tolerance` is the explainer's where `None`, and 0.2 where that has none. Stop taking maps, and no more is
        asked.

        Raises:
            ValueError: at once, before anything is asked, as `explain` does; or the estimate has no error bars.
        """
        values = {name: getattr(self.settings, name) for name in Settings.model_fields}
        wanted = self.settings.tolerance if tolerance is None else tolerance
        values["tolerance"] = DEFAULT_TOLERANCE if wanted is None else wanted
        if queries is not None or self.settings.tolerance is None:
            values["queries"] = DEFAULT_QUERIES if queries is None else queries
        settings = make(Settings, values)
        prepared, record = self._one(image, target, settings)
        maps = stream_attributions(self.black_box, self.denoiser, prepared, target, settings)
        return (_finished(result, image, record) for result in maps)

    def contrasts(
        self, image: Tensor, classes: Sequence[int | str] | None = None
    ) -> dict[tuple[int, int], Attribution]:
        """For every pair of classes `(a, b)`, what speaks for `a` against `b`: the map of `log p_a - log p_b`.

        Args:
            classes: two or more, by index or name; `None` takes all. The map of `(b, a)` is that of `(a, b)` negated.

        Costs `queries` queries, however many pairs there are.

        Raises:
            ValueError: fewer than two classes, or all of a black box that has not said yet how many it has.
        """
        prepared, record = self._one(image, None)
        if classes is None:
            if self.black_box.num_classes is None:
                raise InvalidValue("the number of classes is not known yet; name the classes, or give num_classes")
            classes = range(self.black_box.num_classes)
        chosen = [self.black_box.class_index(each) for each in classes]
        if len(set(chosen)) < 2 or len(set(chosen)) < len(chosen):
            raise InvalidValue(f"classes must be two or more different ones, got {list(classes)}")
        maps = contrast_maps(self.black_box, self.denoiser, prepared, chosen, self.settings)
        return {pair: _finished(result, image, record) for pair, result in maps.items()}

    def difference(
        self, other: BlackBox | Callable[[Tensor], Any], image: Tensor, target: int | str | None = None
    ) -> Attribution:
        """The attribution of this black box less that of `other`, both asked about the same points.

        Its standard error is the difference's own: what the two models share cancels point by point.

        Costs `queries` queries of each; the result counts those of one.
        """
        if other is self.black_box:
            raise InvalidValue("a model does not differ from itself; hand over another one")
        prepared, record = self._one(image, target)
        black_box = other if isinstance(other, BlackBox) else BlackBox(other)
        result = difference_map(self.black_box, black_box, self.denoiser, prepared, target, self.settings)
        return _finished(result, image, record)

    def counterfactual(self, image: Tensor, target: float | str | None = None) -> Counterfactual:
        """A realistic image close to `image` `(C, H, W)` that is decided as `target`; `None` takes the runner-up.

        Of independent labels, `target` is the label that is turned on or off. Of values it is a number to reach within
        a tenth of the way there, or `"up:1.5"`, `"down:2"`, after `"NAME="` where there are several. The result is then
        one of two classes, no and yes: `freemcg.tasks.goal`.

        Costs at most `search.queries` queries, 50 by default, and 8 more where a number to reach was passed.
        """
        goal = goal_of(self.black_box, target)
        if goal is None:
            wanted = None if target is None else self.black_box.class_index(target)
            prepared, record = self._one(image, wanted)
            result = find_counterfactual(self.black_box, self.denoiser, prepared, wanted, self.settings)
            return _finished(result, image, record, target_named=target is not None)
        prepared, record = self._one(image, None)
        with self.black_box.read_as(goal.reading):
            result = find_counterfactual(self.black_box, self.denoiser, prepared, goal.target, self.settings)
            if isinstance(goal, ValueGoal):
                result = taken_back(self.black_box, self.denoiser, result, goal, seed=self.settings.seed)
        told = goal.told(result.original_log_probabilities, result.log_probabilities)
        return _finished(result, image, record, target_named=True, class_names=goal.names, **told)

    def counterfactuals(self, image: Tensor, target: int | str | None = None, *, n: int = 4) -> list[Counterfactual]:
        """Up to `n` counterfactuals of one image, each decided as `target`, and far from one another.

        They are chosen among `8 n` particles that share one search, so `n` of them cost hardly more queries than one:
        at most `search.queries + 2 n (1 + search.copies)`, which is what each result's `queries` says of the whole.
        Fewer come back where fewer were decided as the target; where none was, the best attempt comes back alone, and
        its status says why.

        Raises:
            ValueError: `n` is less than 1, or the settings hold the search of the paper, which answers one image.
        """
        if n < 1:
            raise InvalidValue(f"n must be >= 1, got {n}")
        if self.black_box.scores in (*MULTI_LABEL, VALUE):
            raise InvalidValue("several counterfactuals need classes that exclude one another; ask for one")
        if not isinstance(self.settings.search, SharedSearch):
            raise InvalidValue("the paper's search answers one image; several need search.method 'shared'")
        prepared, record = self._one(image, target)
        results = find_diverse_counterfactuals(self.black_box, self.denoiser, prepared, target, self.settings, n)
        return [_finished(result, image, record, target_named=target is not None) for result in results]

    def known_target(self, target: float | str | None, task: str) -> int | str | None:
        """A target as JSON can hold it: the index of a class or label, or the goal of a counterfactual of values.

        Raises:
            ValueError: there is no such class, or it is no goal.
        """
        if task == "counterfactual" and self.black_box.scores == VALUE:
            goal_of(self.black_box, target)
            return str(target)
        if task == "counterfactual":
            goal_of(self.black_box, target)
        return None if target is None else self.black_box.class_index(target)

    def _one(
        self, image: Tensor, target: int | str | None, settings: Settings | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """One checked image `(C, H, W)`, where the denoiser is, and what a result of it says of its makers.

        The record is made before the first query: what it cannot say is no reason to lose an answer.
        """
        one = isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] in (1, 3)
        batch = image[None] if one else image
        self._check(batch)
        if len(batch) != 1:
            raise InvalidValue(f"one image at a time, (C, H, W), got {tuple(image.shape)}; attribute() takes a batch")
        if target is not None:
            self.black_box.class_index(target)
        record = made_by(self.black_box, self.denoiser, (settings or self.settings).record())
        return batch[0].detach().to(self.denoiser.device, torch.float32), record

    def _check(self, images: Tensor) -> None:
        check_images(images)
        self.denoiser.check_size(images)

    def _targets(self, target: Target, count: int) -> list[int | str | None]:
        if isinstance(target, Tensor):
            target = target.reshape(-1).tolist()
        if target is None or isinstance(target, str) or not isinstance(target, Sequence):
            return [None if target is None else self.black_box.class_index(target)] * count
        if len(target) != count:
            raise InvalidValue(f"there are {count} images but {len(target)} targets")
        for each in target:
            self.black_box.class_index(each)
        return list(target)


def _finished(result: Result, image: Tensor, record: dict[str, Any], **more: Any) -> Result:
    return replace(result.to(image.device), record={**record, **result.record, **more})
