"""What made a result, for the folded part *How it was made*."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LISTED = ("particles", "queries", "tolerance", "noise", "estimate", "objective", "seed")


def provenance(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, each as text. What a record does not hold is left out."""
    settings = record.get("settings", {})
    told = [
        ("Classifier", record.get("black_box")),
        ("It answers", record.get("scores")),
        ("Image model", record.get("denoiser")),
        ("Its weights", record.get("denoiser_identity")),
        ("Condition", record.get("condition")),
        ("Settings of the map", _listed({key: settings.get(key) for key in LISTED})),
        ("Settings of the search", _listed(settings.get("search", {}))),
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
