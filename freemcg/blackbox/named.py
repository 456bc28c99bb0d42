"""The name of a classifier, and the memory of answers that are kept under it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from freemcg.blackbox.asking import Predict, Remote
from freemcg.blackbox.cache import QueryCache
from freemcg.blackbox.counted import Counted
from freemcg.blackbox.disagreement import SAME, spread
from freemcg.identity.network import identity
from freemcg.identity.source import source
from freemcg.identity.structure import tells_all
from freemcg.messages.errors import InvalidValue


class Named(Counted):
    """A classifier that is known by its identity, with a cache that keeps its answers by that.

    Attributes:
        predict: the classifier.
        may_change: whether its answers may change later.
    """

    may_change: bool

    def __init__(self, predict: Predict, budget: int | None) -> None:
        super().__init__(budget)
        self.predict = predict
        self._source = source(predict)  # read now, since its file may be edited while this process runs
        self._proven = ""

    @property
    def cache(self) -> QueryCache | None:
        """The memory of answers. It may be set and taken away at any time.

        Raises:
            ValueError: a cache is set, but the classifier has no identity by which its answers could be kept.
        """
        return self._cache

    @cache.setter
    def cache(self, cache: QueryCache | None) -> None:
        own = getattr(self.predict, "identity", None)
        if cache is not None and not isinstance(self.predict, nn.Module) and not isinstance(own, str):
            raise InvalidValue(
                "a cache keeps answers by the model's identity; give predict an attribute identity, a text that "
                "changes when the model changes"
            )
        self._cache = cache

    @contextmanager
    def without_cache(self) -> Iterator[None]:
        """Within the block, every image is queried, and no answer is kept."""
        cache, self.cache = self.cache, None
        try:
            yield
        finally:
            self.cache = cache

    @property
    def identity(self) -> str:
        """The model's name in results: the `identity` of `predict`, or else see `freemcg.identity.network`."""
        own = getattr(self.predict, "identity", None)
        if isinstance(own, str):
            return own
        return identity(self.predict) + (f":{self._source}" if self._source else "")

    @property
    def identity_is_whole(self) -> bool:
        """Whether another model has another identity: a stated one, or a module's if its structure tells all."""
        if self.may_change:
            return False
        if isinstance(getattr(self.predict, "identity", None), str):
            return isinstance(self.predict, nn.Module) or not isinstance(self.predict, Remote)
        return isinstance(self.predict, nn.Module) and tells_all(self.predict)

    def is_proven(self, name: str) -> bool:
        """Whether the answers that the cache keeps under a name need no proof that they are still the model's.

        A module needs one whose identity does not tell every change. Other answers need none: where changes are
        declared, explanations look for them, and an `identity` of the user's own is believed.
        """
        if self._proven == name or self.may_change or not isinstance(self.predict, nn.Module):
            return True
        return self.identity_is_whole

    def prove(self, name: str, answers: Tensor) -> None:
        """Compare the cache's answer to an image with the model's answer now: two rows, on one scale.

        Raises:
            ValueError: they differ.
        """
        difference = spread(answers)
        if difference > SAME and self.cache is not None:
            raise InvalidValue(
                f"the cache {self.cache.path} holds other answers of {name} than the model gives now (they differ by "
                f"{difference:.2g}); clear it with freemcg cache --clear, name another file, or give the model an "
                "attribute identity, a text that changes when the model changes"
            )
        self._proven = name
