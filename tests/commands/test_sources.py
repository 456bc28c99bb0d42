"""A file of the user's that lies where a job writes is refused, and stays as it is."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny

from freemcg.commands.app import main

WAYS = {
    "the job's settings": ({"config": "out/settings.json"}, "a file of the job", "tiny.yaml"),
    "the job's page": ({"config": "out/report_files/mine.yaml"}, "a file of the job", "tiny.yaml"),
    "a result's record": ({"config": "out/a/record.json"}, "the results of a.png", "tiny.yaml"),
    "a result's folder": ({"config": "out/a"}, "the results of a.png", "tiny.yaml"),
    "a folder above it": ({"config": "out/deep"}, "the results of deep/c.png", "tiny.yaml"),
    "a model": ({"model": "out/mine.py"}, "the results of mine.py.png", "mine.py"),
    "a denoiser": ({"denoiser": "out/a"}, "the results of a.png", None),
    "the whole folder": ({"denoiser": "out"}, "a file of the job", None),
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.make_place(tmp_path, ("a.png", "deep/c.png", "mine.py.png"))


def explain(pipeline, images="pics", out="out", **options):
    given = {"model": "mine.py:brighter_right", "denoiser": pipeline, "config": "tiny.yaml", "out": out, **options}
    return main(["attribute", images, *(f"--{name}={value}" for name, value in given.items())])


@pytest.mark.parametrize("way", WAYS)
def test_a_source_in_the_way_of_the_results_is_refused_and_stays(place, pipeline, capsys, way):
    options, what, original = WAYS[way]
    ((option, named),) = options.items()
    Path(named).parent.mkdir(parents=True, exist_ok=True)
    if original is None:
        shutil.copytree(pipeline, named, dirs_exist_ok=True)
    else:
        shutil.copy(original, named)
        shutil.copy("neighbour.py", Path(named).parent)
    before = sorted(place.rglob("*"))
    options = {option: named + ":brighter_right" if option == "model" else named}
    assert explain(pipeline, **options) == 2
    assert capsys.readouterr().err == (
        f"freemcg: --{option} {named} lies where {what} would be written; move it, or give another --out\n"
    )
    assert sorted(place.rglob("*")) == before


def test_sources_beside_the_results_are_in_nobodys_way(place, pipeline):
    shutil.rmtree("pics/deep")
    Path("pics/mine.py.png").unlink()
    assert explain(pipeline, out=".") == 0
    assert Path("a/result.safetensors").is_file()
    assert explain(pipeline, out=".") == 0


def test_pictures_below_the_results_are_explained_and_get_no_results_among_them(place, pipeline):
    Path("out").mkdir()
    tiny.make_pictures(Path("out/pics"), ("pics/a.png",))
    assert explain(pipeline, images="out/pics") == 0
    assert Path("out/pics_/a/result.safetensors").is_file()
    assert sorted(path.name for path in Path("out/pics").rglob("*")) == ["a.png", "pics"]
