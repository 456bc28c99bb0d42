"""The explainer. It is constructed once with a black box, a denoiser and settings, and then called."""

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
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidValue
from freemcg.results import Attribution, Counterfactual
from freemcg.settings import PaperSearch, Settings, SharedSearch, for_scores, make
from freemcg.tasks.attribution import attribute_image, contrast_maps, difference_map, stream_attributions
from freemcg.tasks.between import taken_back
from freemcg.tasks.counterfactual import find_counterfactual, find_diverse_counterfactuals
from freemcg.tasks.goal import ValueGoal, goal_of
from freemcg.tasks.record import made_by
from freemcg.tasks.runner_up import with_runner_up_paid
from freemcg.tasks.settling import settled_search

AnyExplanation = TypeVar("AnyExplanation", Attribution, Counterfactual)
Target = int | str | Tensor | Sequence[int | str] | None
DEFAULT_TOLERANCE = 0.2
DEFAULT_QUERIES = 512


class FreeMCG:
    """Explain a classifier that can only be queried, with a diffusion model that knows what a realistic image is.

    The method is Derivative-Free Diffusion Manifold-Constrained Gradient (Kim et al., CVPR 2025, arXiv 2411.15265).
    Its particles are denoised noisy copies of the image, so they differ along the manifold of realistic images. The
    black box's answers vary with the particles. This gives the gradient on the manifold, without any derivative.

    Args:
        black_box: the classifier. If it is not a `BlackBox`, it is wrapped as `BlackBox(classifier)`.
        denoiser: the diffusion model.
        particles: the denoised copies drawn for an attribution. They cost time and no queries. If more are to be
            queried, more are drawn.
        queries: the most queries for one attribution, the image's own included. With a latent model, one of them asks
            whether its autoencoder alone changes the decision.
        tolerance: the relative standard error at which an attribution stops early.
        noise: the noise level of the attribution, as a fraction of the schedule, or several levels to average over. A
            higher level asks a coarser question. `None` leaves it to the image, and `estimate` with it: 0.2, or 0.5 for
            a photograph; see `freemcg.settings.Settings.settled`.
        estimate: `"control_variate"`, `"sigma_points"`, `"cross_covariance"`, `"regression"` or `"per_particle"`; see
            `freemcg.ensemble`. `None` is the first, or the third for bare labels, and for a photograph unless `noise`
            is named.
        objective: `"log_odds"`, `"log_probability"`, `"logit"`, `"margin"`, or a callable from log-probabilities
            `(N, num_classes)` and the target to values `(N,)`.
        search: the search for counterfactuals: `SharedSearch(...)`, `PaperSearch(...)`, or a mapping of their fields.
            The image decides some of what a mapping does not name: `freemcg.settings.SharedSearch`.
        ask_path: whether a counterfactual also queries the steps of its path, each at most once. They
            are not asked if a budget has too few left; see `freemcg.tasks.along_path`.
        seed: the seed of all noise. It fixes the result, whatever the batch size or the number of processes.
        progress: whether to show a bar over the images.

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
        noise: float | Sequence[float] | None = None,
        estimate: str | None = None,
        objective: str | Callable[[Tensor, int], Tensor] = "log_odds",
        search: SharedSearch | PaperSearch | dict[str, Any] | None = None,
        ask_path: bool = False,
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        values: dict[str, Any] = {"particles": particles, "queries": queries, "tolerance": tolerance, "seed": seed}
        values |= {"objective": objective, "search": {} if search is None else search, "ask_path": ask_path}
        values |= {name: value for name, value in {"noise": noise, "estimate": estimate}.items() if value is not None}
        self.black_box = black_box if isinstance(black_box, BlackBox) else BlackBox(black_box)
        self.settings = make(Settings, for_scores(values, self.black_box.scores))
        self.denoiser = denoiser
        self.progress = progress

    @classmethod
    def paper(cls, black_box: BlackBox | Callable[[Tensor], Any], denoiser: Denoiser, *, seed: int = 0) -> FreeMCG:
        """The paper's procedure and numbers: 101 queries per attribution, 9,902 per counterfactual."""
        return cls(black_box, denoiser, seed=seed, **read_config("paper")[0])

    def attribute(self, images: Tensor, target: Target = None) -> Tensor:
        """Attribute a batch of images, with the arguments of Captum's `attribute`.

        Args:
            images: `(N, C, H, W)` in [0, 1].
            target: a class index or name for all images, or one per image in a list, tuple, array or tensor. `None`
                explains each image's decision.

        Returns:
            Signed attributions, `(N, C, H, W)`. Each is what `explain` returns for that image alone.

        Each image costs `queries` queries, or fewer with a tolerance.
        """
        self._check(images)
        targets = self.black_box.class_indices(target, len(images))
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
        """Attribute one image `(C, H, W)` or `(1, C, H, W)`. The result holds the standard error, cost and status.

        Args:
            target: a class index or name. `None` explains the decision made.
            tolerance: replaces the explainer's. Queries go out in small batches until the map's relative standard error
                is at most this.
            queries: the most queries then, the image's own included. The default is 512, or the explainer's `queries`
                if the explainer has a tolerance.

        It costs the explainer's `queries`. With a tolerance it costs 33, and 16 per noise level for each further batch.
        """
        if tolerance is not None or queries is not None:
            return deque(self.stream(image, target, tolerance=tolerance, queries=queries), maxlen=1).pop()
        prepared, record = self._prepared(image, target)
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
        """Yield the map so far after each batch of queries. The last is what `explain` returns with this tolerance.

        If `tolerance` is `None`, it is the explainer's, or 0.2 if that has none. A batch is queried only when the next
        map is taken.

        Raises:
            ValueError: an argument is wrong, or the estimate has no error bars. It is raised before any query.
        """
        values = self.settings.named
        wanted = self.settings.tolerance if tolerance is None else tolerance
        values["tolerance"] = DEFAULT_TOLERANCE if wanted is None else wanted
        if queries is not None or self.settings.tolerance is None:
            values["queries"] = DEFAULT_QUERIES if queries is None else queries
        settings = make(Settings, values)
        prepared, record = self._prepared(image, target, settings)
        maps = stream_attributions(self.black_box, self.denoiser, prepared, target, settings)
        return (_finished(result, image, record) for result in maps)

    def contrasts(
        self, image: Tensor, classes: Sequence[int | str] | None = None
    ) -> dict[tuple[int, int], Attribution]:
        """Map what speaks for class `a` against class `b`, `log p_a - log p_b`, for every pair `(a, b)`.

        Args:
            classes: two or more, by index or name. `None` takes all. The map of `(b, a)` is that of `(a, b)` negated.

        It costs `queries` queries, however many pairs there are.

        Raises:
            ValueError: the classes are not two or more different ones, or all are wanted and their number is unknown.
        """
        prepared, record = self._prepared(image, None)
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
        """The attribution of this black box minus that of `other`. Both are queried at the same points.

        The standard error is that of the difference: what the two models share cancels point by point.

        It costs `queries` queries of each model. The result counts those of one.
        """
        if other is self.black_box:
            raise InvalidValue("the other model is this one, so the difference is zero; pass another model")
        prepared, record = self._prepared(image, target)
        black_box = other if isinstance(other, BlackBox) else BlackBox(other)
        result = difference_map(self.black_box, black_box, self.denoiser, prepared, target, self.settings)
        return _finished(result, image, record)

    def counterfactual(self, image: Tensor, target: float | str | None = None) -> Counterfactual:
        """Find a realistic image close to `image` `(C, H, W)` that is decided as `target`; `None` is the runner-up.

        For independent labels, `target` is the label to turn on or off. For values it is a number to reach within a
        tenth of the way there, or `"up:1.5"` or `"down:2"`. If there are several values, `"NAME="` comes before it. The
        result then has two classes, no and yes: see `freemcg.tasks.goal`.

        It costs at most `search.queries` queries, 8 more if it went past a number to reach, and `search.frames` more
        with `ask_path`. The default is 50, or 800 if images near it differ in many ways: `freemcg.tasks.settling`.
        """
        goal = goal_of(self.black_box, target)
        if goal is None:
            wanted = None if target is None else self.black_box.class_index(target)
            prepared, settings, record = self._prepared_search(image, wanted)
            result = find_counterfactual(self.black_box, self.denoiser, prepared, wanted, settings)
            return _finished(result, image, record, target_named=target is not None)
        prepared, settings, record = self._prepared_search(image, None)
        with self.black_box.read_as(goal.reading):
            result = find_counterfactual(self.black_box, self.denoiser, prepared, goal.target, settings)
            if isinstance(goal, ValueGoal):
                result = taken_back(self.black_box, self.denoiser, result, goal, seed=self.settings.seed)
        told = goal.told(result.original_log_probabilities, result.log_probabilities)
        return _finished(result, image, record, target_named=True, class_names=goal.names, **told)

    def counterfactuals(self, image: Tensor, target: int | str | None = None, *, n: int = 4) -> list[Counterfactual]:
        """Find up to `n` counterfactuals of one image, each decided as `target`, and far from one another.

        They are chosen among `8 n` particles that share a search of one round, so `n` cost few queries more than one.
        The most is `search.queries + 2 n (1 + search.copies)`, and `ask_path` adds at most `n` times `search.frames`.
        Each result's `queries` is the cost of all together. If fewer than `n` reach `search.confidence`, fewer are
        returned. If none does, the best attempt is returned alone, and its status says what it is.

        Raises:
            ValueError: `n` is not in 1..1000, the classes do not exclude one another, or the search is the paper's.
        """
        n = whole("n", n, 1, 1000)
        if self.black_box.scores in (*MULTI_LABEL, VALUE):
            raise InvalidValue(f"several counterfactuals need classes, not {self.black_box.scores}; ask for one")
        if not isinstance(self.settings.search, SharedSearch):
            raise InvalidValue("the paper's search finds one counterfactual; several need search.method 'shared'")
        prepared, settings, record = self._prepared_search(image, target, rounds=1)
        results = find_diverse_counterfactuals(self.black_box, self.denoiser, prepared, target, settings, n)
        return [_finished(result, image, record, target_named=target is not None) for result in results]

    def known_target(self, target: float | str | None, task: str) -> int | str | None:
        """The target in a form that JSON can hold: the index of a class or label, or the goal for a value.

        Raises:
            ValueError: there is no such class, the goal is malformed, or the search cannot pay for a runner-up.
        """
        if task == "counterfactual":
            goal_of(self.black_box, target)
            if self.black_box.scores == VALUE:
                return str(target)
            with_runner_up_paid(self.settings, self.black_box, target)
        return None if target is None else self.black_box.class_index(target)

    def _prepared(
        self, image: Tensor, target: int | str | None, settings: Settings | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """One checked image `(C, H, W)` on the denoiser's device, and the record for its result.

        The record is made before the first query. If that fails, no paid answer is lost.
        """
        prepared = self._checked(image, target)
        return prepared, made_by(self.black_box, self.denoiser, (settings or self.settings).record())

    def _prepared_search(self, image: Tensor, target: Any, **meant: int) -> tuple[Tensor, Settings, dict[str, Any]]:
        """As `_prepared`, and the settings with what is `meant` for the search, and all that the image decides."""
        prepared, given = self._checked(image, target), self.settings
        search = settled_search(
            given.search.model_copy(update=meant), self.denoiser, prepared, self.black_box.scores, seed=given.seed
        )
        settings = given.model_copy(update={"search": search})
        return prepared, settings, made_by(self.black_box, self.denoiser, settings.record())

    def _checked(self, image: Tensor, target: int | str | None) -> Tensor:
        without_batch = isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] in (1, 3)
        batch = image[None] if without_batch else image
        self._check(batch)
        if len(batch) != 1:
            raise InvalidValue(f"one image at a time, (C, H, W), got {tuple(image.shape)}; attribute() takes a batch")
        if target is not None:
            self.black_box.class_index(target)
        return batch[0].detach().to(self.denoiser.device, torch.float32)

    def _check(self, images: Tensor) -> None:
        check_images(images)
        self.denoiser.check_size(images)


def _finished(result: AnyExplanation, image: Tensor, record: dict[str, Any], **more: Any) -> AnyExplanation:
    return replace(result.to(image.device), record={**record, **result.record, **more})
