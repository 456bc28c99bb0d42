"""One image's part of the page: a card in the gallery, and all its sections as HTML."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from freemcg.show.page.certainty import forecasts, tiles
from freemcg.show.page.change import change
from freemcg.show.page.explained import Explained
from freemcg.show.page.look import Layer, layer
from freemcg.show.page.maker import is_realistic, is_told, only_asks
from freemcg.show.page.palette import signed_colours
from freemcg.show.page.pictures import LOSSLESS, data_address, thumbnail
from freemcg.show.page.provenance import provenance
from freemcg.show.page.templates import render


@dataclass(frozen=True)
class Card:
    """An image in the gallery.

    Attributes:
        anchor: the name of its link, unique in the page.
        name: the name of its file.
        decided: the class decided.
        became: the class of the counterfactual; empty without one.
        flipped: whether that is the class wanted; `None` without a counterfactual.
        agreed: whether an independent judge sees the class wanted; `None` if it was not asked.
        reliability: of the map; `None` without one, or if it is unknown.
        change: the mean change of a pixel; `None` without a counterfactual.
        queries: all queries.
        tops: the largest magnitude of each of its maps and of its errors, for one scale over all pictures.
        thumbnails: addresses of one or two small pictures.
        problem: the status, if it is not complete.
        asked_only: whether it is known that the classifier was asked only.
        realistic: whether the counterfactual is; `None` without one.
        picture: a digest of the input, the same for the same picture.
    """

    anchor: str
    name: str
    decided: str
    became: str
    flipped: bool | None
    agreed: bool | None
    reliability: float | None
    change: float | None
    queries: int
    tops: dict[str, float]
    thumbnails: list[str]
    problem: str
    asked_only: bool
    realistic: bool | None
    picture: str


def drawn(explained: Explained) -> tuple[Card, str]:
    """The card of an image, and its sections as HTML, which hold all its pictures and numbers."""
    map_, changed, image = explained.attribution, explained.counterfactual, explained.image
    silent = map_ is not None and map_.status == "no_signal"
    layers = [] if silent else [layer(each) for each in (map_, explained.contribution) if each is not None]
    shown = None if changed is None else change(changed)
    numbers: dict[str, Any] = {"size": [image.shape[2], image.shape[1]]}
    numbers["layers"] = {each.kind: each.numbers for each in layers}
    numbers["change"] = None if shown is None or not shown.told else shown.numbers
    html = render(
        "explanation.html",
        name=explained.name,
        width=image.shape[2],
        height=image.shape[1],
        crisp=max(image.shape[1:]) <= LOSSLESS,
        picture=data_address(image),
        verdict=explained.verdict,
        answers=explained.answers,
        layers=layers,
        silent=silent,
        change=shown,
        tiles=tiles(map_, changed, layers[0].significant if layers else None),
        shares=None if map_ is None or silent else map_.error_shares,
        forecasts=[] if map_ is None or silent else forecasts(map_),
        made=provenance(map_, changed),
        numbers=numbers,
    )
    return _card(explained, layers), html


def _card(explained: Explained, layers: list[Layer]) -> Card:
    map_, changed = explained.attribution, explained.counterfactual
    pictures = [explained.image]
    if is_told(changed):
        pictures.append(changed.image)
    elif layers:
        pictures.append(signed_colours(map_.values.cpu().sum(dim=0), layers[0].top))
    known = map_ is not None and bool(map_.standard_error.isfinite().all())
    judge = None if changed is None else changed.record.get("judge")
    results = explained.results.values()
    return Card(
        anchor=explained.anchor,
        name=explained.name,
        decided=explained.decided,
        became=explained.became,
        flipped=None if changed is None else changed.flipped,
        agreed=None if judge is None else judge == changed.target,
        reliability=round(map_.reliability, 3) if known else None,
        change=float(f"{changed.l1:.4g}") if is_told(changed) and math.isfinite(changed.l1) else None,
        queries=sum(each.queries for each in results),
        tops={name: top for each in layers for name, top in each.tops.items()},
        thumbnails=[thumbnail(each) for each in pictures],
        problem=next((str(each.status).replace("_", " ") for each in results if each.status != "complete"), ""),
        asked_only=changed is None or only_asks(changed),
        realistic=None if changed is None else is_realistic(changed),
        picture=hashlib.sha256(explained.image.float().contiguous().numpy().tobytes()).hexdigest()[:12],
    )
