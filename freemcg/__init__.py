"""Explain an image classifier that you can only query."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from freemcg.blackbox import BlackBox, QueryBudgetExceeded
    from freemcg.diffusion.denoiser import Denoiser
    from freemcg.explainer import FreeMCG
    from freemcg.models.bundle import Bundle, load_bundle
    from freemcg.results import Attribution, Counterfactual
    from freemcg.settings import PaperSearch, Settings, SharedSearch
    from freemcg.version import __version__

__all__ = [
    "Attribution",
    "BlackBox",
    "Bundle",
    "Counterfactual",
    "Denoiser",
    "FreeMCG",
    "PaperSearch",
    "QueryBudgetExceeded",
    "Settings",
    "SharedSearch",
    "__version__",
    "load_bundle",
]

_HOMES = {
    "Attribution": "results",
    "BlackBox": "blackbox",
    "Bundle": "models.bundle",
    "Counterfactual": "results",
    "Denoiser": "diffusion.denoiser",
    "FreeMCG": "explainer",
    "PaperSearch": "settings",
    "QueryBudgetExceeded": "blackbox",
    "Settings": "settings",
    "SharedSearch": "settings",
    "load_bundle": "models.bundle",
    "__version__": "version",
}


def __getattr__(name: str) -> Any:
    """Import torch when something is used, and not before, so that the command line answers at once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"freemcg.{_HOMES[name]}"), name)
