"""Settings from the values of a user. An error is one sentence that names the setting and the value."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from freemcg.messages.errors import InvalidValue
from freemcg.settings.paper import PaperSearch
from freemcg.settings.search import SharedSearch

Model = TypeVar("Model", bound=BaseModel)


def make(model: type[Model], values: dict[str, Any], *, source: str = "") -> Model:
    """Build a settings model.

    Raises:
        ValueError: a key or a value is wrong. The message is one sentence, and begins with `source`.
    """
    try:
        return model(**values)
    except ValidationError as error:
        raise InvalidValue((f"{source}: " if source else "") + _first_sentence(error, model, values)) from None


def _first_sentence(error: ValidationError, model: type[BaseModel], values: dict[str, Any]) -> str:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("shared", "paper")]
    name = ".".join(place)
    if first["type"] == "extra_forbidden":
        owner: type[BaseModel] = model
        if place[0] == "search" and len(place) > 1:
            owner = PaperSearch if (values.get("search") or {}).get("method") == "paper" else SharedSearch
        near = difflib.get_close_matches(place[-1], owner.model_fields, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(owner.model_fields)}"
        return f"unknown setting {name!r}; {hint}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return message
    if first["type"].startswith("union_tag"):
        return f"search.method must be 'shared' or 'paper', got {(values.get('search') or {}).get('method')!r}"
    if first["type"] == "too_short":
        return f"{name} must hold at least {first['ctx']['min_length']}, got {first['input']!r}"
    message = (
        message.replace("Input should be ", "")
        .replace("greater than or equal to", ">=")
        .replace("less than or equal to", "<=")
    )
    message = (
        message.replace("greater than", ">")
        .replace("less than", "<")
        .replace("a valid integer", "an integer")
        .replace("a valid ", "a ")
    )
    return f"{name} must be {message}, got {first['input']!r}"
