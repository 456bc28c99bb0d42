"""Mappings in YAML files: a user's own, and those in the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from freemcg.messages.errors import InvalidValue


def read_config(name_or_path: str) -> tuple[dict[str, Any], str]:
    """Read a YAML mapping from a file, or a config of the package by name.

    Returns:
        The mapping, and the path of its file.

    Raises:
        FileNotFoundError: there is neither a file nor a config of that name.
        ValueError: the file is not YAML, or not a mapping.
    """
    path = Path(name_or_path)
    if not path.is_file():
        bundled = config_folder() / f"{name_or_path}.yaml"
        if not bundled.is_file():
            known = ", ".join(sorted(entry.stem for entry in config_folder().glob("*.yaml")))
            raise FileNotFoundError(f"there is no config {name_or_path}; bundled ones are {known}")
        path = bundled
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidValue(f"{path} is not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise InvalidValue(f"{path} must hold a mapping of settings, 'name: value' a line")
    return values, str(path)


def config_folder() -> Path:
    """The folder of the configs: inside the installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"
