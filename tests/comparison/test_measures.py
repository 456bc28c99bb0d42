"""Further measures of a comparison: their figures, their cost, what a second start adds, and the verdict."""

from __future__ import annotations

import csv
import math
import re

import pytest
import torch
from linear import Linear

from baselines import create
from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.comparison.attack import Attack
from freemcg.comparison.cells import load_cell
from freemcg.comparison.measures import COLUMNS, MEASURES, REPEATS, SAMPLES, SETS
from freemcg.comparison.recipe import Entry
from freemcg.comparison.run import compare
from freemcg.comparison.verdict import paired_tests
from freemcg.evaluation import (
    Denoised,
    blurred,
    bright_object,
    completeness_residual,
    effective_noise,
    infidelity,
    insertion_deletion,
    mass_inside,
    mean_colour,
    pearson,
    pic,
    pointing_game,
    road,
    sensitivity_n,
    structural_similarity,
)

QUERIES, STEPS = 9, 4
PLACES = 2 * STEPS + 1
COST = {
    "insertion_deletion_exchanged": PLACES,
    "insertion_deletion_denoised": PLACES,
    "road": 14,
    "pic": 15,
    "infidelity": SAMPLES + 1,
    "sensitivity_n": 4 * SETS + 1,
    "max_sensitivity": REPEATS * QUERIES,
    "attack": QUERIES,
    "completeness": 2,
    "bright_object": 0,
    "mask": 0,
    "effective_noise": 0,
}


MASKS = {name: torch.arange(64).reshape(8, 8) % 8 < 3 for name in ("a", "b")}


@pytest.fixture(scope="module")
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def pictures(rng):
    return {name: torch.rand(1, 8, 8, generator=rng) for name in ("a", "b")}


@pytest.fixture
def run(denoiser, tmp_path, pictures):
    def start(model, methods=("rise", "geex"), measures=None, **more):
        explainer = FreeMCG(BlackBox(model, budget=more.pop("budget", None)), denoiser, particles=12, queries=QUERIES)
        more = {"methods": methods, "measures": measures, "masks": MASKS, **more}
        return compare(explainer, pictures, tmp_path / "out", steps=STEPS, target=0, **more)

    return start


def rows_of(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_measure_is_what_its_function_says_and_costs_what_is_announced(run, denoiser, pictures, tmp_path, capsys):
    model = Linear().eval()
    rows = run(model, methods=("rise",), measures=tuple(MEASURES))
    assert [row["error"] for row in rows] == ["", ""]
    assert model.asked == 2 * (QUERIES + PLACES + sum(COST.values()))
    assert f"at most {2 * QUERIES} queries, and {2 * (PLACES + sum(COST.values()))} queries to measure the maps" in (
        capsys.readouterr().err
    )
    cell = load_cell(tmp_path / "out", "a", "rise")
    box, targets = BlackBox(Linear().eval()), torch.zeros(1, dtype=torch.long)
    given = (box, pictures["a"][None], cell.values[None], targets)
    soft = insertion_deletion(*given, steps=STEPS, fill=blurred, start=mean_colour)
    infill = Denoised(denoiser)
    real = insertion_deletion(*given, steps=STEPS, fill=infill, start=infill)
    removed = road(*given)
    wanted = {
        "insertion_grey": soft.insertion,
        "deletion_blurred": soft.deletion,
        "insertion_denoised": real.insertion,
        "deletion_denoised": real.deletion,
        "road_most_first": removed.most_first,
        "road_least_first": removed.least_first,
        "sic": pic(*given).sic,
        "aic": pic(*given).aic,
        "infidelity": infidelity(*given).unexplained,
        "sensitivity_n": sensitivity_n(*given).mean,
        "completeness_residual": completeness_residual(*given),
        "pointing": pointing_game(cell.values[None], bright_object(pictures["a"][None])),
        "mass_inside": mass_inside(cell.values[None], bright_object(pictures["a"][None])),
        "pointing_in_mask": pointing_game(cell.values[None], MASKS["a"][None]),
        "mass_in_mask": mass_inside(cell.values[None], MASKS["a"][None]),
        "effective_noise": effective_noise(cell.values[None]),
    }
    found = dict(cell.figures)
    assert found.pop("max_sensitivity") > 0
    attacked = Attack(box)(pictures["a"][None], targets)
    after = create("rise", box, queries=QUERIES + 1).attribute(attacked, 0)
    wanted |= {
        "attacked_pearson": pearson(after, cell.values[None]),
        "attacked_ssim": structural_similarity(after, cell.values[None]),
    }
    assert found == pytest.approx({name: value.item() for name, value in wanted.items()}, rel=1e-4, abs=1e-6)
    assert rows[0]["infidelity"] == pytest.approx(wanted["infidelity"].item(), abs=1e-5)
    for name, value in cell.figures.items():
        assert COLUMNS[name].low <= value <= COLUMNS[name].high


def test_a_measure_that_differentiates_is_refused_for_a_model_that_only_answers(run, tmp_path):
    model = Linear().eval()
    with pytest.raises(ValueError, match=r"the measure attack must differentiate .* can only be queried; leave it out"):
        run(lambda images: model(images).detach(), measures=("attack",))
    assert model.asked == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", MEASURES)
def test_a_measure_costs_what_it_says(run, name):
    model = Linear().eval()
    run(model, methods=("geex",), measures=(name,))
    geex = QUERIES - 1
    cost = {"max_sensitivity": REPEATS * geex, "attack": geex}.get(name, COST[name])
    assert model.asked == 2 * (geex + PLACES + cost)


def test_gradients_of_further_maps_are_announced_as_gradients(run, capsys):
    model = Linear().eval()
    rows = run(model, methods=("gradient",), measures=("max_sensitivity",))
    assert "at most 2 gradients, and 18 queries and 8 gradients to measure the maps" in capsys.readouterr().err
    assert [row["max_sensitivity"] for row in rows] == pytest.approx([0, 0], abs=0.03)  # the model is all but linear


def test_a_second_start_takes_only_the_measures_that_are_missing(run, tmp_path, capsys):
    run(Linear().eval())
    before = {name: load_cell(tmp_path / "out", "a", name).values for name in ("rise", "geex")}
    capsys.readouterr()
    second = Linear().eval()
    rows = run(second, measures=("completeness", "infidelity"))
    asked_again = 1  # the identity of a class that the user wrote cannot tell every change
    assert second.asked == asked_again + 4 * (2 + SAMPLES + 1)
    assert f"to do: 4, at most {4 * (2 + SAMPLES + 1)} queries to measure the maps" in capsys.readouterr().err
    assert all(row["infidelity"] is not None for row in rows)
    for name, values in before.items():
        assert torch.equal(load_cell(tmp_path / "out", "a", name).values, values)
    idle = Linear().eval()
    again = run(idle)
    assert idle.asked == asked_again
    assert again == rows  # figures of an earlier start stay in the table


def test_a_measure_that_fails_keeps_the_map_and_is_tried_again(run, tmp_path):
    budget = 1 + 4 * (QUERIES + PLACES)
    run(Linear().eval(), methods=("rise",))
    rows = run(Linear().eval(), methods=("rise",), measures=("sensitivity_n",), budget=budget)
    assert [row["error"].split(":")[0] for row in rows] == ["", "not measured"]
    assert load_cell(tmp_path / "out", "b", "rise").values is not None
    last = Linear().eval()
    assert [row["error"] for row in run(last, methods=("rise",), measures=("sensitivity_n",))] == ["", ""]
    assert last.asked == 1 + COST["sensitivity_n"]


def test_ranks_tests_and_agreement_are_written(run, tmp_path, capsys):
    rows = run(Linear().eval(), methods=("rise", "gradient", "geex"), measures=("completeness",), against="geex")
    ranked = {row["method"]: row for row in rows_of(tmp_path / "out" / "ranks.csv")}
    means = {
        name: sum(row["insertion"] for row in rows if row["method"] == name) / 2
        for name in ("rise", "gradient", "geex")
    }
    order = sorted(means, key=lambda name: -means[name])
    assert [float(ranked[name]["insertion"]) for name in order] == [1, 2, 3]
    tests = rows_of(tmp_path / "out" / "significance.csv")
    assert [(row["method"], row["against"]) for row in tests] == [("rise", "geex")] * 4 + [("gradient", "geex")] * 4
    (first,) = (row for row in tests if (row["method"], row["measure"]) == ("rise", "insertion"))
    assert float(first["difference"]) == pytest.approx(means["rise"] - means["geex"], abs=1e-4)
    assert float(first["p"]) in (0.5, 1.0)  # two images have four signs
    assert all(float(row["p, corrected"]) == 1 for row in tests)
    agreement = rows_of(tmp_path / "out" / "agreement.csv")
    assert [float(agreement[index][name]) for index, name in enumerate(("rise", "gradient", "geex"))] == [1, 1, 1]
    assert agreement[0]["geex"] == agreement[2]["rise"]
    printed = capsys.readouterr().out
    assert "ranks under each measure, 1 is best\n" in printed
    remarks = [row["remark"] for row in rows_of(tmp_path / "out" / "remarks.csv")]
    assert re.fullmatch(
        r"the measures agree by [01]\.\d\d \(Kendall's W: 1 alike, 0 not at all\), over alignment, insertion, "
        r"deletion, completeness_residual and over all methods",
        remarks[0],
    )
    assert remarks[1] == "too few images to tell which method is better: 5 or more are needed"
    assert all(remark in printed for remark in remarks)
    assert "* differs from geex on the same images (p < 0.05 after Holm's correction for 8 tests)" in printed


class Unsure(Linear):
    """Two classes, of which the brighter the picture the surer is the first."""

    def forward(self, images):
        sure = 20 * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([sure, -sure], dim=1)


def test_completeness_is_by_the_base_point_and_the_score_of_each_method(run, tmp_path, capsys):
    """Of a linear model, a map is complete from its own base-point, and not from another."""
    entries = [
        "integrated_gradients",
        Entry(method="integrated_gradients", label="from white", settings={"base": "white"}),
        Entry(method="integrated_gradients", label="from two", settings={"base": "uniform", "n_base": 2}),
        Entry(method="idgi", label="idgi", settings={}),
        "kernel_shap",
        "gradient",
    ]
    rows = run(Linear().eval(), methods=entries, measures=("completeness",))
    found = {(row["method"], row["image"]): row["completeness_residual"] for row in rows}
    for name in ("integrated_gradients", "from white", "from two", "idgi", "kernel_shap"):
        assert [found[name, image] for image in ("a", "b")] == pytest.approx([0, 0], abs=2e-3), name
    assert found["gradient", "a"] > 0.01
    said = (
        "completeness_residual is taken by the method's own score and base-point for integrated_gradients, from white, "
        "from two, idgi, kernel_shap; by the log-odds and the picture's mean colour for gradient"
    )
    assert said in capsys.readouterr().out.splitlines()


def test_pictures_that_pic_leaves_out_are_counted(run, tmp_path, pictures, capsys):
    pictures["a"].mul_(0.2)
    pictures["b"].mul_(0.2).add_(0.7)
    rows = run(Unsure().eval(), methods=("rise", "geex"), measures=("pic",))
    assert {row["image"] for row in rows if row["sic"] is None} == {"a"}
    said = (
        "sic and aic leave out 1 of 2 images, of which the model is less than 80 % sure, or no more sure than of a "
        "picture without its pixels"
    )
    assert said in capsys.readouterr().out.splitlines()
    assert f"S{said[1:]}." in (tmp_path / "out" / "report.html").read_text()


def test_paired_tests_find_a_planted_difference_and_correct_for_all(rng):
    base = torch.rand(10, generator=rng, dtype=torch.double)
    worse, alike = base - 0.2, base + 1e-3 * torch.tensor([1.0, -1.0] * 5)
    figures = {"insertion": torch.stack([base, worse, alike]), "deletion": torch.full((3, 10), math.nan).double()}
    rows = paired_tests(figures, ("first", "worse", "alike"), "first")
    assert [(row["method"], row["measure"], row["images"]) for row in rows] == [
        ("worse", "insertion", 10),
        ("alike", "insertion", 10),
    ]
    assert rows[0]["difference"] == pytest.approx(-0.2)
    assert rows[0]["p, corrected"] == pytest.approx(2 * 2 / 1024)
    assert rows[1]["p"] == 1


REFUSED = {
    "there is no measure 'rode'; known beside alignment, insertion and deletion are insertion_deletion_exchanged, ": {
        "measures": ("rode",)
    },
    "there is no method 'lime' here to test against, only rise, geex": {"against": "lime"},
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_is_not_there_is_refused_before_the_first_query(run, tmp_path, sentence):
    model = Linear().eval()
    with pytest.raises(ValueError) as caught:
        run(model, **REFUSED[sentence])
    assert str(caught.value).startswith(sentence)
    assert model.asked == 0
    assert not (tmp_path / "out").exists()
