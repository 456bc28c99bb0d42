"""Explain again from a receipt, without the model: the same result, to the last digit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from freemcg.blackbox.receipt import Receipt
from freemcg.blackbox.replayed import ReplayedBlackBox
from freemcg.diffusion.denoiser import Denoiser
from freemcg.explainer import FreeMCG
from freemcg.jobs.items import RECEIPTS, RESULT
from freemcg.messages.errors import InvalidValue, Refusal, sentence_of
from freemcg.models.load import load_denoiser
from freemcg.results import Attribution, Explanation, load_result
from freemcg.settings import OBJECTIVES

NOT_COMPARED = {"versions": None, "judge": None}


def replay(result: Explanation, receipt: Receipt, denoiser: Denoiser) -> Explanation:
    """Make a result again, with the same settings and with the answers in its receipt. No black box is asked.

    Raises:
        ValueError: the result was made with another denoiser or by another method, or its objective is a user's
            function, or the receipt lacks an answer.
    """
    record = result.record
    if denoiser.identity != record["denoiser_identity"]:
        raise InvalidValue(
            f"the result was made with the denoiser {record['denoiser']}; {denoiser.name} has other weights, another "
            "schedule or another condition"
        )
    settings = dict(record["settings"])
    if settings["objective"] not in OBJECTIVES:
        raise InvalidValue(
            f"the objective {settings['objective']} is a function that no result can hold; replay by hand"
        )
    if (method := settings["search"].get("method", "shared")) not in ("shared", "paper"):
        raise InvalidValue(f"the result was made with --method {method}, and only FreeMCG's searches are replayed")
    black_box = ReplayedBlackBox(receipt)
    explainer = FreeMCG(black_box, denoiser, **settings)
    again: Explanation
    if isinstance(result, Attribution):
        again = explainer.explain(result.image, result.target)
    else:
        target = record.get("goal", result.target) if record["target_named"] else None
        again = explainer.counterfactual(result.original, target)
    if black_box.unasked:
        raise InvalidValue(f"the receipt holds {black_box.unasked} more questions than were asked")
    return again


def differences(result: Explanation, again: Explanation) -> list[str]:
    """The fields that are not equal to the last bit.

    Not compared are `seconds`, the versions, a judge's verdict, and tensors that an older result does not hold.
    """
    return [field.name for field in fields(result) if not _same(field.name, result, again)]


def replay_folder(
    folder: Path, denoiser: str | None = None, *, device: str | torch.device = "cpu"
) -> Iterator[tuple[Path, list[str] | InvalidValue]]:
    """Replay each result within `folder`. Yield its folder, or its path in a demo, and the fields that differ.

    If a result is damaged, lacks its receipt or cannot be replayed, the error is yielded instead, and the next follows.

    Args:
        denoiser: a denoiser as `load_denoiser` takes it. `None` takes the one that the results name.

    Raises:
        FileNotFoundError: there is no result.
        ValueError: a denoiser cannot be loaded.
    """
    paths = sorted(path for name in RECEIPTS for path in folder.rglob(name))
    if not paths:
        raise FileNotFoundError(
            f"{folder} holds no {RESULT}; give a folder that attribute, counterfactual or demo wrote"
        )
    loaded: dict[str, Denoiser] = {}
    for path in paths:
        place = path.parent if path.name == RESULT else path
        try:
            result, receipt = load_result(path), Receipt.load(path.with_name(RECEIPTS[path.name]))
        except (ValueError, OSError) as error:
            yield place, InvalidValue(sentence_of(error))
            continue
        name, told = denoiser or result.record["denoiser"], dict(result.record.get("condition", {}))
        for key in ("dtype", "batch_size"):
            if f"denoiser_{key}" in result.record:
                told[key] = result.record[f"denoiser_{key}"]
        key = f"{name} {told}"
        if key not in loaded:
            loaded[key] = load_denoiser(name, device=device, **told)
        try:
            found: list[str] | InvalidValue = differences(result, replay(result, receipt, loaded[key]))
        except (Refusal, ValueError) as error:
            found = InvalidValue(str(error))
        yield place, found


def _same(name: str, result: Explanation, again: Explanation) -> bool:
    one, other = getattr(result, name), getattr(again, name)
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    if name == "record":
        return {**one, **NOT_COMPARED} == {**other, **NOT_COMPARED}
    return name == "seconds" or (one is None and isinstance(other, Tensor)) or bool(one == other)
