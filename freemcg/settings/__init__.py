"""Values only: the settings of an explanation and of a search."""

from freemcg.settings.explanation import ESTIMATES, OBJECTIVES, Settings, for_scores
from freemcg.settings.making import make
from freemcg.settings.paper import PaperSearch
from freemcg.settings.search import NARROW, SEARCHES_BY_SCORES, SharedSearch

__all__ = [
    "ESTIMATES",
    "NARROW",
    "OBJECTIVES",
    "SEARCHES_BY_SCORES",
    "PaperSearch",
    "Settings",
    "SharedSearch",
    "for_scores",
    "make",
]
