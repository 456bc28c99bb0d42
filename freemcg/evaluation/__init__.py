"""Measures of explanations: intervals, the quality of counterfactuals, properties that an explanation must have."""

from freemcg.evaluation.agreement import concordance, map_agreement, ranks
from freemcg.evaluation.changes import Changes, changes, diversity, nearest, target_gain
from freemcg.evaluation.completeness import completeness_residual
from freemcg.evaluation.correlation import spearman
from freemcg.evaluation.counterfactuals import CounterfactualSummary, summarise
from freemcg.evaluation.cout import cout
from freemcg.evaluation.coverage import coverage
from freemcg.evaluation.fooled_weights import fool_weights
from freemcg.evaluation.fooling import fool_gradient
from freemcg.evaluation.frechet import feature_similarity, frechet_distance, split_frechet_distance
from freemcg.evaluation.imputation import NoisyLinear, linear_imputation
from freemcg.evaluation.infidelity import Infidelity, infidelity
from freemcg.evaluation.infill import Denoised, Infill, blurred, mean_colour
from freemcg.evaluation.informative import informative_changes
from freemcg.evaluation.insertion_deletion import InsertionDeletion, insertion_deletion
from freemcg.evaluation.intervals import Interval, mean_interval, ratio_interval, share_interval
from freemcg.evaluation.invariance import implementation_difference, rewritten
from freemcg.evaluation.likeness import pearson, structural_similarity
from freemcg.evaluation.localisation import bright_object, mass_inside, pointing_game
from freemcg.evaluation.map_noise import effective_noise
from freemcg.evaluation.max_sensitivity import max_sensitivity
from freemcg.evaluation.pic import Pic, pic
from freemcg.evaluation.randomisation import RandomisationStage, cascading_randomisation, randomised
from freemcg.evaluation.road import Road, road
from freemcg.evaluation.sensitivity_n import SensitivityN, sensitivity_n
from freemcg.evaluation.significance import holm, paired_p_value

__all__ = [
    "Changes",
    "CounterfactualSummary",
    "Denoised",
    "Infidelity",
    "Infill",
    "InsertionDeletion",
    "Interval",
    "NoisyLinear",
    "Pic",
    "RandomisationStage",
    "Road",
    "SensitivityN",
    "blurred",
    "bright_object",
    "cascading_randomisation",
    "changes",
    "completeness_residual",
    "concordance",
    "cout",
    "coverage",
    "diversity",
    "effective_noise",
    "feature_similarity",
    "fool_gradient",
    "fool_weights",
    "frechet_distance",
    "holm",
    "implementation_difference",
    "infidelity",
    "informative_changes",
    "insertion_deletion",
    "linear_imputation",
    "map_agreement",
    "mass_inside",
    "max_sensitivity",
    "mean_colour",
    "mean_interval",
    "nearest",
    "paired_p_value",
    "pearson",
    "pic",
    "pointing_game",
    "randomised",
    "ranks",
    "ratio_interval",
    "rewritten",
    "road",
    "sensitivity_n",
    "share_interval",
    "spearman",
    "split_frechet_distance",
    "structural_similarity",
    "summarise",
    "target_gain",
]
