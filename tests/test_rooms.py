"""The direction of imports: a room imports only from the rooms below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = (
    *("commands", "comparison", "jobs", "freemcg", "explainer", "baselines", "tasks", "evaluation", "training"),
    *("models", "results", "show", "gradient", "blackbox", "manifolds", "diffusion", "files", "ensemble", "identity"),
    *("settings", "messages", "version"),
)
"""The rooms from the top down. `freemcg` is the package itself, with the names that users import."""
PACKAGES = ("freemcg", "baselines", "manifolds")
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if path.name != "__main__.py"]


def room(module: str) -> str:
    """The room of a module, by its dotted name."""
    parts = module.split(".")
    return parts[1] if parts[0] == "freemcg" and len(parts) > 1 else parts[0]


def imported(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports, also within functions and for types."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in PACKAGES:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.split(".")[0] in PACKAGES)


def name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", FILES, ids=name)
def test_imports_point_down(path):
    own = ROOMS.index(room(name(path)))
    up = [module for module in imported(path) if ROOMS.index(room(module)) < own]
    assert up == []


def test_no_two_files_import_one_another_in_a_circle():
    files = {name(path): path for path in FILES}
    wanted = {each: {module for module in imported(path) if module in files} for each, path in files.items()}
    left = dict(wanted)
    while free := [each for each, needs in left.items() if not needs & left.keys()]:
        for each in free:
            del left[each]
    assert sorted(left) == []


def test_few_files_lie_in_no_room():
    assert len([path for path in (ROOT / "freemcg").glob("*.py") if not path.name.startswith("__")]) <= 8


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_holds_one_idea(path):
    assert len(path.read_text().splitlines()) <= 300


def test_ensemble_is_pure_linear_algebra():
    known = {"torch", "freemcg", "__future__", "collections", "dataclasses", "math", "typing"}
    for path in (ROOT / "freemcg" / "ensemble").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            assert {each.split(".")[0] for each in names} <= known, path
