"""Measures of explanations: intervals, the quality of counterfactuals, properties that an explanation must have."""

from freemcg.evaluation.correlation import spearman
from freemcg.evaluation.counterfactuals import CounterfactualSummary, summarise
from freemcg.evaluation.fooling import fool_gradient
from freemcg.evaluation.informative import informative_changes
from freemcg.evaluation.insertion_deletion import InsertionDeletion, insertion_deletion
from freemcg.evaluation.intervals import Interval, mean_interval, ratio_interval, share_interval
from freemcg.evaluation.invariance import implementation_difference, rewritten
from freemcg.evaluation.randomisation import RandomisationStage, cascading_randomisation, randomised

__all__ = [
    "CounterfactualSummary",
    "InsertionDeletion",
    "Interval",
    "RandomisationStage",
    "cascading_randomisation",
    "fool_gradient",
    "implementation_difference",
    "informative_changes",
    "insertion_deletion",
    "mean_interval",
    "randomised",
    "ratio_interval",
    "rewritten",
    "share_interval",
    "spearman",
    "summarise",
]
