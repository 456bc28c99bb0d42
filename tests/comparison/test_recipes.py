from __future__ import annotations

import csv
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from linear import Linear
from test_searches_of_a_recipe import SMALL

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.commands.app import main
from freemcg.comparison.cells import load_cell
from freemcg.comparison.measures import COLUMNS
from freemcg.comparison.published import write_published
from freemcg.comparison.recipe import Entry, Published, Recipe, read_recipe, recipes
from freemcg.comparison.run import compare
from freemcg.files.config import config_folder

QUERIES, STEPS = 9, 4
TINY = ("--images", "1", "--steps", "4", "--queries", "41", "--searched", "0")


@pytest.fixture(scope="module")
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def image(rng):
    return torch.rand(1, 8, 8, generator=rng)


@pytest.fixture
def run(denoiser, tmp_path, image):
    """Compare on a linear model, in the test's own folder."""

    def start(*methods, **more):
        explainer = FreeMCG(BlackBox(Linear().eval()), denoiser, particles=12, queries=QUERIES, noise=0.3)
        return compare(explainer, {"a": image}, tmp_path / "out", methods=methods, steps=STEPS, target=0, **more)

    return start


def entry(method, label, **settings):
    return Entry(method=method, label=label, settings=settings)


def test_one_method_takes_part_with_several_settings(run, tmp_path, image):
    references = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    rows = run(
        entry("integrated_gradients", "IG from white", base="white"),
        entry("integrated_gradients", "IG from the mean", base="data_mean"),
        Entry(method="integrated_gradients", label="IG of 3 gradients", cost=3),
        "integrated_gradients",
        references=references,
    )
    weight = Linear().weight.detach()
    wanted = {
        "IG from white": weight * (image - 1),
        "IG from the mean": weight * (image - references.mean(dim=0)),
        "IG of 3 gradients": weight * image,
        "integrated_gradients": weight * image,
    }
    assert {row["method"]: (row["cost"], row["error"]) for row in rows} == {
        name: (3 if name == "IG of 3 gradients" else QUERIES, "") for name in wanted
    }
    for name, values in wanted.items():
        torch.testing.assert_close(load_cell(tmp_path / "out", "a", name).values, values)


def test_freemcg_takes_part_with_settings_of_its_own(run, tmp_path, denoiser, image):
    own = {"estimate": "per_particle", "particles": 20, "objective": "log_probability"}
    rows = run(Entry(method="freemcg", label="as published", cost=21, settings=own), "freemcg")
    assert [row["cost"] for row in rows] == [21, QUERIES]
    box = BlackBox(Linear().eval())
    wanted = FreeMCG(box, denoiser, queries=21, noise=0.3, **own).explain(image, 0)
    assert torch.equal(load_cell(tmp_path / "out", "a", "as published").values, wanted.values)


def test_tests_of_more_pictures_do_not_stay_beside_one(run, tmp_path):
    (tmp_path / "out").mkdir()
    earlier = tmp_path / "out" / "significance.csv"
    earlier.write_text('method,against,measure,images,difference,low,high,p,"p, corrected"\n')
    run("freemcg", "gradient")
    assert not earlier.exists()


def test_other_settings_under_the_same_label_are_refused_and_other_labels_go_on(run, tmp_path):
    run(entry("integrated_gradients", "IG", base="white"))
    kept = (tmp_path / "out" / "cells" / "a" / "IG.safetensors").stat().st_mtime_ns
    with pytest.raises(ValueError, match=r"IG\.safetensors holds a result made with other settings"):
        run(entry("integrated_gradients", "IG", base="black"))
    run(entry("integrated_gradients", "IG", base="white"), entry("integrated_gradients", "IG from black", base="black"))
    assert (tmp_path / "out" / "cells" / "a" / "IG.safetensors").stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("methods", "sentence"),
    [
        ([entry("rise", "x", cell=3)], "there is no rise setting 'cell'; did you mean 'cells'?"),
        ([entry("rise", "x", cells="many")], "x: rise does not take the settings {'cells': 'many'}"),
        ([entry("integrated_gradients", "x", steps=4)], "x: steps follows from the cost; write cost instead"),
        ([entry("freemcg", "x", queries=4)], "x: its queries follow from its cost; write cost instead of settings"),
        ([entry("freemcg", "x", particels=4)], "x: unknown setting 'particels'; did you mean 'particles'?"),
        ([entry("gradient", "x"), entry("rise", "x")], "two methods are called 'x'; give one of them another label"),
        (
            [entry("integrated_gradients", "x", base="data_mean")],
            "x: the base-point data_mean needs other images of this",
        ),
        (["gradeint"], "there is no method 'gradeint'; did you mean 'gradient'?"),
    ],
)
def test_a_wrong_entry_is_refused_before_the_first_query(run, tmp_path, methods, sentence):
    with pytest.raises(ValueError) as refused:
        run(*methods)
    assert sentence in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("methods: [{label: a/b, method: rise}]", "the label 'a/b' names files; use letters, digits, spaces"),
        ("methods: [{methods: rise}]", "a method is a name, or a mapping with 'method' and 'label', got {'methods'"),
        ("methods: [3]", "a method is a name, or a mapping with 'method' and 'label', got 3"),
        ("methods: [{method: rise, lable: x}]", "a method: unknown setting 'lable'; did you mean 'label'?"),
        ("methods: [rise]\nqueries: few", "queries must be an integer"),
        ("methods: [rise]\nsettings: {particels: 3}", "settings: unknown setting 'particels'; did you mean"),
        ("particels: 3", "unknown setting 'particels'; did you mean 'particles'?"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError) as refused:
        read_recipe(str(path))
    assert str(refused.value).startswith(str(path))
    assert sentence in str(refused.value)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"no config freemgc; .*bundled recipes of comparisons are .*freemcg"):
        read_recipe("freemgc")


def test_settings_of_freemcg_are_a_recipe_too():
    assert read_recipe("paper").settings["estimate"] == "per_particle"
    assert read_recipe("paper").methods is None
    assert read_recipe(None) == Recipe()


def test_methods_are_chosen_by_their_labels():
    recipe = Recipe(methods=[{"label": "IG from white", "method": "integrated_gradients", "settings": {"base": 1}}])
    assert recipe.named(["IG from white", "rise"]) == [*recipe.methods, Entry(method="rise")]


def test_published_figures_stand_beside_ours(run, tmp_path, capsys):
    rows = run("gradient", "rise")
    cells = [load_cell(tmp_path / "out", "a", name) for name in ("gradient", "rise")]
    capsys.readouterr()
    figures = {"gradient": {"insertion": 0.25, "sic": 0.5}, "lime": {"insertion": 0.75}}
    write_published(Published(source="Somebody 2000, other digits", figures=figures), cells, tmp_path)
    with (tmp_path / "published.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    here = f"{rows[0]['insertion']:.3f}"
    assert row == {
        "method": "gradient",
        "measure": "insertion",
        "here": here,
        "published": "0.25",
        "source": "Somebody 2000, other digits",
    }
    assert capsys.readouterr().out.splitlines()[-1] == "published: Somebody 2000, other digits"


def test_published_figures_are_on_the_page_as_long_as_they_belong_to_it(run, tmp_path):
    figures = {"gradient": {"insertion": 0.25}}
    run("gradient", "rise", published=Published(source="Somebody <2000>, other digits", figures=figures))
    page = (tmp_path / "out" / "report.html").read_text().split("<summary>Beside what a paper found<")[1]
    assert "Somebody &lt;2000&gt;, other digits." in page
    assert re.search(r">Gradient</th><td>insertion</td><td>0\.\d{3}</td><td>0\.25</td>", page)
    run("gradient", "rise")
    assert not (tmp_path / "out" / "published.csv").exists()
    assert "Beside what a paper found" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("name", recipes())
def test_every_recipe_runs_and_prints_its_table(name, tmp_path, capsys):
    recipe = read_recipe(name)
    labels = [each.name for each in recipe.methods]
    if recipe.published is not None:
        assert recipe.published.figures.keys() <= set(labels)
        assert {column for each in recipe.published.figures.values() for column in each} <= COLUMNS.keys()
    config = name
    if recipe.searches:  # as they stand, these cost thousands of queries
        values = yaml.safe_load((config_folder() / "compare" / f"{name}.yaml").read_text())
        for search in values["searches"]:
            search["settings"] = search.get("settings", {}) | SMALL[search["label"]]
        config = str(tmp_path / "small.yaml")
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    words = [*TINY, "--searched", "1"] if recipe.searches else TINY
    assert main(["compare", "--config", config, *words, "--out", str(tmp_path)]) == 0
    found = {path.parents[1].name for path in (tmp_path / "counterfactuals").rglob("result.safetensors")}
    assert found == {search.name for search in recipe.searches}
    with (tmp_path / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["method"] for row in rows] == labels
    assert [row["error"] for row in rows] == [""] * len(labels)
    said = capsys.readouterr().out
    assert all(label in said for label in labels)
    assert (recipe.published is None) == ("published: " not in said)


def test_a_killed_recipe_goes_on_and_makes_no_map_again(tmp_path):
    words = ["compare", "--config", "freemcg", "--images", "12", "--steps", "4", "--queries", "9", "--searched", "0"]
    words += ["--methods", "FreeMCG map,RISE,GEEX", "--out", str(tmp_path)]
    started = subprocess.Popen(
        [sys.executable, "-m", "freemcg", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while len(list(tmp_path.rglob("*.safetensors"))) < 2 and started.poll() is None:
        time.sleep(0.02)
    started.kill()
    assert started.wait() == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert 2 <= len(before) < 36
    assert main(words) == 0
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(after) == 36
    assert before.items() <= after.items()
