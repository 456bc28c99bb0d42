"""Explain an image classifier that you can only query."""

from freemcg.blackbox import BlackBox, QueryBudgetExceeded
from freemcg.bundle import Bundle, load_bundle
from freemcg.denoiser import Denoiser
from freemcg.explainer import FreeMCG
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
