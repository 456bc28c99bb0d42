"""The import of captum (Kokhlikyan et al. 2020, arXiv:2009.07896), an optional dependency."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

import torch

from freemcg.messages.errors import MissingExtra


def captum_module(name: str, method: str) -> ModuleType:
    """A module of captum. Captum also needs scikit-learn, which fits its surrogates.

    Raises:
        ModuleNotFoundError: captum or scikit-learn is not installed.
    """
    try:
        import_module("sklearn.linear_model")
        return import_module(name)
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"{method} is captum's and needs captum and scikit-learn: pip install 'freemcg[compare]'"
        ) from error


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which the global CPU generator starts at `seed`, since captum draws from it. Then it is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
