"""The black box counts, bounds and checks the queries to a classifier of any kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.blackbox.asking import Predict, QueryBudgetExceeded, Remote, ask
from freemcg.blackbox.cache import QueryCache, image_key
from freemcg.blackbox.classes import class_index, each_target, in_order
from freemcg.blackbox.disagreement import on_one_scale
from freemcg.blackbox.named import Named
from freemcg.blackbox.preparation import check_images, check_preparation, height_and_width, numbers, placed, prepared
from freemcg.blackbox.reading import Reading
from freemcg.blackbox.receipt import Receipt
from freemcg.blackbox.scores import ONE_NUMBER, VALUE
from freemcg.identity.inside import networks
from freemcg.identity.mode import refuse_training
from freemcg.messages.arguments import truth, whole
from freemcg.messages.errors import InvalidType, InvalidValue

PREPARED = ("image_size", "channels", "mean", "std", "eight_bit")
"""The arguments that say how images are prepared."""


class BlackBox(Named):
    """A classifier that can only be queried.

    Args:
        predict: a callable that maps images `(N, C, H, W)`, float32 in [0, 1], to scores. These are a tensor, an array
            of any library, lists of numbers, an object or dict with `logits`, or a tuple or list that begins with such
            an array. A `torch.nn.Module` gets the images on its own device and must be in eval mode. Or a `Remote`,
            which counts the images that it sends. If `predict` has an `identity`, a string, that names the model.
        scores: the kind of its answers. `"logits"`, `"probabilities"`, `"percent"` (probabilities that sum to 100) and
            `"log_probabilities"` are `(N, num_classes)`. `"top_k"` are the probabilities of some classes: either
            `(N, num_classes)` with NaN for the others, or a pair of labels and scores, both `(N, k)`. `"label"` is
            `(N,)`. These two need `class_names` or `num_classes`. `"binary"` is the probability of the positive class
            (class 1 of two), and `"binary_logit"` its logit, `(N,)` or `(N, 1)`. `"multi_label"` is a probability for
            each label, whatever the others are, and `"multi_label_logit"` its logit, `(N, labels)`. `"value"` is one or
            several numbers that mean themselves, `(N,)` or `(N, outputs)`; each number is then a "class".
        image_size: `(H, W)` or a side that the classifier needs; other images are resized (bilinear, antialiased).
        channels: 1 or 3, as the classifier needs; grey is repeated, RGB becomes luma (ITU-R 601).
        mean, std: one for each channel, or one for all. If given, the classifier gets `(image - mean) / std`.
        eight_bit: round images to 8 bits, as a file would hold them, after resizing and before normalising.
        batch_size: the images in one call of `predict`. It changes memory and speed, not results.
        budget: the most images that may ever be sent, retries included.
        class_names: the names of the classes, in the order of the scores or by index.
        may_change: whether its answers may change later. An explanation then queries its image again at the end. By
            default a `Remote` may change, and a model that runs here may not, even if it answers by chance: `freemcg
            probe` finds that out.
        cache: a memory of answers. A known answer costs no query, and an image that comes twice in one call is queried
            once. A callable then needs an `identity`, since the cache keeps its answers by that.

    Attributes:
        queries, answered, retried, cached: counts of images; see `Counted`.
        num_classes: known from the arguments, or from the first answer on.
        change_is_declared: whether `may_change` was said, and is no default.
        on_answer: `None`, or a function that is called after each batch of answers, on the calling thread.

    Raises:
        ValueError: an argument is out of range, or an answer is not as declared. The message says which and how.
        QueryBudgetExceeded: a call would pass the budget. None of its images was sent, unless retries passed it.
    """

    def __init__(
        self,
        predict: Predict,
        scores: str = "logits",
        *,
        image_size: int | tuple[int, int] | None = None,
        channels: int | None = None,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        eight_bit: bool = False,
        batch_size: int = 64,
        budget: int | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | Mapping[int, str] | None = None,
        may_change: bool | None = None,
        cache: QueryCache | None = None,
    ) -> None:
        super().__init__(predict, budget)
        if isinstance(predict, BlackBox):
            raise InvalidType("predict is a BlackBox already; use it as it is")
        if isinstance(predict, type):
            raise InvalidType(f"predict is the class {predict.__name__}; make an instance of it")
        if not callable(predict) and not isinstance(predict, Remote):
            raise InvalidType(f"predict must be callable (images in, scores out), got {type(predict).__name__}")
        mean, std = numbers(mean), numbers(std)
        channels = None if channels is None else whole("channels", channels)
        check_preparation(channels, mean, std)
        class_names = in_order(class_names)
        num_classes = None if num_classes is None else whole("num_classes", num_classes)
        if class_names is not None and num_classes not in (None, len(class_names)):
            raise InvalidValue(f"num_classes is {num_classes} but there are {len(class_names)} class_names")
        self.image_size = None if image_size is None else height_and_width(image_size)
        self.channels = channels
        self.mean, self.std = mean, std
        self.eight_bit = truth("eight_bit", eight_bit)
        self.batch_size = whole("batch_size", batch_size, 1)
        self.class_names = class_names
        self.reading = Reading(scores, num_classes if class_names is None else len(class_names))
        self._declared_classes = self.num_classes
        remote = isinstance(predict, Remote) and not isinstance(predict, nn.Module)
        self.may_change = remote if may_change is None else truth("may_change", may_change)
        self.change_is_declared = may_change is not None
        self.cache = cache
        self.on_answer: Callable[[], None] | None = None
        self._receipt: Receipt | None = None
        self._read_as: Callable[[Tensor], Tensor] | None = None
        self._networks = networks(predict)  # once, since the walk through the user's code is slow

    @property
    def scores(self) -> str:
        """The kind of the classifier's answers, one of `SCORE_KINDS`."""
        return self.reading.kind

    @property
    def num_classes(self) -> int | None:
        """Known from the arguments, or from the first answer on."""
        return self.reading.num_classes

    def __repr__(self) -> str:
        spent = f"{self.queries} queries" + ("" if self.budget is None else f" of {self.budget}")
        return f"BlackBox({self.identity}, scores={self.scores!r}, {spent})"

    def class_index(self, target: int | str | Any) -> int:
        """The index of a class given by name or by index; see `freemcg.blackbox.classes.class_index`."""
        return class_index(target, self.class_names, self.num_classes if self._read_as is None else 2)

    def class_indices(self, targets: Any, images: int) -> list[int | None]:
        """The index of a class for each image; see `freemcg.blackbox.classes.each_target`. `None` stays."""
        return [None if each is None else self.class_index(each) for each in each_target(targets, images)]

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Query images `(N, C, H, W)` in [0, 1]. The answer is log-probabilities `(N, num_classes)`, float32, no graph.

        Those of independent labels are not normalised. For `"value"` the values themselves are returned.

        This costs N queries, less those that the cache answers, and more if a remote model needs retries.
        """
        check_images(images)
        images, before = images.detach(), self.queries
        keys = self._keys(images) if self.cache is not None or self._receipt is not None else []
        found: dict[int, Tensor] = {}
        try:
            self._answer(images, keys, found)
        except QueryBudgetExceeded as error:
            error.answered = {index: self._understood(row[None])[0].to(images.device) for index, row in found.items()}
            raise
        finally:
            if self._receipt is not None:
                self._receipt.add(keys, found, self.queries - before)
        understood = self._understood(torch.stack([found[index] for index in range(len(images))]))
        return understood.to(images.device)

    @contextmanager
    def read_as(self, reading: Callable[[Tensor], Tensor]) -> Iterator[None]:
        """Within the block, `reading` turns answers `(N, num_classes)` into log-probabilities `(N, 2)` of two classes.

        It changes nothing in the queries, the cache and the receipts.
        """
        self._read_as = reading
        try:
            yield
        finally:
            self._read_as = None

    @contextmanager
    def recording(self) -> Iterator[Receipt]:
        """Within the block, every question and its answer go into the receipt, also those that the cache answers."""
        described = self.described | {"identity": self.identity}
        receipt, before = Receipt(described, self.remaining), self._receipt
        self._receipt = receipt
        try:
            yield receipt
        finally:
            self._receipt = before
            receipt.black_box["num_classes"] = self.num_classes

    @property
    def described(self) -> dict[str, Any]:
        """The arguments that say how an image is prepared and an answer is read, in a form that JSON can hold."""
        names = (*PREPARED, "scores", "class_names", "may_change")
        return {name: getattr(self, name) for name in names} | {"num_classes": self._declared_classes}

    def _answer(self, images: Tensor, keys: list[bytes], found: dict[int, Tensor]) -> None:
        """Put answers into `found` by the number of the image. The cache is tried first, and the rest is queried.

        If this raises, `found` holds the answers until then.
        """
        name, first = "", dict[bytes, int]()
        if self.cache is not None:
            name = self.identity
            first = {key: index for index, key in reversed(list(enumerate(keys)))}
            known = self.cache.sound(name, self.scores, list(first), self.reading.numbers)
            found |= {index: known[key] for index, key in enumerate(keys) if key in known}
            self.cached += len(found)
        for row in found.values():
            self.reading.check_classes(len(row) if self.scores not in ONE_NUMBER else self.num_classes or 0)
        missing = [i for i in range(len(images)) if i not in found and (not first or first[keys[i]] == i)]
        remaining = self.remaining
        if remaining is not None and len(missing) > remaining:
            raise QueryBudgetExceeded(len(missing), remaining, self.budget or 0)
        for called, network in self._networks:
            refuse_training(network, called)
        if found and not self.is_proven(name) and (remaining is None or len(missing) < remaining):
            index = min(found)
            kept = found[index]
            self._ask(images, [index], name, keys, found)
            self.cached -= 1
            answers = self.reading.meant(torch.stack([kept, found[index]]))
            self.prove(name, on_one_scale(answers, values=self.scores == VALUE))
        for start in range(0, len(missing), self.batch_size):
            self._ask(images, missing[start : start + self.batch_size], name, keys, found)
        for index in range(len(images)):
            if index not in found:
                found[index] = found[first[keys[index]]]
                self.cached += 1

    def _ask(self, images: Tensor, numbers: list[int], name: str, keys: list[bytes], found: dict[int, Tensor]) -> None:
        """Query a batch. Its images are counted when they are sent, whatever comes back. Its answers are kept."""
        prepared = self.prepare(images[numbers])
        with closing(ask(self.predict, prepared, self.charge)) as answers:
            for start, count, answer in answers:
                rows, asked = self.reading.rows(answer, count), numbers[start : start + count]
                self.answered += count
                if self.cache is not None:
                    self.cache.put(name, self.scores, [keys[index] for index in asked], rows)
                found.update(zip(asked, rows, strict=True))
                if self.on_answer is not None:
                    self.on_answer()

    def _keys(self, images: Tensor) -> list[bytes]:
        """A key for every image: a digest of the image that the classifier would get."""
        return [image_key(each) for batch in images.split(self.batch_size) for each in self.prepare(batch)]

    @property
    def answers_values(self) -> bool:
        """Whether a call returns numbers that mean themselves, and no log-probabilities."""
        return self.scores == VALUE and self._read_as is None

    def _understood(self, rows: Tensor) -> Tensor:
        """The meaning of scores, which the caller gets. An active `read_as` is applied to it."""
        meant = self.reading.meant(rows)
        return meant if self._read_as is None else self._read_as(meant)

    def prepare(self, images: Tensor) -> Tensor:
        """Images as the classifier needs them: channels, size, normalisation, and a module's device and precision."""
        images = prepared(images, **{name: getattr(self, name) for name in PREPARED})
        return placed(images, self.predict).clone(memory_format=torch.contiguous_format)
