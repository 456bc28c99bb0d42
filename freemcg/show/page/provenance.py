"""What made a result, for the folded part *How it was made*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LISTED = ("particles", "queries", "tolerance", "noise", "estimate", "objective", "seed")


def provenance(map_: Any, counterfactual: Any) -> list[tuple[str, str]]:
    """Names and values of the results of an image, each as text. One of the two may be `None`.

    The settings of the search are those of the counterfactual, in which nothing is left open. What no record holds is
    left out.
    """
    records: list[Mapping[str, Any]] = [each.record for each in (counterfactual, map_) if each is not None]
    record = {name: value for each in records for name, value in each.items()}
    settings = record.get("settings", {})
    searched = counterfactual.record.get("settings", {}) if counterfactual is not None else {}
    told = [
        ("Classifier", record.get("black_box")),
        ("It answers", record.get("scores")),
        ("Image model", record.get("denoiser")),
        ("Its weights", record.get("denoiser_identity")),
        ("Condition", record.get("condition")),
        ("Settings of the map", "" if map_ is None else _listed({key: settings.get(key) for key in LISTED})),
        ("Settings of the search", _listed({**searched.get("search", {}), "seed": searched.get("seed")})),
        ("Kept of the change", _kept(record.get("trimmed"))),
        ("Goal", record.get("goal")),
        ("Answers to one image differ by", record.get("disagreement")),
        ("Versions", _listed(record.get("versions", {}))),
    ]
    return [(name, str(value)) for name, value in told if value not in (None, "", {})]


def _kept(trimmed: Mapping[str, int] | None) -> str:
    return f"{trimmed['kept']} of {trimmed['regions']} regions" if trimmed else ""


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_plain(value)}" for key, value in values.items() if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " and ".join(str(each) for each in value)
    return str(value).replace("_", " ")
