"""Measures of explanations: intervals, the quality of counterfactuals, properties that an explanation must have."""

from freemcg.evaluation.correlation import spearman
from freemcg.evaluation.counterfactuals import CounterfactualSummary, summarise
from freemcg.evaluation.fooling import fool_gradient
from freemcg.evaluation.imputation import NoisyLinear, linear_imputation
from freemcg.evaluation.infill import Denoised, Infill, blurred, mean_colour
from freemcg.evaluation.informative import informative_changes
from freemcg.evaluation.insertion_deletion import InsertionDeletion, insertion_deletion
from freemcg.evaluation.intervals import Interval, mean_interval, ratio_interval, share_interval
from freemcg.evaluation.invariance import implementation_difference, rewritten
from freemcg.evaluation.randomisation import RandomisationStage, cascading_randomisation, randomised
from freemcg.evaluation.road import Road, road

__all__ = [
    "CounterfactualSummary",
    "Denoised",
    "Infill",
    "InsertionDeletion",
    "Interval",
    "NoisyLinear",
    "RandomisationStage",
    "Road",
    "blurred",
    "cascading_randomisation",
    "fool_gradient",
    "implementation_difference",
    "informative_changes",
    "insertion_deletion",
    "linear_imputation",
    "mean_colour",
    "mean_interval",
    "randomised",
    "ratio_interval",
    "rewritten",
    "road",
    "share_interval",
    "spearman",
    "summarise",
]
