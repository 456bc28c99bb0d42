"""Measuring explanations: intervals, and what makes a counterfactual good."""

from freemcg.evaluation.counterfactuals import CounterfactualSummary, summarise
from freemcg.evaluation.intervals import Interval, mean_interval, ratio_interval, share_interval

__all__ = ["CounterfactualSummary", "Interval", "mean_interval", "ratio_interval", "share_interval", "summarise"]
