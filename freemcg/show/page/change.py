"""The section *What would change its mind*: the counterfactual, the way to it, and what it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from markupsafe import Markup
from torch import Tensor

from freemcg.show.names import short_name
from freemcg.show.page.along import Along, along, has_odds, unasked
from freemcg.show.page.maker import found_by, is_drawn, is_realistic
from freemcg.show.page.palette import signed_colours
from freemcg.show.page.pictures import LOSSLESS, data_address
from freemcg.show.page.planes import small_plane
from freemcg.show.page.words import chance, number, odds, percent, place

Counterfactual = Any
MOST_FRAMES = 26
MOST_LARGE_FRAMES = 9
FRAME_SIDE = 192
"""The side of the steps on the way, if pictures are large. Input and answer are shown whole."""
CHANGE_SIDE = 96
CLEAR = 0.25
"""A place changed clearly if its change exceeds this share of the largest."""
ROUNDING = 1.5 / 255


@dataclass(frozen=True)
class Change:
    """What the section shows.

    Attributes:
        said: one sentence that says the finding.
        told: whether the rest is told; not without a signal, as it would be chance.
        maker: a sentence that names the method, if it is not the search of this package.
        drawn: whether the image model drew the answer and the way to it.
        before, after: how input and answer were decided.
        changed: where light was added and removed, in words.
        amount: the mean change of a pixel, in words.
        odds: the odds before and after, in words; empty if they mean nothing.
        title: the name of the answer: `Counterfactual`, or `Best found` if it is not decided as the target.
        picture: the address of the answer.
        still: the difference, as a picture.
        top: the change of brightness that the darkest colours stand for, in words; it is the answer's largest.
        frames: addresses of the steps from the input to the answer; empty if there is no way to show.
        along: the answers along the way; `None` if they were not asked.
        unasked: why they were not asked, in words.
        numbers: what the script needs.
    """

    said: str
    told: bool
    maker: str
    drawn: bool
    before: str
    after: str
    changed: str
    amount: str
    odds: str
    title: str
    picture: str
    still: str
    top: str
    frames: list[str]
    along: Along | None
    unasked: str
    numbers: dict[str, Any]


def change(result: Counterfactual) -> Change:
    """The section of a counterfactual."""
    path = shown_path(result)
    difference = (result.image - result.original).detach().cpu().mean(dim=0)
    large = max(difference.shape) > LOSSLESS
    frames = []
    if len(path) > 2:
        frames = [data_address(frame, FRAME_SIDE if large else None) for frame in path[1:-1]]
    changes = torch.stack([_reduced((frame - path[0]).mean(dim=0)) for frame in path])
    top = float(changes[-1].abs().max() or changes.abs().max())
    amounts = [float((frame - path[0]).abs().mean()) for frame in path]
    answers = along(result, shown_steps(result)) if frames else None
    return Change(
        said=_sentence(result),
        told=result.status != "no_signal",
        maker=found_by(result),
        drawn=is_drawn(result),
        before=_decided(result, before=True),
        after=_decided(result, before=False),
        changed=changed_words(_reduced(difference)),
        amount=f"{percent(result.l1)} of full brightness" if result.l1 > 0 else "nothing",
        odds=_odds(result),
        title="Counterfactual" if result.flipped else "Best found",
        picture=data_address(result.image),
        still=data_address(signed_colours(_reduced(difference), top)),
        top=percent(top),
        frames=frames,
        along=answers,
        unasked=unasked(result),
        numbers={
            "changes": small_plane(changes / top if top > 0 else changes),
            "changeSize": [changes.shape[2], changes.shape[1]],
            "amounts": [float(f"{amount:.6g}") for amount in amounts],
            "told": None if answers is None else answers.told,
            "heights": None if answers is None or answers.curve is None else answers.curve.heights,
        },
    )


def shown_path(result: Counterfactual) -> Tensor:
    """The input, the steps of the search and the answer, `(S, C, H, W)`: at most 26, or 9 of large pictures."""
    answer, original = result.image.detach().cpu(), result.original.detach().cpu()
    steps = result.path.detach().cpu()[shown_steps(result)]
    return torch.cat([original[None], steps.to(original), answer[None].to(original)])


def shown_steps(result: Counterfactual) -> list[int]:
    """The numbers of the steps in `result.path` that are shown between the input and the answer.

    The last step of the search gives way to the answer if they differ by rounding only.
    """
    if bool((result.image == result.original).all()):
        return []  # nothing was found, so no way leads to it
    count = len(result.path)
    if count and (result.path[-1] - result.image).abs().max() <= ROUNDING:
        count -= 1
    most = (MOST_FRAMES if max(result.image.shape) <= LOSSLESS else MOST_LARGE_FRAMES) - 2
    if count <= most:
        return list(range(count))
    return torch.linspace(0, count - 1, most).round().long().tolist()


def changed_words(difference: Tensor) -> str:
    """Where light was added and removed most, from a signed difference `(H, W)`."""
    largest = float(difference.abs().max())
    if largest <= ROUNDING:
        return "Nothing was changed."
    added, removed = (_where(sign * difference, largest) for sign in (1, -1))
    told = [f"light was added most of all {added}"] if added else []
    told += [f"{'' if added else 'light was '}removed most of all {removed}"] if removed else []
    sentence = " and ".join(told)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _where(difference: Tensor, largest: float) -> str | None:
    """The middle of the clear part of a positive difference, around its strongest place."""
    strength = torch.where(difference > CLEAR * largest, difference, torch.zeros(()))
    if not strength.any():
        return None
    height, width = strength.shape
    reach = max(1, round(0.15 * min(height, width)))
    blurred = F.avg_pool2d(strength[None, None], 2 * reach + 1, stride=1, padding=reach)[0, 0]
    peak = int(blurred.argmax())
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    near = ((rows - peak // width).abs() <= reach) & ((columns - peak % width).abs() <= reach)
    weight = strength * near
    x = float(((columns + 0.5) * weight).sum() / weight.sum()) / width
    y = float(((rows + 0.5) * weight).sum() / weight.sum()) / height
    return place(x, y)


def _reduced(difference: Tensor) -> Tensor:
    """A difference `(H, W)` of at most 96 pixels a side, by means over areas."""
    largest = max(difference.shape)
    if largest <= CHANGE_SIDE:
        return difference
    height, width = (max(1, round(side * CHANGE_SIDE / largest)) for side in difference.shape)
    return F.adaptive_avg_pool2d(difference[None, None], (height, width))[0, 0]


def _sentence(result: Counterfactual) -> str:
    record, target = result.record, short_name(result.record, result.target)
    if result.status == "already_target":
        return f"The picture is decided {target} already, so nothing had to be changed."
    if result.status == "no_signal":
        return (
            "Every question got the same answer, so no direction could be found in which the decision changes. Raise "
            "the noise level of the search (search.strength), then its queries."
        )
    if result.flipped:
        start = "The nearest realistic picture found" if is_realistic(result) else "The nearest picture found"
        if "value" in record:
            before, after = number(record["value before"], 4), number(record["value"], 4)
            sentence = Markup("{} whose answer is as wanted ({}): <b>{}</b>, where it was {}.")
            said = sentence.format(start, target, after, before)
        else:
            said = Markup("{} that is decided <b>{}</b>.").format(start, target)
        return said if is_realistic(result) else said + " It is less realistic than the input."
    return Markup("The best picture found is not decided <b>{}</b>. It is shown.").format(target)


def _decided(result: Counterfactual, *, before: bool) -> str:
    record = result.record
    if "value" in record:
        return f"answered {number(record['value before' if before else 'value'], 4)}"
    index = result.original_decision if before else result.decision
    name = short_name(record, index)
    if record.get("scores") == "label":
        return f"decided {name}"
    answer = result.original_log_probabilities if before else result.log_probabilities
    return f"decided {name}, {chance(answer[index].item())}"


def _odds(result: Counterfactual) -> str:
    record = result.record
    if not has_odds(result):
        return ""
    if result.target == result.original_decision:
        return ""
    first, second = (
        (each[result.target] - each[result.original_decision]).item()
        for each in (result.original_log_probabilities, result.log_probabilities)
    )
    if not (math.isfinite(first) and math.isfinite(second)):
        return ""
    names = short_name(record, result.target), short_name(record, result.original_decision)
    sentence = Markup("The odds of {} against {} went from <b>{}</b> to <b>{}</b>.")
    return sentence.format(*names, odds(first), odds(second))
