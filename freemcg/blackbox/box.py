"""The black box: counts, bounds and checks what is asked of a classifier, whatever kind of thing the classifier is."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from freemcg.blackbox.cache import QueryCache, image_key
from freemcg.blackbox.likeness import likeness
from freemcg.blackbox.preparation import check_images, prepared
from freemcg.blackbox.receipt import Receipt
from freemcg.blackbox.scores import MULTI_LABEL, ONE_NUMBER, SCORE_KINDS, TWO_CLASSES, VALUE, spread_top_k
from freemcg.blackbox.unwrap import as_tensor, is_row, unwrapped
from freemcg.messages.errors import InvalidType, InvalidValue, Refusal
from freemcg.networks.identity import identity
from freemcg.networks.mode import refuse_training
from freemcg.networks.source import source

Charge = Callable[[int, bool], None]
"""`charge(images, retry)` before images are sent; with `-images` where they did not leave this machine after all."""


@runtime_checkable
class Remote(Protocol):
    """A classifier that is asked piece by piece, and may have to be asked again."""

    def answers(self, images: Tensor, charge: Charge) -> Iterator[tuple[int, int, Any]]:
        """Yield `(start, count, scores)` as answers arrive; calls `charge` before any image is sent, on any thread."""


Predict = Callable[[Tensor], Any] | Remote


class QueryBudgetExceeded(Refusal, RuntimeError):
    """The next question would pass the budget. Nothing of it was asked, but where it ended within retries.

    Attributes:
        asked: images in the question that was refused.
        remaining: queries left in the budget.
        answered: what was answered all the same before a retry found the budget spent, or is in the cache: rows of
            log-probabilities by the number of the image.
    """

    def __init__(self, asked: int, remaining: int, budget: int) -> None:
        super().__init__(f"{asked} more queries would pass the budget of {budget}; {remaining} are left")
        self.asked = asked
        self.remaining = remaining
        self.answered: dict[int, Tensor] = {}


class OtherClasses(InvalidValue):
    """An answer with another number of classes than was declared, or was answered before."""


class BlackBox:
    """A classifier that can only be queried.

    Args:
        predict: a callable, from images `(N, C, H, W)` float32 in [0, 1] to scores: a tensor, an array of any library,
            lists of numbers, an object or dict with `logits`, or a tuple or list that begins with such an array. A
            `torch.nn.Module` gets the images on its own device and must be in eval mode. Or a `Remote`, which counts
            for itself what it sends. Where it has an `identity`, a string, it is known by that.
        scores: what it answers: `"logits"`, `"probabilities"`, `"percent"` (probabilities that sum to 100) or
            `"log_probabilities"` `(N, num_classes)`; `"top_k"`, the probabilities of some classes, either
            `(N, num_classes)` with NaN for the others or a pair of labels and scores, both `(N, k)`; or `"label"`
            `(N,)`. The last two need `class_names` or `num_classes`. `"binary"` is the probability of the positive
            class, `"binary_logit"` its logit, `(N,)` or `(N, 1)`: class 1 of two. `"multi_label"` is a probability
            `(N, labels)` for each label, whatever the others are; `"multi_label_logit"`, its logit. `"value"` is one or
            several numbers that mean themselves, `(N,)` or `(N, outputs)`; a "class" is one of them then.
        image_size: `(H, W)` or a side the classifier wants; images of another size are resized (bilinear, antialiased).
        channels: 1 or 3, what the classifier wants; grey is repeated, RGB becomes luma (ITU-R 601).
        mean, std: a channel each, or one for all; where given, the classifier is handed `(image - mean) / std`.
        eight_bit: round images to 8 bits, as a file would hold them, after resizing and before normalising.
        batch_size: images a call of `predict`. Changes memory and speed, not results.
        budget: the most images that may ever be asked about, those asked about again by a retry included.
        class_names: names of the classes, in the order of the scores, or by their index.
        may_change: whether it may answer otherwise later; an explanation then asks about its image once more at the
            end. By default a `Remote` may and what runs here may not.
        cache: a memory of answers. What is in it is not asked again and costs no query; nor is an image that comes
            twice in one call. A callable must have an `identity` then, by which its answers are kept.

    Attributes:
        queries: images asked about so far, retries included.
        answered: those that were answered; `retried`, those that were asked about again because of a failure.
        cached: images whose answer was known.
        num_classes: known from the first answer on, or from the arguments.
        on_answer: where set, called after each batch of answers, in the thread that asks: to show what is spent.

    Raises:
        ValueError: an argument is out of range, or an answer is not what was declared: it says which and how.
        QueryBudgetExceeded: from a call that would pass the budget, before anything of it is asked.
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
        _check_predict(predict)
        if scores not in SCORE_KINDS:
            raise InvalidValue(f"scores must be one of {', '.join(SCORE_KINDS)}, got {scores!r}")
        if batch_size < 1:
            raise InvalidValue(f"batch_size must be >= 1, got {batch_size}")
        if budget is not None and budget < 0:
            raise InvalidValue(f"budget must be >= 0, got {budget}")
        if channels not in (None, 1, 3):
            raise InvalidValue(f"channels must be 1 (grey) or 3 (RGB), got {channels}")
        if (mean is None) != (std is None):
            raise InvalidValue("give both mean and std, or neither")
        mean, std = _numbers(mean), _numbers(std)
        class_names = _in_order(class_names)
        if mean is not None and std is not None and not _normalises(mean, std):
            shown = " and ".join(str(list(each) if isinstance(each, tuple) else each) for each in (mean, std))
            raise InvalidValue(f"mean and std hold one finite number a channel, std > 0; got {shown}")
        if class_names is not None and num_classes not in (None, len(class_names)):
            raise InvalidValue(f"num_classes is {num_classes} but there are {len(class_names)} class_names")
        self.predict = predict
        self.scores = scores
        self.image_size = None if image_size is None else _height_and_width(image_size)
        self.channels = channels
        self.mean, self.std = mean, std
        self.eight_bit = eight_bit
        self.batch_size = batch_size
        self.budget = budget
        self.class_names = class_names
        self.num_classes = num_classes if class_names is None else len(class_names)
        if scores in TWO_CLASSES and self.num_classes not in (None, 2):
            raise InvalidValue(f"scores='{scores}' has two classes, negative and positive, not {self.num_classes}")
        if scores in TWO_CLASSES:
            self.num_classes = 2
        self._declared_classes = self.num_classes
        if self.num_classes is not None and self.num_classes < self._least_classes:
            raise InvalidValue(f"num_classes must be >= {self._least_classes}, got {self.num_classes}")
        if scores in ("label", "top_k") and self.num_classes is None:
            raise InvalidValue(
                f"a black box that answers {'labels' if scores == 'label' else scores} needs class_names or num_classes"
            )
        remote = isinstance(predict, Remote) and not isinstance(predict, nn.Module)
        self.may_change = remote if may_change is None else may_change
        self.cache = cache
        self.queries = self.answered = self.retried = self.cached = 0
        self.on_answer: Callable[[], None] | None = None
        self._receipt: Receipt | None = None
        self._read_as: Callable[[Tensor], Tensor] | None = None
        self._lock = threading.Lock()
        self._source = source(predict)  # as it is now; the file may be edited while this one runs on

    @property
    def cache(self) -> QueryCache | None:
        """The memory of answers; it may be set and taken away at any time.

        Raises:
            ValueError: on setting one, where the classifier has no identity to keep its answers by.
        """
        return self._cache

    @cache.setter
    def cache(self, cache: QueryCache | None) -> None:
        own = getattr(self.predict, "identity", None)
        if cache is not None and not isinstance(self.predict, nn.Module) and not isinstance(own, str):
            raise InvalidValue(
                "a cache keeps answers by the model's identity; give predict an attribute identity, a text that "
                "changes when the model does"
            )
        self._cache = cache

    @contextmanager
    def without_cache(self) -> Iterator[None]:
        """Within the block, everything is asked, and no answer is kept."""
        cache, self.cache = self.cache, None
        try:
            yield
        finally:
            self.cache = cache

    @property
    def spent(self) -> dict[str, int]:
        """Images so far: sent (the queries), of them answered, retried and unanswered; and those from the cache."""
        counts = {"sent": self.queries, "answered": self.answered, "retried": self.retried}
        return counts | {"unanswered": self.queries - self.answered - self.retried, "from the cache": self.cached}

    @property
    def known(self) -> int:
        """Images that have an answer, each time that it was asked for: what a result counts as its queries.

        Answers from the cache are among them and second tries are not, so that a result that was made in two starts
        has as many as one that was made in one.
        """
        return self.answered + self.cached

    @property
    def remaining(self) -> int | None:
        """Queries left in the budget; `None` without one."""
        return None if self.budget is None else self.budget - self.queries

    @contextmanager
    def reserving(self, queries: int) -> Iterator[None]:
        """Within the block, the budget ends `queries` earlier, so that these are there for what follows it."""
        budget = self.budget
        if budget is not None:
            self.budget = max(self.queries, budget - queries)
        try:
            yield
        finally:
            self.budget = budget

    @property
    def identity(self) -> str:
        """What a result records of it: what `predict` says of itself, or see `freemcg.networks.identity`."""
        own = getattr(self.predict, "identity", None)
        if isinstance(own, str):
            return own
        return identity(self.predict) + (f":{self._source}" if self._source else "")

    @property
    def identity_is_whole(self) -> bool:
        """Whether another model has another identity: that of a module's weights, but not of a function or address."""
        if self.may_change or isinstance(self.predict, nn.Module):
            return not self.may_change
        return isinstance(getattr(self.predict, "identity", None), str) and not isinstance(self.predict, Remote)

    def __repr__(self) -> str:
        spent = f"{self.queries} queries" + ("" if self.budget is None else f" of {self.budget}")
        return f"BlackBox({self.identity}, scores={self.scores!r}, {spent})"

    def class_index(self, target: int | str | Any) -> int:
        """The index of a class given by name or by index: a whole number of any kind, numpy's and torch's too.

        Raises:
            TypeError: it is neither.
            ValueError: there is no such class, or several have the name.
        """
        if isinstance(target, str):
            names = self.class_names or ()
            found = [index for index, name in enumerate(names) if name == target]
            if len(found) > 1:
                indices = ", ".join(str(index) for index in found)
                raise InvalidValue(f"{len(found)} classes are named {target!r}; name one by its index: {indices}")
            if not found:
                known = "the black box has no class_names" if self.class_names is None else _listed(names)
                raise InvalidValue(f"there is no class {target!r}; {known}")
            return found[0]
        index, classes = _whole(target), self.num_classes if self._read_as is None else 2
        if index < 0 or (classes is not None and index >= classes):
            top = "" if classes is None else f"; classes are 0..{classes - 1}"
            raise InvalidValue(f"there is no class {index}{top}")
        return index

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Ask about images `(N, C, H, W)` in [0, 1]: log-probabilities `(N, num_classes)`, float32, without a graph.

        Of independent labels they are not normalised; of values they are the values themselves.

        Costs N queries, less those whose answer is in the cache, and more where a remote model has to be asked again.
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
        """Within the block, answers are what `reading` makes of them: `(N, num_classes)` to log-probabilities `(N, 2)`.

        What is asked, kept and noted stays as it is.
        """
        self._read_as = reading
        try:
            yield
        finally:
            self._read_as = None

    @contextmanager
    def recording(self) -> Iterator[Receipt]:
        """Within the block, every question and its answer go into the receipt, those from the cache too."""
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
        """How an image is prepared and an answer read, as JSON can hold it: all that was said but the classifier."""
        prepared = ("image_size", "channels", "mean", "std", "eight_bit")
        read = ("scores", "class_names", "may_change")
        return {name: getattr(self, name) for name in (*prepared, *read)} | {"num_classes": self._declared_classes}

    def _answer(self, images: Tensor, keys: list[bytes], found: dict[int, Tensor]) -> None:
        """Put into `found`, by the number of the image, what is answered: from the cache, and for the rest by asking.

        Where it raises, `found` holds what was answered until then.
        """
        name, first = "", dict[bytes, int]()
        if self.cache is not None:
            name = self.identity
            first = {key: index for index, key in reversed(list(enumerate(keys)))}
            known = self.cache.get(name, self.scores, list(first))
            unsound = [key for key, row in known.items() if not self._numbers(row).all()]
            self.cache.forget(name, self.scores, unsound)
            known = {key: row for key, row in known.items() if key not in unsound}
            found |= {index: known[key] for index, key in enumerate(keys) if key in known}
            self.cached += len(found)
        for row in found.values():
            self._check_classes(len(row) if self.scores not in ONE_NUMBER else self.num_classes or 0)
        missing = [i for i in range(len(images)) if i not in found and (not first or first[keys[i]] == i)]
        remaining = self.remaining
        if remaining is not None and len(missing) > remaining:
            raise QueryBudgetExceeded(len(missing), remaining, self.budget or 0)
        if isinstance(self.predict, nn.Module):
            refuse_training(self.predict, "model")
        for start in range(0, len(missing), self.batch_size):
            self._ask(images, missing[start : start + self.batch_size], name, keys, found)
        for index in range(len(images)):
            if index not in found:
                found[index] = found[first[keys[index]]]
                self.cached += 1

    def _ask(self, images: Tensor, numbers: list[int], name: str, keys: list[bytes], found: dict[int, Tensor]) -> None:
        """Ask about a batch. Its images are counted when they are sent, whatever comes back; answers are kept."""
        prepared = self.prepare(images[numbers])
        with closing(self._answers(prepared)) as answers:
            for start, count, answer in answers:
                rows, asked = self._read(answer, count), numbers[start : start + count]
                self.answered += count
                if self.cache is not None:
                    self.cache.put(name, self.scores, [keys[index] for index in asked], rows)
                found.update(zip(asked, rows, strict=True))
                if self.on_answer is not None:
                    self.on_answer()

    def _keys(self, images: Tensor) -> list[bytes]:
        """A key for every image, of what the classifier would be handed."""
        return [image_key(each) for batch in images.split(self.batch_size) for each in self.prepare(batch)]

    def _answers(self, prepared: Tensor) -> Generator[tuple[int, int, Any]]:
        """The answers as they arrive: where each starts, and for how many images it is."""
        if isinstance(self.predict, nn.Module) or not isinstance(self.predict, Remote):
            self._charge(len(prepared), retry=False)
            yield 0, len(prepared), self.predict(prepared)
        else:
            yield from self.predict.answers(prepared, self._charge)

    def _charge(self, images: int, retry: bool) -> None:
        """Count images that are about to be sent; fewer than none gives back what was not sent after all."""
        with self._lock:
            if self.budget is not None and self.queries + images > self.budget:
                raise QueryBudgetExceeded(images, self.budget - self.queries, self.budget)
            self.queries += images
            self.retried += images if retry else 0

    def _read(self, answer: Any, count: int) -> Tensor:
        """The scores `(count, classes)` that an answer holds, labels `(count, 1)`; as received, in float64 on the CPU.

        Float64 holds every kind of number that a model answers, so nothing is lost before it is kept.
        """
        wanted = 1 if self.scores in ONE_NUMBER else 2
        if self.scores == "top_k" and isinstance(answer, tuple | list) and len(answer) == 2 and not is_row(answer[0]):
            labels, scores = (as_tensor(each) for each in answer)
            answer = spread_top_k(labels, scores.double(), self.num_classes or 0)
        answer = as_tensor(unwrapped(answer, count, wanted))
        if self.scores in (*MULTI_LABEL, VALUE) and answer.ndim == 1:
            answer = answer[:, None]
        while answer.ndim > wanted and answer.shape[-1] == 1:
            answer = answer[..., 0]
        if answer.ndim != wanted or len(answer) != count:
            shape = f"({count},)" if wanted == 1 else f"({count}, classes)"
            one = wanted == 2 and answer.shape == (count,)
            hint = f"; {likeness(answer.double()[:, None]).proposal}" if one else ""
            raise InvalidValue(
                f"the black box answered shape {tuple(answer.shape)} for {count} images; it must be {shape}{hint}"
            )
        rows: Tensor = answer.double().cpu().reshape(count, -1)
        if wanted == 2 and rows.shape[1] < self._least_classes:
            raise InvalidValue(f"the black box answered one column of scores; {likeness(rows).proposal}")
        if wanted == 2:
            self._check_classes(rows.shape[1])
        finite = self._numbers(rows)
        if not finite.all():
            first = int((~finite).any(dim=1).nonzero()[0])
            raise InvalidValue(f"the black box answered NaN or infinity for image {first} of {count}")
        self.meant(rows)  # refuses what is not as declared
        return rows

    @property
    def answers_values(self) -> bool:
        """Whether a call answers numbers that mean themselves, and no log-probabilities."""
        return self.scores == VALUE and self._read_as is None

    def comparable(self, answers: Tensor) -> Tensor:
        """Answers `(N, S)` on a scale of 1: probabilities, or values in units of the largest of the first answer."""
        if not self.answers_values:
            return answers.exp()
        return answers / answers[0].abs().max().clamp(min=1e-12)

    @property
    def _least_classes(self) -> int:
        return 1 if self.scores in (*MULTI_LABEL, VALUE) else 2

    def _numbers(self, rows: Tensor) -> Tensor:
        """Where the scores are numbers that such a model may answer."""
        if self.scores == "log_probabilities":
            return ~rows.isnan()
        finite = rows.float().isfinite()
        return finite | rows.isnan() if self.scores == "top_k" else finite

    def _understood(self, rows: Tensor) -> Tensor:
        """What the caller gets for scores: what they mean, or what a `read_as` makes of that."""
        meant = self.meant(rows)
        return meant if self._read_as is None else self._read_as(meant)

    def meant(self, rows: Tensor) -> Tensor:
        """The log-probabilities that scores mean; each row's depend on that row alone."""
        scores = rows[:, 0] if self.scores in ONE_NUMBER else rows
        scores = scores if self.scores in (*TWO_CLASSES, *MULTI_LABEL) else scores.float()  # 1 - p keeps its digits
        return SCORE_KINDS[self.scores](scores, self.num_classes or 0).float()

    def _check_classes(self, count: int) -> None:
        if self.num_classes is None:
            self.num_classes = count
        if count != self.num_classes:
            raise OtherClasses(f"the black box answered {count} classes; it has {self.num_classes}")

    def prepare(self, images: Tensor) -> Tensor:
        """Images as the classifier wants them: channels, size, normalisation, device, a module's own precision."""
        images = prepared(
            images,
            channels=self.channels,
            image_size=self.image_size,
            eight_bit=self.eight_bit,
            mean=self.mean,
            std=self.std,
        )
        if isinstance(self.predict, nn.Module):
            first = next((each for each in self.predict.parameters() if each.is_floating_point()), None)
            images = images if first is None else images.to(first.device, first.dtype)
        return images.clone(memory_format=torch.contiguous_format)


def _check_predict(predict: Any) -> None:
    if isinstance(predict, BlackBox):
        raise InvalidType("predict is a BlackBox already; hand it over as it is")
    if not callable(predict) and not isinstance(predict, Remote):
        raise InvalidType(f"predict must be callable (images in, scores out), got {type(predict).__name__}")


def _numbers(values: float | Sequence[float] | None) -> float | tuple[float, ...] | None:
    """Plain numbers, one for all channels or one each; arrays and tensors hold them too."""
    found = None if values is None else torch.as_tensor(values, dtype=torch.float64).tolist()
    return tuple(found) if isinstance(found, list) else found


def _normalises(mean: float | tuple[float, ...], std: float | tuple[float, ...]) -> bool:
    numbers, spreads = torch.tensor(mean), torch.tensor(std)
    finite = bool(numbers.isfinite().all() and spreads.isfinite().all())
    return finite and numbers.shape == spreads.shape and bool((spreads > 0).all())


def _height_and_width(size: int | Sequence[int]) -> tuple[int, int]:
    try:
        sides = [operator.index(side) for side in (size if isinstance(size, Sequence) else (size, size))]
    except TypeError:
        sides = []
    if len(sides) != 2 or min(sides) < 1:
        raise InvalidValue(f"image_size must be a side or (height, width), whole numbers from 1 up, got {size!r}")
    return sides[0], sides[1]


def _in_order(names: Sequence[str] | Mapping[int, str] | None) -> tuple[str, ...] | None:
    """Class names by index; a mapping, such as a model's `id2label`, must name each index from 0 up."""
    if names is None or not isinstance(names, Mapping):
        return None if names is None else tuple(names)
    by_index = {int(index): name for index, name in names.items()}
    if sorted(by_index) != list(range(len(names))):
        raise InvalidValue(
            f"class_names must name each class from 0 to {len(names) - 1}, got the indices {sorted(by_index)}"
        )
    return tuple(by_index[index] for index in range(len(names)))


def _whole(target: Any) -> int:
    """A class index; booleans and numbers with a fraction are none."""
    try:
        if isinstance(target, bool):
            raise TypeError
        return operator.index(target)
    except TypeError:
        raise InvalidType(f"a class is named by its index (a whole number) or its name, got {target!r}") from None


def _listed(names: Sequence[str]) -> str:
    return "classes are " + ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
