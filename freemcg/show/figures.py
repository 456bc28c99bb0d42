"""Figures of results, in the colours of the page: orange where positive, blue where negative, violet for errors.

Every figure is a new `matplotlib.figure.Figure`. Nothing is shown on a screen, and no global state is changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from torch import Tensor

from freemcg.blackbox.scores import VALUE
from freemcg.files.whole import written_whole
from freemcg.messages.errors import InvalidValue
from freemcg.show.names import class_name
from freemcg.show.page.maker import method_of
from freemcg.show.page.palette import ERROR, SIGNED
from freemcg.show.page.words import chance, percent
from freemcg.show.significant import FALSE_RATE, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Attribution = Any  # the classes of freemcg.results, whose plot() imports this file
Counterfactual = Any
SIGNED_COLOURS = LinearSegmentedColormap.from_list("freemcg signed", SIGNED)
ERROR_COLOURS = LinearSegmentedColormap.from_list("freemcg error", ERROR)
OPACITY = 0.75
LABEL = "label"
OUTLINED = 128
"""Maps up to this side, in pixels, have outlines round what differs from zero."""
PATH_STEPS = 7
SILENT = "every question got the same answer, so there is nothing to draw"


def plot_attribution(result: Attribution) -> Figure:
    """The image, the map or contribution over it, the part of it that is `significant`, and the standard errors.

    Without signal, it is the image and what that means.
    """
    if _is_silent(result):
        return _plot_silence(result, result.image)
    figure = Figure(figsize=(11.5, 3.3), layout="constrained")
    left, middle, right, last = figure.subplots(1, 4)
    _draw_image(left, result.image)
    answer = result.log_probabilities[result.decision].item()
    if result.record.get("scores") == VALUE:
        left.set_title(f"answered {_named(result, result.decision)} = {answer:.4g}")
    else:
        left.set_title(f"decided {_named(result, result.decision)}{_chance(result, answer)}")
    _draw_overlay(middle, result)
    orange = "lighter helps" if result.baseline is None else "adds to it"
    middle.set_title(f"for {_named(result, result.target)}: orange, {orange}")
    drawn = _draw_overlay(right, result, only=significant(result))
    right.set_title(f"significant (≤ {100 * FALSE_RATE:.0f} % false)")
    figure.colorbar(drawn, ax=[middle, right], shrink=0.8, label=_unit(result))
    _draw_error(figure, last, result)
    figure.suptitle(_cost(result), fontsize="small")
    return figure


def plot_counterfactual(result: Counterfactual) -> Figure:
    """The input, the counterfactual and their signed difference; below them, the steps of the search.

    Without signal, it is the input and what that means.
    """
    if _is_silent(result):
        return _plot_silence(result, result.original)
    figure = Figure(figsize=(9, 5), layout="constrained")
    rows = figure.add_gridspec(2, 1, height_ratios=[2.4, 1])
    top, bottom = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    left, middle, right = top.subplots(1, 3)
    _draw_image(left, result.original)
    left.set_title(_decided(result, result.original_log_probabilities, result.original_decision))
    _draw_image(middle, result.image)
    middle.set_title(_decided(result, result.log_probabilities, result.decision))
    drawn = _draw_signed(right, (result.image - result.original).mean(dim=0))
    right.set_title(f"difference, {percent(result.l1)} in the mean")
    top.colorbar(drawn, ax=right, shrink=0.8, label="brightness: orange added, blue removed")
    method = method_of(result).replace("$", r"\$")
    wanted = f"wanted {_named(result, result.target)}{f', searched by {method}' if method else ''}"
    figure.suptitle(f"{wanted}: {_cost(result, realism=result.realism)}", fontsize="small")
    count = len(result.path)
    shown = torch.linspace(0, count - 1, min(PATH_STEPS, count)).round().int().tolist()
    for axes, step in zip(bottom.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        _draw_image(axes, result.path[step])
        axes.set_title(f"step {step + 1}", fontsize="small")
    return figure


def plot_grid(pairs: Sequence[tuple[Attribution, Counterfactual]]) -> Figure:
    """A contact sheet with one row per image: input, attribution, counterfactual, signed difference.

    Each attribution is on a scale of its own, and what is `significant` in it is outlined, as `plot_attribution` does.
    All differences are on one scale, up to the largest of them.

    Raises:
        ValueError: there is no pair.
    """
    if not pairs:
        raise InvalidValue("there is nothing to draw: give at least one attribution with its counterfactual")
    figure = Figure(figsize=(7.6, 2 * len(pairs) + 0.6), layout="constrained")
    differences = [(changed.image - changed.original).mean(dim=0) for _, changed in pairs]
    heard = zip(pairs, differences, strict=True)
    largest = max((each.abs().max().item() for (_, changed), each in heard if not _is_silent(changed)), default=0.0)
    grid = figure.subplots(len(pairs), 4, squeeze=False)
    for row, (attribution, counterfactual), difference in zip(grid, pairs, differences, strict=True):
        decided = _named(attribution, attribution.decision)
        became = _named(counterfactual, counterfactual.decision)
        _draw_image(row[0], attribution.image)
        row[0].set_title(f"decided {decided}", fontsize="medium")
        if _is_silent(attribution):
            _say(row[1], SILENT)
        else:
            _draw_overlay(row[1], attribution)
            _outline(row[1], attribution, significant(attribution), width=0.5)
            row[1].set_title(f"what speaks for {_named(attribution, attribution.target)}", fontsize="medium")
        if _is_silent(counterfactual):
            _say(row[2], SILENT)
            row[3].set_axis_off()
            continue
        _draw_image(row[2], counterfactual.image)
        row[2].set_title(f"decided {became}", fontsize="medium")
        _draw_signed(row[3], difference, scale=largest)
        row[3].set_title(f"change, {percent(counterfactual.l1)}", fontsize="medium")
    figure.suptitle(
        "Maps: orange where lighter helps, blue where it hurts, each on a scale of its own; lines round what is "
        f"significant.\nChanges: orange where light was added, blue where removed; the darkest by {percent(largest)} "
        "of full brightness.",
        fontsize="small",
    )
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
                _say(axes, "failed")
            else:
                _draw_signed(axes, values.sum(dim=0))
    figure.suptitle("orange is positive for the class, blue negative; each map on a scale of its own", fontsize="small")
    return figure


def _is_silent(result: Attribution | Counterfactual) -> bool:
    return bool(result.status == "no_signal")


def _plot_silence(result: Attribution | Counterfactual, image: Tensor) -> Figure:
    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_image(left, image)
    _say(right, SILENT)
    figure.suptitle(_cost(result), fontsize="small")
    return figure


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.5, textwrap.fill(words, 28), ha="center", va="center", fontsize="small", color="gray")
    axes.set_axis_off()


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
    return f"decided {_named(result, decision)}{_chance(result, log_probabilities[decision].item())}"


def _chance(result: Attribution, log_probability: float) -> str:
    """The probability in words; nothing for a bare label, which has none."""
    return "" if result.record.get("scores") == LABEL else f" ({chance(log_probability)})"


def _cost(result: Attribution | Counterfactual, *, realism: float | None = None) -> str:
    lost = result.record.get("autoencoder", {}).get("changes_decision")
    warned = "; the denoiser's autoencoder alone changes the decision" if lost else ""
    real = "" if realism is None else f", realism {realism:.2f}"
    return f"{result.status.replace('_', ' ')}, {result.queries} queries, {result.seconds:.1f} s{real}{warned}"


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


def _draw_signed(axes: Axes, values: Tensor, *, scale: float | None = None, alpha: float = 1.0) -> AxesImage:
    """Draw `(H, W)` on the signed scale, from `-scale` to `scale`. The default scale is the largest magnitude."""
    reach = values.abs().max().item() if scale is None else scale
    reach = reach if 0 < reach < float("inf") else 1.0
    drawn = axes.imshow(values.detach().cpu().numpy(), cmap=SIGNED_COLOURS, vmin=-reach, vmax=reach, alpha=alpha)
    axes.set_axis_off()
    return drawn


def _draw_overlay(axes: Axes, result: Attribution, *, only: Tensor | None = None) -> AxesImage:
    """The attribution over the image in grey. `only` `(H, W)` says which values are drawn; they are outlined."""
    values = result.values.sum(dim=0)
    axes.imshow(result.image.mean(dim=0).detach().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    if only is None:
        return _draw_signed(axes, values, alpha=OPACITY)
    _outline(axes, result, only)
    reach = values.abs().max().item()
    return _draw_signed(axes, torch.where(only, values, 0.0), scale=reach, alpha=OPACITY)


def _outline(axes: Axes, result: Attribution, only: Tensor, *, width: float = 0.8) -> None:
    """Full lines round the positive places of `only` `(H, W)`, and dashed ones round the negative ones."""
    if max(only.shape) > OUTLINED:
        return
    values = result.values.sum(dim=0)
    for marked, style in ((values > 0, "solid"), (values < 0, "dashed")):
        edges = _edges((only & marked).cpu().numpy())
        axes.add_collection(LineCollection(edges, colors="#1a1c20", linewidths=width, linestyles=style))


def _edges(marked: np.ndarray) -> Sequence[Sequence[tuple[float, float]]]:
    """The edges between marked and other pixels of `(H, W)`, each from one corner of a pixel to the next."""
    padded = np.pad(marked, 1)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    upright = [((x - 0.5, y - 1.5), (x - 0.5, y - 0.5)) for y, x in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(padded[1:] != padded[:-1])
    level = [((x - 1.5, y - 0.5), (x - 0.5, y - 0.5)) for y, x in zip(rows, columns, strict=True)]
    return upright + level


def _draw_error(figure: Figure, axes: Axes, result: Attribution) -> None:
    """The standard errors over the image in grey, with a scale of their own."""
    errors = result.standard_error.sum(dim=0)
    axes.imshow(result.image.mean(dim=0).detach().cpu().numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    if not errors.isfinite().all():
        axes.set_title("standard error unknown")
        return
    top = errors.max().item() or 1.0
    drawn = axes.imshow(errors.detach().cpu().numpy(), cmap=ERROR_COLOURS, vmin=0, vmax=top, alpha=OPACITY)
    axes.set_title("standard error")
    figure.colorbar(drawn, ax=axes, shrink=0.8)
