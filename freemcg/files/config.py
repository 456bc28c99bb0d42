"""Mappings in YAML files: a user's own, and those in the package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from freemcg.messages.errors import InvalidValue

DEEPEST, LARGEST = 50, 1_000_000


def read_config(name_or_path: str) -> tuple[dict[str, Any], str]:
    """Read a YAML mapping from a file, or a config of the package by name.

    Returns:
        The mapping, and the path of its file.

    Raises:
        FileNotFoundError: there is neither a file nor a config of that name.
        ValueError: the file is not YAML, or not a mapping. It names a setting twice, or holds itself by an alias.
    """
    path = Path(name_or_path)
    if not path.is_file():
        bundled = config_folder() / f"{name_or_path}.yaml"
        if not bundled.is_file():
            known = ", ".join(sorted(entry.stem for entry in config_folder().glob("*.yaml")))
            raise FileNotFoundError(f"there is no config {name_or_path}; bundled ones are {known}")
        path = bundled
    try:
        values = yaml.load(path.read_text(), Loader=_Loader)
    except OSError:
        raise
    except RecursionError:
        raise InvalidValue(_too_deep(path)) from None
    except Exception as error:  # a bad date or number raises other errors than YAML's
        raise InvalidValue(f"{path} is not YAML: {_problem(error)}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InvalidValue(f"{path} must hold a mapping of settings, 'name: value' a line")
    for count, depth in enumerate(_depths(values)):
        if depth > DEEPEST or count > LARGEST:
            raise InvalidValue(_too_deep(path))
    return values, str(path)


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a name that stands twice in one mapping."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if names.count(key.value) > 1:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands there twice", problem_mark=key.start_mark)
        return node


def _problem(error: Exception) -> str:
    """The problem, and the line where it is known."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    said = " ".join((problem or str(error)).split())
    return f"{said} (line {mark.line + 1})" if mark else said


def _depths(values: Any) -> Iterator[int]:
    """The depth of each value within, as often as an alias repeats it. This need not end."""
    waiting = [(values, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield depth
        if isinstance(value, dict | list):
            waiting += ((each, depth + 1) for each in (value.values() if isinstance(value, dict) else value))


def _too_deep(path: Path) -> str:
    return (
        f"{path} nests deeper than {DEEPEST} levels, or repeats too much by aliases; "
        "an alias (*name) must not stand within its own anchor (&name)"
    )


def config_folder() -> Path:
    """The folder of the configs: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"
