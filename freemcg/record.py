"""What a result says of what made it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freemcg.blackbox import BlackBox
from freemcg.denoiser import Denoiser
from freemcg.version import versions


def made_by(black_box: BlackBox, denoiser: Denoiser, settings: dict[str, Any]) -> dict[str, Any]:
    """The record of a result: settings, the identities of both models, the names of the classes, versions."""
    return {
        "settings": settings,
        "black_box": black_box.identity,
        "scores": black_box.scores,
        "class_names": None if black_box.class_names is None else list(black_box.class_names),
        "denoiser": denoiser.name,
        "denoiser_identity": denoiser.identity,
        "versions": versions(),
    }


def class_name(record: Mapping[str, Any], index: int) -> str:
    """The name of a class in the record of a result; its index if the classes have no names."""
    names = record.get("class_names")
    return str(index) if names is None else str(names[index])
