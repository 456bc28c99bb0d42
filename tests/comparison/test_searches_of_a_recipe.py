"""The searches of a recipe: counterfactuals by each, measured side by side, resumed, planned, and refused."""

from __future__ import annotations

import csv
import re

import pytest
import yaml

from freemcg import Counterfactual, load_bundle
from freemcg.commands.app import main
from freemcg.comparison.counterfactuals import measure_sides, read_sides
from freemcg.comparison.recipe import Recipe, Search, read_recipe
from freemcg.comparison.verdict import TESTS
from freemcg.files.config import config_folder

SMALL = {"FreeMCG": {"search": {"queries": 12, "steps": 6, "refresh": 3, "unpaid": 8}}}
SMALL |= {"published procedure": {"search": {"method": "paper", "particles": 3, "steps": 4}}}
NAMES = list(SMALL)


@pytest.fixture
def small(tmp_path):
    """The recipe of the package with few queries, as a file, and its words. Only one method makes maps."""
    recipe = yaml.safe_load((config_folder() / "compare" / "freemcg.yaml").read_text())
    for search in recipe["searches"]:
        search["settings"] = search.get("settings", {}) | SMALL[search["label"]]
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(recipe | {"searched": 2, "measures": []}))
    words = ["--config", str(path), "--methods", "RISE", "--steps", "4", "--queries", "9"]
    return [*words, "--out", str(tmp_path / "out")]


def read_csv(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_search_finds_counterfactuals_of_the_first_pictures_and_all_are_measured(small, tmp_path, capsys):
    assert main(["compare", "--images", "3", *small]) == 0
    said, folder = capsys.readouterr(), tmp_path / "out" / "counterfactuals"
    sides, left_out = read_sides([folder / name for name in NAMES])
    assert left_out == 0
    bundled = load_bundle("digits").images
    for name, side in zip(NAMES, sides.values(), strict=True):
        assert list(side) == ["digit-000", "digit-001"]
        for index, result in enumerate(side.values()):
            assert (result.original - bundled[index]).abs().max() <= 0.5001 / 255
            method = SMALL[name]["search"].get("method", "shared")
            assert result.record["settings"]["search"]["method"] == method
    figures = measure_sides(sides).figures
    rows = read_csv(folder / "counterfactuals.csv")
    assert [(row["folder"], row["image"]) for row in rows] == [(n, f"digit-00{i}") for n in NAMES for i in (0, 1)]
    for name, values in figures.items():
        assert [float(row[name]) for row in rows] == pytest.approx(values.flatten().tolist())
    assert {row["method"] for row in read_csv(folder / TESTS)} == {NAMES[1]}
    assert re.search(r"then counterfactuals of 2 by FreeMCG: at most 12 queries each", said.err)
    assert re.search(r"then counterfactuals of 2 by published procedure: at most 11 queries each", said.err)
    assert said.err.index("then counterfactuals of 2") < said.err.index("images: 3; methods: 1")
    assert "means over 2 pictures" in said.out
    page = (tmp_path / "out" / "report.html").read_text().split("<summary>Counterfactuals</summary>")[1]
    shown = [re.sub(r"<[^>]+>", " ", row).split() for row in page.split("<tr>")[1:4]]
    assert shown[0][:3] == ["Search", "Flipped", "Gain"]
    printed = [line.split() for line in said.out.splitlines() if line.startswith(tuple(NAMES))]
    assert [row[: len(line)] for row, line in zip(shown[1:], printed[-2:], strict=True)] == printed[-2:]


def test_a_second_start_searches_nothing_again_and_takes_more_pictures(small, tmp_path, capsys):
    folder = tmp_path / "out" / "counterfactuals"
    assert main(["compare", "--images", "3", "--searched", "1", *small]) == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("result.safetensors")}
    assert len(before) == 2
    capsys.readouterr()
    assert main(["compare", "--images", "3", *small]) == 0
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("result.safetensors")}
    assert before.items() < after.items()
    assert len(after) == 4
    said = capsys.readouterr().out
    assert main(["compare", "--images", "3", "--searched", "1", *small]) == 0
    assert "one picture: no means" in capsys.readouterr().out  # that of the other picture is not in this table
    assert main(["compare", "--images", "3", *small]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("result.safetensors")} == after
    table = [line for line in said.splitlines() if "published procedure" in line]
    assert table[-1] in capsys.readouterr().out


def test_none_is_searched_if_none_is_wanted(small, tmp_path, capsys):
    assert main(["compare", "--images", "1", "--searched", "0", *small]) == 0
    assert not (tmp_path / "out" / "counterfactuals").exists()
    assert "counterfactuals" not in "".join(capsys.readouterr())


def test_a_plan_holds_what_the_searches_cost(small, capsys):
    def most(*more):
        assert main(["plan", "--task", "comparison", *small, *more]) == 0
        said = capsys.readouterr().out
        return int(re.search(r"queries: at most (\d+)", said)[1]), said

    without, said = most("--searched", "0")
    assert "counterfactuals" not in said
    whole, said = most()
    assert whole - without == 2 * (12 + 11)
    assert "46 queries for counterfactuals" in said


def test_a_wrong_setting_of_a_search_is_refused_before_the_first_query(small, tmp_path, capsys):
    path = tmp_path / "small.yaml"
    recipe = yaml.safe_load(path.read_text())
    for change, message in (
        ({"settings": {"stepps": 3}}, "unknown setting 'stepps'; did you mean"),
        ({"settings": {"denoiser": 1}}, "unknown setting 'denoiser'; did you mean"),
        ({"method": "nearest_image"}, "nearest_image needs references, which a recipe's searches do not get"),
        ({"label": "counterfactuals.csv"}, "each search has a folder of its own, and 'counterfactuals.csv' is taken"),
        ({"settings": {"search": {"stepps": 3}}}, "unknown setting 'search.stepps'; did you mean 'steps'?"),
        ({"method": "pixel_serch"}, "there is no method 'pixel_serch'; did you mean 'pixel_search'?"),
        ({"label": "a/b"}, "the label 'a/b' names files; use letters, digits"),
        ({"label": "FreeMCG"}, "each search has a folder of its own, and 'FreeMCG' is taken"),
        ({"label": "pictures"}, "each search has a folder of its own, and 'pictures' is taken"),
    ):
        first, second = recipe["searches"]
        path.write_text(yaml.safe_dump(recipe | {"searches": [first, second | change]}))
        assert main(["compare", "--images", "1", *small]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_searches_take_part_by_their_names(small, tmp_path):
    path = tmp_path / "small.yaml"
    recipe = yaml.safe_load(path.read_text())
    searches = [{"method": "adversarial"}, {"method": "dvce", "settings": {"search": {"steps": 3}}}]
    path.write_text(yaml.safe_dump(recipe | {"searches": searches, "searched": 1}))
    assert main(["compare", "--images", "1", *small]) == 0
    for name in ("adversarial", "dvce"):
        found = tmp_path / "out" / "counterfactuals" / name / "digit-000" / "result.safetensors"
        assert Counterfactual.load(found).record["settings"]["search"]["method"] == name


def test_the_recipe_compares_with_the_paper_s_procedure_whole():
    ours, published = read_recipe("freemcg").searches
    assert ours == Search(label="FreeMCG")
    assert published.settings["search"] == {"method": "paper"}
    assert Recipe().searches == ()


def changed(tmp_path, *searches, **more):
    """The recipe with other searches."""
    path = tmp_path / "small.yaml"
    recipe = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(recipe | {"searches": list(searches), "searched": 1} | more))


def test_a_search_may_have_a_seed_of_its_own_and_else_has_that_of_the_comparison(small, tmp_path):
    ours = SMALL["FreeMCG"]
    changed(tmp_path, {"label": "same", "settings": ours}, {"label": "other", "settings": ours | {"seed": 5}})
    assert main(["compare", "--images", "1", "--seed", "3", *small]) == 0
    same, other = (
        Counterfactual.load(tmp_path / "out" / "counterfactuals" / name / "digit-000" / "result.safetensors")
        for name in ("same", "other")
    )
    assert (same.record["settings"]["seed"], other.record["settings"]["seed"]) == (3, 5)
    assert same.l1 != other.l1


def test_a_budget_that_cuts_counterfactuals_short_ends_with_status_1(small, tmp_path, capsys):
    changed(tmp_path, {"label": "ours", "settings": SMALL["FreeMCG"]}, searched=3)
    for_maps = 3 * (1 + 9 + 9)
    assert main(["compare", "--images", "3", "--budget", str(for_maps + 18), *small]) == 1
    assert "the budget ended" in capsys.readouterr().err
    assert main(["compare", "--images", "3", *small]) == 0


def test_what_a_search_would_refuse_is_refused_before_the_maps(small, tmp_path, capsys):
    changed(tmp_path, {"label": "ours", "settings": {"search": {"queries": 40}}})
    (tmp_path / "mine.py").write_text(
        "from freemcg import BlackBox\n"
        "box = BlackBox(lambda images: images.flatten(1)[:, :10].argmax(1), 'label', num_classes=10)\n"
    )
    words = ["compare", "--images", "1", "--model", f"{tmp_path / 'mine.py'}:box", *small]
    assert main(words) == 2
    assert "to find a runner-up from labels takes 32" in capsys.readouterr().err
    changed(tmp_path, {"method": "pixel_search"})
    assert main(words) == 2
    assert "name the class with --target" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_search_with_other_settings_than_its_folder_is_refused_before_the_maps(small, tmp_path, capsys):
    changed(tmp_path, {"label": "ours", "settings": SMALL["FreeMCG"]})
    assert main(["compare", "--images", "1", *small]) == 0
    more = {"search": SMALL["FreeMCG"]["search"] | {"queries": 13}}
    changed(tmp_path, {"label": "ours", "settings": more})
    assert main(["compare", "--images", "2", *small]) == 2
    assert "holds results made with another search" in capsys.readouterr().err
    assert not (tmp_path / "out" / "cells" / "digit-001").exists()


def test_searches_without_methods_are_a_recipe_too(tmp_path):
    path = tmp_path / "searches.yaml"
    path.write_text(yaml.safe_dump({"searches": [{"label": "ours"}]}))
    assert read_recipe(str(path)) == Recipe(searches=[{"label": "ours"}])


def test_a_plan_is_a_bound_for_any_image_and_leaves_out_what_is_not_searched(small, tmp_path, capsys):
    changed(tmp_path, {"label": "ours"}, {"method": "adversarial"}, searched=0)
    (tmp_path / "mine.py").write_text("def predict(images):\n    return images.flatten(1)[:, :10]\n")
    words = ["plan", "--task", "comparison", "--model", f"{tmp_path / 'mine.py'}:predict", *small]
    assert main(words) == 0
    changed(tmp_path, {"label": "ours"})
    capsys.readouterr()
    assert main(words) == 0
    assert "800 queries for counterfactuals" in capsys.readouterr().out
