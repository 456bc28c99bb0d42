"""The section *Where it looks*: what it draws and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from torch import Tensor

from freemcg.blackbox.scores import VALUE
from freemcg.show.names import short_name
from freemcg.show.page.palette import signed_colours
from freemcg.show.page.pictures import data_address
from freemcg.show.page.planes import bits, plane, top_of
from freemcg.show.page.spots import LETTERS, Spot, letter_places, strongest_spots
from freemcg.show.page.words import begun, counted, place, with_error
from freemcg.show.significant import significant

Attribution = Any
STILL_SIDE = 256


@dataclass(frozen=True)
class Layer:
    """One signed map over the picture: the attribution, or the contribution.

    Attributes:
        kind: `map` or `contribution`.
        said: one sentence about its strongest spot, for people who know no log-odds.
        spoken: a text that stands for the picture of the map.
        towards, against: what orange means and what blue means.
        unit: the unit of its values.
        still: the map as a picture, for a page without scripts and for print.
        spots: its spots, each as the template draws it.
        significant: how many pixels differ from zero.
        numbers: what the script needs.
    """

    kind: str
    said: str
    spoken: str
    towards: str
    against: str
    unit: str
    still: str
    spots: list[dict[str, Any]]
    significant: int
    numbers: dict[str, Any]

    @property
    def top(self) -> float:
        """The largest magnitude of its values."""
        return float(self.numbers["top"])

    @property
    def tops(self) -> dict[str, float]:
        """That of its values and of its errors, by name."""
        return {self.kind: self.top, f"{self.kind} errors": float(self.numbers["errorTop"])}


def layer(result: Attribution) -> Layer:
    """The map or contribution of a result, summed over channels."""
    values, errors = result.values.detach().cpu().sum(dim=0), result.standard_error.detach().cpu().sum(dim=0)
    places = significant(result).cpu()
    spots = strongest_spots(values, errors, places)
    towards, against = effect_words(result)
    top, error_top = top_of(values), top_of(errors)
    return Layer(
        kind="map" if result.baseline is None else "contribution",
        said=_sentence(spots, int(places.sum()), values.numel(), towards, against, result),
        spoken=_spoken(spots, towards, against),
        towards=towards,
        against=against,
        unit=_unit(result),
        still=data_address(signed_colours(values, top), STILL_SIDE),
        spots=_drawn(spots, values, towards, against),
        significant=int(places.sum()),
        numbers={
            "values": plane(values, top),
            "errors": plane(errors, error_top),
            "significant": bits(places),
            "top": top,
            "errorTop": error_top,
            "cross": [spots[0].column, spots[0].row] if spots else [values.shape[1] // 2, values.shape[0] // 2],
            "spoken": _spoken(spots, towards, against),
            "towards": towards,
            "against": against,
        },
    )


def effect_words(result: Attribution) -> tuple[str, str]:
    """What orange means and what blue means: `lighter here speaks for cat` and `lighter here speaks against cat`."""
    name = short_name(result.record, result.target)
    if result.record.get("scores") == VALUE:
        what = "the answer" if len(result.log_probabilities) == 1 else name
        if result.baseline is None:
            return f"lighter here raises {what}", f"lighter here lowers {what}"
        return f"this, as it is, raises {what}", f"this, as it is, lowers {what}"
    if result.baseline is None:
        return f"lighter here speaks for {name}", f"lighter here speaks against {name}"
    return f"this, as it is, speaks for {name}", f"this, as it is, speaks against {name}"


def _sentence(spots: list[Spot], marked: int, pixels: int, towards: str, against: str, result: Attribution) -> str:
    if not spots:
        if result.status == "no_signal":
            return "Every question got the same answer, so nothing is known about what would move the score."
        if not result.standard_error.isfinite().all():
            return "No error bars are known for this map, so no place can be told from zero."
        return "No place of this map can be told from zero yet: all of it could be chance."
    first = spots[0]
    effect = towards if first.value > 0 else against
    what = "Most of all, the classifier minds" if result.baseline is None else "Most of the decision rests on"
    told = Markup("Of {}, <b>{:,}</b> can be told from zero.").format(counted(pixels, "pixel"), marked)
    sentence = Markup("{} the spot <b>{}</b> (A): <b>{}</b>. {}")
    return sentence.format(what, place(first.x, first.y), effect, told)


def _spoken(spots: list[Spot], towards: str, against: str) -> str:
    if not spots:
        return "No spot can be told from zero."
    each = (
        f"Spot {letter} {place(spot.x, spot.y)}: {towards if spot.value > 0 else against}"
        for letter, spot in zip(LETTERS, spots, strict=False)
    )
    return ". ".join(each) + "."


def _drawn(spots: list[Spot], values: Tensor, towards: str, against: str) -> list[dict[str, Any]]:
    """Each spot with its words, its places on the map in percent, and its whisker in percent of a scale about zero."""
    reach = 1.04 * max((abs(spot.value) + spot.half_width for spot in spots), default=1.0) or 1.0
    drawn = []
    for letter, spot, at in zip(LETTERS, spots, letter_places(spots, values), strict=False):
        ends = [50 + 50 * (spot.value + sign * spot.half_width) / reach for sign in (-1, 0, 1)]
        drawn.append(
            {
                "letter": letter,
                "where": begun(place(spot.x, spot.y)),
                "effect": towards if spot.value > 0 else against,
                "positive": spot.value > 0,
                "value": with_error(spot.value, spot.half_width),
                "pixels": counted(spot.pixels, "pixel"),
                "whisker": ends,
                "at": (100 * spot.x, 100 * spot.y),
                "label": (100 * at[0], 100 * at[1]),
            }
        )
    return drawn


def _unit(result: Attribution) -> str:
    settings = result.record.get("settings", {})
    if result.record.get("scores") == VALUE:
        objective = "answer"
    else:
        objective = str(settings.get("objective", "objective")).replace("_", "-")
    if result.baseline is not None:
        return objective
    return (
        f"{objective} per pixel"
        if settings.get("estimate") == "regression"
        else f"{objective} \N{MULTIPLICATION SIGN} pixel"
    )
