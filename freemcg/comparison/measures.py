"""The measures of a comparison, by name: their columns, which way is better, what they cost, and where they come from.

Alignment, insertion and deletion are always measured. The others are named by the user.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from freemcg.blackbox import BlackBox
from freemcg.blackbox.local.white_box import has_gradients
from freemcg.comparison.measure import ALWAYS, DELETION, INSERTION, Column, Measure, Measured
from freemcg.evaluation.completeness import completeness_residual
from freemcg.evaluation.infidelity import infidelity
from freemcg.evaluation.infill import Denoised, Infill, blurred, mean_colour
from freemcg.evaluation.insertion_deletion import insertion_deletion
from freemcg.evaluation.likeness import pearson, structural_similarity
from freemcg.evaluation.localisation import bright_object, mass_inside, pointing_game
from freemcg.evaluation.map_noise import effective_noise
from freemcg.evaluation.max_sensitivity import max_sensitivity
from freemcg.evaluation.pic import THRESHOLDS, pic
from freemcg.evaluation.road import FRACTIONS, road
from freemcg.evaluation.sensitivity_n import sensitivity_n
from freemcg.messages.errors import InvalidValue

SAMPLES, REPEATS, SETS = 32, 4, 16
SURE = 0.8
"""PIC leaves out images of which the model is less sure than that."""
MASK = "mask"


def _columns(insertion: str, deletion: str) -> tuple[Column, Column]:
    """Insertion and deletion with other infills."""
    words = {"grey": "the mean colour", "blurred": "a blur", "denoised": "what the diffusion model expects"}
    return (
        replace(INSERTION, name=f"insertion_{insertion}", meaning=f"Insertion that begins with {words[insertion]}."),
        replace(DELETION, name=f"deletion_{deletion}", meaning=f"Deletion that leaves {words[deletion]}."),
    )


def _areas(of: Measured, fill: Infill, start: Infill) -> Sequence[Tensor]:
    areas = insertion_deletion(
        of.black_box, of.image, of.values, of.target, steps=of.steps, fill=fill, start=start, seed=of.seed
    )
    return areas.insertion, areas.deletion


def _denoised(of: Measured) -> Sequence[Tensor]:
    infill = Denoised(of.denoiser, seed=of.seed)
    return _areas(of, infill, infill)


def _road(of: Measured) -> Sequence[Tensor]:
    found = road(of.black_box, of.image, of.values, of.target, seed=of.seed)
    return found.most_first, found.least_first


def _pic(of: Measured) -> Sequence[Tensor]:
    found = pic(of.black_box, of.image, of.values, of.target, least=SURE, seed=of.seed)
    return found.sic, found.aic


def _infidelity(of: Measured) -> Sequence[Tensor]:
    return [infidelity(of.black_box, of.image, of.values, of.target, samples=SAMPLES, seed=of.seed).unexplained]


def _sensitivity_n(of: Measured) -> Sequence[Tensor]:
    return [sensitivity_n(of.black_box, of.image, of.values, of.target, sets=SETS, seed=of.seed).mean]


def _completeness(of: Measured) -> Sequence[Tensor]:
    if of.added is None:
        return [completeness_residual(of.black_box, of.image, of.values, of.target)]
    drop = of.added(of.image, of.target.to(of.image.device)).double()
    return [(of.values.double().flatten(1).sum(dim=1) - drop).abs() / drop.abs()]


def _max_sensitivity(of: Measured) -> Sequence[Tensor]:
    return [max_sensitivity(of.again, of.image, of.values, samples=REPEATS, seed=of.seed)]


def _attack(of: Measured) -> Sequence[Tensor]:
    after = of.again(of.attacked()).to(of.values)
    return pearson(after, of.values), structural_similarity(after, of.values)


def _bright_object(of: Measured) -> Sequence[Tensor]:
    return _inside(of, bright_object(of.image))


def _mask(of: Measured) -> Sequence[Tensor]:
    assert of.mask is not None  # `check_masks` saw to it
    return _inside(of, of.mask[None])


def _inside(of: Measured, masks: Tensor) -> Sequence[Tensor]:
    return pointing_game(of.values, masks), mass_inside(of.values, masks)


MEASURES: dict[str, Measure] = {
    "insertion_deletion_exchanged": Measure(
        _columns("grey", "blurred"),
        lambda steps: 2 * steps + 1,
        lambda of: _areas(of, blurred, mean_colour),
        "Petsiuk, Das, Saenko 2018, arXiv:1806.07421, with the two infills exchanged",
    ),
    "insertion_deletion_denoised": Measure(
        _columns("denoised", "denoised"),
        lambda steps: 2 * steps + 1,
        _denoised,
        "Petsiuk, Das, Saenko 2018, arXiv:1806.07421; the denoised infill is ours",
    ),
    "road": Measure(
        (
            Column("road_most_first", False, 0, 1, "How long the decision lasts if the first ranked pixels go first."),
            Column("road_least_first", True, 0, 1, "How long the decision lasts if the last ranked pixels go first."),
        ),
        lambda steps: 2 * len(FRACTIONS),
        _road,
        "Rong, Leemann, Borisov, Kasneci, Kasneci 2022, arXiv:2202.00449",
    ),
    "pic": Measure(
        (
            Column("sic", True, 0, 1, "How soon the probability comes back as the picture is revealed."),
            Column("aic", True, 0, 1, "How soon the decision comes back as the picture is revealed."),
        ),
        lambda steps: len(THRESHOLDS) + 2,
        _pic,
        "Kapishnikov, Bolukbasi, Viegas, Terry 2019, arXiv:1906.02825",
    ),
    "infidelity": Measure(
        (Column("infidelity", False, 0, 1, "The share of the answer's moves that the map does not foretell."),),
        lambda steps: SAMPLES + 1,
        _infidelity,
        "Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, arXiv:1901.09392, equation 1, at the best scale",
    ),
    "sensitivity_n": Measure(
        (
            Column(
                "sensitivity_n",
                True,
                -1,
                1,
                "How well the map's sums foretell what removing pixels does.",
            ),
        ),
        lambda steps: 4 * SETS + 1,
        _sensitivity_n,
        "Ancona, Ceolini, Oztireli, Gross 2018, arXiv:1711.06104, section 4",
    ),
    "max_sensitivity": Measure(
        (Column("max_sensitivity", False, 0, math.inf, "How far the map moves when the picture hardly does."),),
        lambda steps: 0,
        _max_sensitivity,
        "Yeh, Hsieh, Suggala, Inouye, Ravikumar 2019, arXiv:1901.09392, definition 3.1",
        maps=REPEATS,
    ),
    "attack": Measure(
        (
            Column("attacked_pearson", True, -1, 1, "How like the map stays if an attack bends Integrated Gradients."),
            Column("attacked_ssim", True, -1, 1, "The same by structural similarity of the absolute map."),
        ),
        lambda steps: 0,
        _attack,
        "Dombrowski et al. 2019, arXiv:1906.07983; Zaher et al. 2024, arXiv:2405.09800; the map wanted is ours",
        maps=1,
        needs_weights=True,
    ),
    "completeness": Measure(
        (
            Column(
                "completeness_residual",
                False,
                0,
                math.inf,
                "How far the map's sum is from what the picture adds: to the method's own score beyond its own "
                "base-point, or to the log-odds beyond the picture's mean colour if it has none.",
            ),
        ),
        lambda steps: 2,
        _completeness,
        "Sundararajan, Taly, Yan 2017, arXiv:1703.01365",
    ),
    "bright_object": Measure(
        (
            Column("pointing", True, 0, 1, "Whether the peak of the map lies on the bright object."),
            Column("mass_inside", True, 0, 1, "The share of the map's positive part that lies on the bright object."),
        ),
        lambda steps: 0,
        _bright_object,
        "Zhang, Lin, Brandt, Shen, Sclaroff 2018, arXiv:1608.00507; Arras, Osman, Samek 2022, arXiv:2003.07258; the "
        "object is ours: pixels nearer to the brightest than to the darkest",
    ),
    MASK: Measure(
        (
            Column("pointing_in_mask", True, 0, 1, "Whether the peak of the map lies in the mask of the object."),
            Column("mass_in_mask", True, 0, 1, "The share of the map's positive part that lies in the mask."),
        ),
        lambda steps: 0,
        _mask,
        "Zhang, Lin, Brandt, Shen, Sclaroff 2018, arXiv:1608.00507; Arras, Osman, Samek 2022, arXiv:2003.07258",
    ),
    "effective_noise": Measure(
        (Column("effective_noise", False, 0, 1, "The share of the map's variation that a slight blur takes away."),),
        lambda steps: 0,
        lambda of: [effective_noise(of.values)],
        "total variation: Rudin, Osher, Fatemi 1992; the measure is ours",
    ),
}
COLUMNS: dict[str, Column] = {
    column.name: column for columns in (ALWAYS, *(each.columns for each in MEASURES.values())) for column in columns
}


def measure_names(measures: Sequence[str] | None, black_box: BlackBox) -> tuple[str, ...]:
    """The named measures, each once; none by default.

    Raises:
        ValueError: there is no such measure, or it differentiates and the model can only be queried.
    """
    for name in measures or ():
        if name not in MEASURES:
            raise InvalidValue(
                f"there is no measure {name!r}; known beside alignment, insertion and deletion are "
                f"{', '.join(MEASURES)}"
            )
        if MEASURES[name].needs_weights and not has_gradients(black_box):
            raise InvalidValue(
                f"the measure {name} must differentiate a torch.nn.Module that answers logits, but this model can only "
                "be queried; leave it out"
            )
    return tuple(dict.fromkeys(measures or ()))


def take(names: Sequence[str], of: Measured) -> dict[str, float | None]:
    """The figures of the named measures, by column. `None` stands for one that the map does not have."""
    found: dict[str, float | None] = {}
    for name in names:
        for column, figure in zip(MEASURES[name].columns, MEASURES[name].of(of), strict=True):
            value = torch.as_tensor(figure).item()
            found[column.name] = value if math.isfinite(value) else None
    return found
