"""Figures of results. Signed values are red where positive, blue where negative, and white at zero.

Every figure is a new `matplotlib.figure.Figure`. Nothing is shown on a screen, and no global state is changed.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from freemcg.blackbox.scores import VALUE
from freemcg.files.whole import written_whole
from freemcg.messages.errors import InvalidValue
from freemcg.show.names import class_name
from freemcg.show.significant import FALSE_RATE, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Attribution = Any  # the classes of freemcg.results, whose plot() imports this file
Counterfactual = Any
SIGNED = "RdBu_r"
FADED = 0.12
PATH_STEPS = 7


def plot_attribution(result: Attribution) -> Figure:
    """The image, the map or contribution over it, and the same with all pixels faded that are not `significant`."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _draw_image(left, result.image)
    answer = result.log_probabilities[result.decision].item()
    if result.record.get("scores") == VALUE:
        left.set_title(f"answered {_named(result, result.decision)} = {answer:.4g}")
    else:
        left.set_title(f"decided {_named(result, result.decision)} (p = {math.exp(answer):.2f})")
    _draw_overlay(middle, result)
    red = "lighter helps" if result.baseline is None else "adds to it"
    middle.set_title(f"for {_named(result, result.target)}: red, {red}")
    drawn = _draw_overlay(right, result, visible=torch.where(significant(result), 1.0, FADED))
    right.set_title(f"told from zero ({100 * FALSE_RATE:.0f} % falsely)")
    figure.colorbar(drawn, ax=[middle, right], shrink=0.8, label=_unit(result))
    figure.suptitle(_cost(result), fontsize="small")
    return figure


def plot_counterfactual(result: Counterfactual) -> Figure:
    """The input, the counterfactual and their signed difference; below them, steps from noise to the answer."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=[2.4, 1])
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    left, middle, right = top.subplots(1, 3)
    _draw_image(left, result.original)
    left.set_title(_decided(result, result.original_log_probabilities, result.original_decision))
    _draw_image(middle, result.image)
    middle.set_title(_decided(result, result.log_probabilities, result.decision))
    drawn = _draw_signed(right, (result.image - result.original).mean(dim=0), scale=1.0)
    right.set_title(f"difference, L1 {result.l1:.3f}")
    top.colorbar(drawn, ax=right, shrink=0.8, label="change of brightness")
    figure.suptitle(f"wanted {_named(result, result.target)}: {_cost(result)}", fontsize="small")
    count = len(result.path)
    shown = torch.linspace(0, count - 1, min(PATH_STEPS, count)).round().int().tolist()
    for axes, step in zip(bottom.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _draw_image(axes, result.path[step])
        axes.set_title(f"step {step + 1}", fontsize="small")
    return figure


def plot_grid(pairs: Sequence[tuple[Attribution, Counterfactual]]) -> Figure:
    """A contact sheet with one row per image: input, attribution, counterfactual, signed difference.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise InvalidValue("there is nothing to draw: give at least one attribution with its counterfactual")
    figure = Figure(figsize=(7.6, 2 * len(pairs) + 0.3), layout="constrained")
    grid = figure.subplots(len(pairs), 4, squeeze=False)
    for row, (attribution, counterfactual) in zip(grid, pairs, strict=True):
        decided = _named(attribution, attribution.decision)
        became = _named(counterfactual, counterfactual.decision)
        _draw_image(row[0], attribution.image)
        row[0].set_title(f"decided {decided}", fontsize="medium")
        _draw_overlay(row[1], attribution)
        row[1].set_title(f"what speaks for {_named(attribution, attribution.target)}", fontsize="medium")
        _draw_image(row[2], counterfactual.image)
        row[2].set_title(f"decided {became}", fontsize="medium")
        _draw_signed(row[3], (counterfactual.image - counterfactual.original).mean(dim=0), scale=1.0)
        row[3].set_title(f"change, L1 {counterfactual.l1:.3f}", fontsize="medium")
    return figure


def plot_comparison(rows: Sequence[tuple[str, Tensor, Sequence[Tensor | None]]], methods: Sequence[str]) -> Figure:
    """One row per image: the image and the map of each method, summed over channels, each on a scale of its own.

    Args:
        rows: the title of an image, the image, and its maps `(C, H, W)`; a missing map is `None`.
        methods: the titles of the columns of maps.

    Raises:
        ValueError: there is no row.
    """
    if not rows:
        raise InvalidValue("there is nothing to draw: give at least one image with its maps")
    figure = Figure(figsize=(1.4 * (1 + len(methods)), 1.45 * len(rows) + 0.5), layout="constrained")
    grid = figure.subplots(len(rows), 1 + len(methods), squeeze=False)
    for axes, name in zip(grid[0, 1:], methods, strict=True):
        axes.set_title(textwrap.fill(name.replace("_", " "), 16), fontsize="small")
    for line, (title, image, maps) in zip(grid, rows, strict=True):
        _draw_image(line[0], image)
        line[0].set_title(textwrap.fill(title, 18).replace("$", r"\$"), fontsize="small")
        for axes, values in zip(line[1:], maps, strict=True):
            if values is None:
                axes.text(0.5, 0.5, "failed", ha="center", va="center", fontsize="small", color="gray")
                axes.set_axis_off()
            else:
                _draw_signed(axes, values.sum(dim=0))
    figure.suptitle("red is positive for the class, blue negative; each map on a scale of its own", fontsize="small")
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _named(result: Attribution, index: int) -> str:
    """The name of a class, escaped: matplotlib would set text between dollars as a formula."""
    return class_name(result.record, index).replace("$", r"\$")


def _decided(result: Counterfactual, log_probabilities: Tensor, decision: int) -> str:
    if "value" in result.record:
        first = log_probabilities is result.original_log_probabilities
        return f"answered {result.record['value before' if first else 'value']:.4g}"
    return f"decided {_named(result, decision)} (p = {log_probabilities[decision].exp().item():.2f})"


def _cost(result: Attribution) -> str:
    return f"{result.status.replace('_', ' ')}, {result.queries} queries, {result.seconds:.1f} s"


def _unit(result: Attribution) -> str:
    settings: dict[str, Any] = result.record.get("settings", {})
    objective = str(settings.get("objective", "objective")).replace("_", " ")
    if result.baseline is not None:
        return objective
    return f"{objective} / pixel" if settings.get("estimate") == "regression" else f"{objective} x pixel"


def _draw_image(axes: Axes, image: Tensor) -> None:
    array = image.detach().cpu().clamp(0, 1).numpy()
    if len(array) == 1:
        axes.imshow(array[0], cmap="gray", vmin=0, vmax=1)
    else:
        axes.imshow(array.transpose(1, 2, 0))
    axes.set_axis_off()


def _draw_signed(axes: Axes, values: Tensor, *, scale: float | None = None, alpha: Tensor | None = None) -> AxesImage:
    """Draw `(H, W)` on the diverging map, from `-scale` to `scale`. The default scale is the largest magnitude."""
    reach = values.abs().max().item() if scale is None else scale
    reach = reach if 0 < reach < float("inf") else 1.0
    drawn = axes.imshow(
        values.detach().cpu().numpy(),
        cmap=SIGNED,
        vmin=-reach,
        vmax=reach,
        alpha=None if alpha is None else alpha.detach().cpu().numpy(),
    )
    axes.set_axis_off()
    return drawn


def _draw_overlay(axes: Axes, result: Attribution, *, visible: Tensor | float = 1.0) -> AxesImage:
    """The attribution over a pale image. A larger value is more opaque; `visible` `(H, W)` multiplies its opacity."""
    values = result.values.sum(dim=0)
    largest = values.abs().max().clamp(min=1e-30)
    pale = 0.75 + 0.25 * result.image.mean(dim=0)
    axes.imshow(pale.detach().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    return _draw_signed(axes, values, alpha=values.abs() / largest * visible)
