"""Values only: the settings of an explanation and of a search."""

from freemcg.settings.explanation import ESTIMATES, OBJECTIVES, Settings, for_scores
from freemcg.settings.making import make
from freemcg.settings.search import SEARCHES_BY_SCORES, PaperSearch, SharedSearch

__all__ = [
    "ESTIMATES",
    "OBJECTIVES",
    "SEARCHES_BY_SCORES",
    "PaperSearch",
    "Settings",
    "SharedSearch",
    "for_scores",
    "make",
]
