"""Who leads under each measure, for the top of the page, if there are enough images to tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from markupsafe import Markup
from torch import Tensor

from freemcg.comparison.ranking import ENOUGH, compared
from freemcg.evaluation.intervals import mean_interval
from freemcg.show.page.methods import Measure, Measured, Method, finding


def measured(figures: Sequence[float]) -> Measured:
    """The mean of figures, and its 95 % interval if there are several. NaN and infinity are left out."""
    values = [each for each in figures if math.isfinite(each)]
    if len(values) < 2:
        return Measured(values[0] if values else None, None, None, values)
    interval = mean_interval(torch.tensor(values, dtype=torch.double))
    return Measured(interval.value, interval.low, interval.high, values)


def figures_of(column: str, rows: Sequence[Mapping[str, str]]) -> Tensor:
    """The figures of one column of `comparison.csv`, `(methods, images)`, NaN where there is none."""
    names, images = (list(dict.fromkeys(row[key] for row in rows)) for key in ("method", "image"))
    values = torch.full((len(names), len(images)), math.nan, dtype=torch.double)
    for row in rows:
        if row[column] and not row["error"]:
            values[names.index(row["method"]), images.index(row["image"])] = float(row[column])
    return values


def who_leads(methods: Sequence[Method], measures: Sequence[Measure], figures: Sequence[Tensor]) -> Markup:
    """Who leads under each measure, on the images that count for the ranks. Few images tell nothing, and it says so.

    Args:
        methods, measures: the rows and the columns of the page.
        figures: of each measure, `(methods, images)`, NaN where there is none.
    """
    told, few = list[Markup](), dict[str, int]()
    for measure, values in zip(measures, figures, strict=True):
        takes, common = compared(values)
        kept = [
            replace(method, measured=[measured(row[common].tolist())])
            for method, row, one in zip(methods, values, takes, strict=True)
            if one
        ]
        if len(kept) > 1 and common.sum() >= ENOUGH:
            told.append(finding(kept, [measure]))
        elif len(kept) > 1:
            few[measure.name.lower()] = int(common.sum())
    if few:
        where = "" if not told else f" in {', '.join(few)}"
        count = max(few.values())
        noun = "1 picture is" if count == 1 else f"{count or 'no'} pictures are"
        told.append(
            Markup("{} too few to tell which method leads{}; {} or more are needed.").format(
                noun[:1].upper() + noun[1:], where, ENOUGH
            )
        )
    return Markup(" ").join(told)
