from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import tiny
import torch
from ports import free_port
from scipy import ndimage
from tolerance import assert_same_map
from torch import nn

import baselines
from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.blackbox import QueryBudgetExceeded
from freemcg.blackbox.local.white_box import WhiteBox
from freemcg.commands.app import main
from freemcg.comparison.cells import load_cell
from freemcg.comparison.run import compare
from freemcg.diffusion.particles import draw_particles
from freemcg.evaluation import insertion_deletion
from freemcg.jobs import start
from manifolds import TangentSpace, ensemble_tangent_space

QUERIES, STEPS = 9, 8
MEASURING = 2 * STEPS + 1
NAMES = ("a", "b")
CHEAP = ("freemcg", "gradient", "integrated_gradients", "rise")


class Linear(nn.Module):
    """Logits `(w . x, -w . x)` of 8x8 grey images."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(1, 8, 8, generator=generator) / 8)

    def forward(self, images):
        score = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)


class Vae(nn.Module):
    """A linear autoencoder of the first two rows: its tangent space is exactly those 16 pixels."""

    def encode(self, images):
        return images[:, 0, :2].flatten(1)

    def decode(self, latents):
        rest = latents.new_zeros(len(latents), 48)
        return torch.cat([latents, rest], dim=1).reshape(-1, 1, 8, 8)

    def forward(self, images):
        return self.decode(self.encode(images))


@pytest.fixture(scope="module")
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def pictures(rng):
    return {name: torch.rand(1, 8, 8, generator=rng) for name in NAMES}


@pytest.fixture
def run(denoiser, tmp_path, pictures):
    """Compare on a linear model, in the test's own folder."""

    def start(black_box=None, *, images=None, queries=QUERIES, methods=CHEAP, vae=None, out="out", **more):
        black_box = black_box or BlackBox(Linear().eval())
        explainer = FreeMCG(black_box, denoiser, particles=12, queries=queries, noise=0.3)
        return compare(
            explainer,
            images or pictures,
            tmp_path / out,
            methods=methods,
            vae=Vae().eval() if vae is None else vae,
            steps=STEPS,
            **more,
        )

    return start


class Counted(nn.Module):
    """A model that counts all images that it is asked about."""

    def __init__(self):
        super().__init__()
        self.inner, self.asked = Linear(), 0

    def forward(self, images):
        self.asked += len(images)
        return self.inner(images)


def written(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_figures_of_a_linear_model_are_those_worked_out_by_hand(run, tmp_path, pictures, capsys):
    model = Linear().eval()
    rows = run(BlackBox(model, class_names=["up", "down"]))
    with (tmp_path / "out" / "comparison.csv").open(newline="") as stream:
        stored = list(csv.DictReader(stream))
    assert [(row["image"], row["method"]) for row in stored] == [(name, method) for name in NAMES for method in CHEAP]
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == stored
    for name, image in pictures.items():
        score = (model.weight * image).sum()
        sign = 1.0 if score > 0 else -1.0
        maps = {"gradient": sign * model.weight.detach(), "integrated_gradients": sign * model.weight.detach() * image}
        for method, values in maps.items():
            (row,) = (row for row in stored if (row["image"], row["method"]) == (name, method))
            target = torch.tensor([0 if score > 0 else 1])
            areas = insertion_deletion(BlackBox(model), image[None], values[None], target, steps=STEPS)
            assert row["target"] == ["up", "down"][target.item()]
            assert float(row["alignment"]) == pytest.approx((values[:, :2].norm() / values.norm()).item(), abs=1e-5)
            assert float(row["insertion"]) == pytest.approx(areas.insertion.item(), abs=1e-5)
            assert float(row["deletion"]) == pytest.approx(areas.deletion.item(), abs=1e-5)
            assert row["error"] == ""
    costs = {row["method"]: (row["cost"], row["unit"]) for row in stored}
    assert costs == {
        "freemcg": ("9", "queries"),
        "gradient": ("1", "gradients"),
        "integrated_gradients": ("9", "gradients"),
        "rise": ("9", "queries"),
    }
    printed = capsys.readouterr()
    table = printed.out.splitlines()
    assert " ".join(table[0].split()) == "method images alignment (VAE) insertion deletion cost unit seconds"
    means = {row["method"]: 0.0 for row in stored}
    for row in stored:
        means[row["method"]] += float(row["insertion"]) / 2
    assert [line.split()[0] for line in table[1:5]] == sorted(means, key=lambda method: -means[method])
    assert table[5].startswith("best first by insertion")
    assert table[6].endswith("a random map has 0.494")  # a little less than sqrt(16 / 64)
    assert "rise: subtracts the mean answer; the published method does not, and is rise with centred: false" in table
    assert printed.err.splitlines()[0] == (
        "images: 2; methods: 4; maps done before: 0; to do: 8, at most 36 queries and 20 gradients, and "
        f"{8 * MEASURING} queries to measure the maps, and 2 queries for the decisions"
    )
    assert (tmp_path / "out" / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_contributions_take_part_at_the_cost_of_a_map(run, tmp_path, denoiser, pictures):
    model = Counted().eval()
    names = ("freemcg", "freemcg_contribution", "freemcg_contribution_smoothed")
    rows = run(BlackBox(model), methods=names)
    assert [(row["method"], row["cost"], row["error"]) for row in rows] == [(name, QUERIES, "") for name in names] * 2
    assert model.asked == 6 * (QUERIES + MEASURING) + len(pictures)
    wanted = FreeMCG(BlackBox(Linear().eval()), denoiser, particles=12, queries=QUERIES, noise=0.3).explain(
        pictures["a"]
    )
    added = wanted.contribution().values
    smoothed = torch.from_numpy(ndimage.gaussian_filter(added.double().numpy(), (0, 1, 1))).float()
    for name, values in zip(names, (wanted.values, added, smoothed), strict=True):
        torch.testing.assert_close(load_cell(tmp_path / "out", "a", name).values, values, rtol=1e-4, atol=1e-6)


def test_everything_asked_is_accounted_for(run, pictures):
    model = Counted().eval()
    black_box = BlackBox(model)
    rows = run(black_box, methods=("freemcg", "rise", "zeroth_order", "geex"))
    assert [row["cost"] for row in rows] == [9, 9, 8, 8] * 2
    assert black_box.queries == sum(row["cost"] for row in rows) + len(rows) * MEASURING + len(pictures)
    assert model.asked == black_box.queries


def test_a_comparison_that_was_stopped_goes_on_and_does_nothing_twice(run, tmp_path, monkeypatch):
    whole = Counted().eval()
    wanted = run(BlackBox(whole), methods=("freemcg", "rise", "geex"), out="whole")

    calls = []
    attribute = baselines.GEEX.attribute

    def stopped(self, *given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return attribute(self, *given)

    monkeypatch.setattr(baselines.GEEX, "attribute", stopped)
    first, second = Counted().eval(), Counted().eval()
    with pytest.raises(KeyboardInterrupt):
        run(BlackBox(first), methods=("freemcg", "rise", "geex"))
    before = written(tmp_path / "out")
    assert len(before) == 5
    found = run(BlackBox(second), methods=("freemcg", "rise", "geex"))
    after = written(tmp_path / "out")
    assert {path.stem for path in set(after) - set(before)} == {"geex"}
    assert before.items() <= after.items()
    asked_again = 1  # the identity of a class that the user wrote cannot tell every change
    assert second.asked == asked_again + 8 + MEASURING  # the class of the image is kept as well
    assert first.asked + second.asked == asked_again + whole.asked
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in wanted]

    idle = Counted().eval()
    run(BlackBox(idle), methods=("freemcg", "rise", "geex"))
    assert idle.asked == asked_again


@pytest.mark.parametrize("damage", ["emptied", "flipped", "folder"])
def test_a_damaged_cell_is_made_again_and_stops_nothing(run, tmp_path, damage):
    wanted = run(BlackBox(Counted().eval()), methods=("rise", "geex"))
    path = tmp_path / "out" / "cells" / "a" / "rise.safetensors"
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage == "flipped" else b"")
    model = Counted().eval()
    rows = run(BlackBox(model), methods=("rise", "geex"))
    assert [{**row, "seconds": 0} for row in rows] == [{**row, "seconds": 0} for row in wanted]
    asked_again = 1  # the identity of a class that the user wrote cannot tell every change
    assert model.asked == asked_again + QUERIES + MEASURING


def test_further_methods_and_images_are_taken_up(run, tmp_path, pictures, rng):
    run(methods=("rise",))
    before = written(tmp_path / "out")
    rows = run(methods=("geex", "rise"), images={**pictures, "deep/c.png": torch.rand(1, 8, 8, generator=rng)})
    assert [(row["image"], row["method"]) for row in rows] == [
        (image, method) for image in ("a", "b", "deep/c.png") for method in ("geex", "rise")
    ]
    after = written(tmp_path / "out")
    assert before.items() <= after.items()
    assert tmp_path / "out" / "cells" / "deep" / "c.png" / "rise.safetensors" in after


def test_a_failed_cell_is_noted_and_tried_again_while_the_rest_goes_on(run, tmp_path, monkeypatch, capsys):
    attribute, broken = baselines.RISE.attribute, [True]

    def fails_on_b(self, images, target):
        if broken and fails_on_b.calls.append(1) is None and len(fails_on_b.calls) == 2:
            self.black_box(images)
            raise KeyError("a slip\nof two lines")
        return attribute(self, images, target)

    fails_on_b.calls = []
    monkeypatch.setattr(baselines.RISE, "attribute", fails_on_b)
    rows = run(methods=("rise", "geex"))
    errors = {(row["image"], row["method"]): row["error"] for row in rows if row["error"]}
    assert errors == {("b", "rise"): "KeyError: 'a slip\\nof two lines'"}
    (failed,) = (row for row in rows if row["error"])
    assert (failed["cost"], failed["insertion"], failed["alignment"]) == (1, None, None)
    cell = load_cell(tmp_path / "out", "b", "rise")
    assert (cell.error, cell.values) == (errors["b", "rise"], None)
    said = capsys.readouterr()
    assert f"failed: rise on 1 of 2 images: {cell.error}" in said.err.splitlines()
    before = written(tmp_path / "out")

    broken.clear()
    again = run(methods=("rise", "geex"))
    assert [row["error"] for row in again] == [""] * 4
    after = written(tmp_path / "out")
    changed = {path for path in after if after[path] != before[path]}
    assert changed == {tmp_path / "out" / "cells" / "b" / "rise.safetensors"}
    assert "failed" not in capsys.readouterr().err


def test_a_missing_extra_is_named_and_the_rest_goes_on(run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    rows = run(methods=("occlusion", "rise"), queries=60)
    sentence = "Occlusion is captum's and needs captum and scikit-learn: pip install 'freemcg[compare]'"
    assert [row["error"] for row in rows] == [sentence, ""] * 2
    assert f"failed: occlusion on 2 of 2 images: {sentence}" in capsys.readouterr().err


def test_a_map_that_is_not_finite_or_zero(run, monkeypatch):
    monkeypatch.setattr(baselines.Gradient, "_attribute", lambda self, images, targets: images / 0)
    monkeypatch.setattr(baselines.InputXGradient, "_attribute", lambda self, images, targets: 0 * images)
    rows = run(methods=("gradient", "input_x_gradient"))
    assert [row["error"] for row in rows] == ["the map holds NaN or infinity", ""] * 2
    assert [row["alignment"] for row in rows] == [None] * 4


def test_a_blank_map_is_named_and_not_ranked(run, tmp_path, monkeypatch, capsys):
    """The order of its pixels is chance, which may look better than a map that says something."""
    monkeypatch.setattr(baselines.InputXGradient, "_attribute", lambda self, images, targets: 0 * images)
    rows = run(methods=("gradient", "input_x_gradient", "integrated_gradients"))
    blank = [row for row in rows if row["method"] == "input_x_gradient"]
    assert [(row["blank"], row["insertion"], row["deletion"], row["error"]) for row in blank] == [
        ("yes", None, None, "")
    ] * 2
    assert {row["blank"] for row in rows if row not in blank} == {""}
    with (tmp_path / "out" / "ranks.csv").open(newline="") as stream:
        ranks = {row["method"]: row for row in csv.DictReader(stream)}
    assert (ranks["input_x_gradient"]["insertion"], ranks["input_x_gradient"]["mean rank"]) == ("", "")
    assert ranks["input_x_gradient"]["note"] == (
        "no mean rank, since figures are lacking under alignment, insertion, deletion"
    )
    assert {ranks[name]["insertion"] for name in ("gradient", "integrated_gradients")} in ({"1.0", "2.0"}, {"1.5"})
    said = "a blank map, zero everywhere, has no figures and no rank: input_x_gradient on 2 of 2 images"
    printed = capsys.readouterr().out
    assert said in printed.splitlines()
    assert printed.splitlines()[3].split()[:2] == ["input_x_gradient", "0"]  # the last in the order by insertion
    assert f">A{said[1:]}.</p>" in (tmp_path / "out" / "report.html").read_text()


def test_what_an_earlier_start_compared_is_named_if_it_is_left_out(run, tmp_path, capsys):
    run(methods=("gradient", "rise", "geex"))
    assert "left out" not in capsys.readouterr().out
    assert (tmp_path / "out" / "agreement.csv").is_file()
    run(methods=("rise",))
    said = f"left out of the tables and the page this time, though {tmp_path / 'out'} has maps of them: geex, gradient"
    assert said in capsys.readouterr().out.splitlines()


def test_agreement_of_maps_that_are_no_longer_there_is_removed(run, tmp_path, monkeypatch):
    run(methods=("gradient", "rise"))
    assert "How alike the maps are" in (tmp_path / "out" / "report.html").read_text()
    monkeypatch.setattr(baselines.GEEX, "attribute", lambda self, images, target: images / 0)
    run(methods=("gradient", "geex"))
    assert not (tmp_path / "out" / "agreement.csv").exists()
    assert "How alike the maps are" not in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize("name", baselines.available())
@pytest.mark.parametrize("most", [41, 70])
def test_every_method_costs_at_most_so_much_and_uses_what_it_can(run, name, most, pictures):
    bright_pixels = torch.eye(64).reshape(64, 1, 8, 8)  # which the model decides in different ways
    references = torch.cat([torch.stack(list(pictures.values())), bright_pixels])
    image = {"a": pictures["a"]}
    convolving = nn.Sequential(nn.Conv2d(1, 1, 1), Linear()).eval()  # which Grad-CAM needs
    model = (BlackBox(convolving),) if name == "grad_cam" else ()
    (row,) = run(*model, methods=(name,), queries=most, images=image, references=references, target=0)
    assert row["error"] == ""
    assert row["unit"] == ("gradients" if baselines.METHODS[name].needs_weights else "queries")
    assert row["cost"] <= most
    least = {
        "gradient": 1,
        "input_x_gradient": 1,
        "grad_cam": 1,
        "adversarial_gradient_integration": 2,
        "occlusion": 10,
    }
    least["tangentially_aligned_ig"] = 24  # the model is linear, so its second derivatives cost nothing
    least["geometrically_guided_ig"] = 41  # it can only do whole ascents
    least |= {"sobol": 33, "leverage_shap": 16}  # whole rounds of masks; every coalition of four patches
    assert row["cost"] >= least.get(name, most - 1)


def test_the_model_is_left_as_found(run):
    model = Linear().eval()
    weight = model.weight.clone()
    run(BlackBox(model), methods=("integrated_gradients", "guided_ig"))
    assert not model.training
    assert model.weight.grad is None
    assert model.weight.requires_grad
    assert torch.equal(model.weight, weight)
    assert not model._forward_hooks


def test_a_network_is_differentiated_behind_what_its_black_box_does(run, pictures, tmp_path):
    """The box doubles contrast and halves the size. The gradient is taken with respect to the image that was given."""
    weight = torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(0))

    class Small(nn.Module):
        def forward(self, images):
            score = (images * weight).sum(dim=(1, 2, 3))
            return SimpleNamespace(logits=torch.stack([score, -score], dim=1))

    box = BlackBox(Small().eval(), image_size=4, mean=[0.2], std=[0.5])
    run(box, methods=("gradient",), target=1)
    found = load_cell(tmp_path / "out", "a", "gradient").values
    step, image = 1e-3, pictures["a"]
    for row, column in ((0, 0), (3, 4), (7, 2)):
        moved = image.clone()
        moved[0, row, column] += step

        def score(picture):
            small = nn.functional.interpolate(picture[None], size=4, mode="bilinear", antialias=True)
            return -((small[0] - 0.2) / 0.5 * weight).double().sum().item()

        slope = (score(moved) - score(image)) / step
        assert found[0, row, column].item() == pytest.approx(slope, abs=2e-3)


def test_what_is_differentiated_twice_counts_twice():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 2)).eval()
    white_box = WhiteBox(BlackBox(model))
    spaces = [TangentSpace(torch.eye(64, dtype=torch.double)[:9])]
    method = baselines.TangentiallyAlignedIG(white_box, tangent_spaces=lambda images: spaces, steps=3, iterations=2)
    method.attribute(torch.full((1, 1, 8, 8), 0.5), 0)
    assert white_box.gradients == 3 * (3 * (2 + 1) + 1)
    with torch.no_grad():
        white_box(torch.zeros(4, 1, 8, 8))
    white_box(torch.zeros(4, 1, 8, 8))
    assert white_box.gradients == 30


def test_without_a_vae_alignment_is_that_with_other_particles(denoiser, pictures, tmp_path, capsys):
    explainer = FreeMCG(BlackBox(Linear().eval()), denoiser, particles=12, queries=9, noise=0.3)
    rows = compare(explainer, pictures, tmp_path / "out", methods=("freemcg", "gradient"), steps=STEPS)
    assert all(0 < row["alignment"] < 1 for row in rows)
    own, other = (
        ensemble_tangent_space(
            draw_particles(denoiser, pictures["a"], denoiser.timestep(0.3), 12, seed=seed), explained=0.9
        )
        for seed in (0, 1)
    )
    values = load_cell(tmp_path / "out", "a", "freemcg").values
    assert rows[0]["alignment"] == pytest.approx(other.alignment(values).item(), abs=1e-5)
    assert rows[0]["alignment"] != pytest.approx(own.alignment(values).item(), abs=1e-3)
    printed = capsys.readouterr().out
    assert "alignment (ensemble)" in printed.splitlines()[0]
    assert "alignment: with the tangent space of an ensemble of the denoiser's particles, which favours fr" in printed


def test_other_settings_are_not_mixed(run, tmp_path):
    run(methods=("rise",))
    idle = Counted().eval()
    with pytest.raises(ValueError) as caught:
        run(methods=("rise",), queries=12)
    assert str(caught.value) == (
        f"{tmp_path / 'out'} holds results made with another queries (9 then, 12 now); "
        "give another --out, or delete it to start anew"
    )
    with pytest.raises(ValueError, match=r"another target \(None then, 1 now\)"):
        run(methods=("rise",), target=1)
    with pytest.raises(ValueError, match="another black box"):
        run(BlackBox(idle), methods=("rise",))
    assert idle.asked == 0
    stored = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert (stored["task"], stored["steps"], stored["settings"]["queries"]) == ("comparison", STEPS, 9)


ASKED = BlackBox(lambda images: Linear()(images).detach())
REFUSED = [
    ({"methods": ("guidedig",)}, "there is no method 'guidedig'; did you mean 'guided_ig'?"),
    (
        {"methods": ("rise", "gradient", "guided_ig"), "black_box": ASKED},
        "gradient, guided_ig must differentiate a torch.nn.Module that answers logits, but this model can only be "
        "queried; methods that only query are freemcg, freemcg_contribution, freemcg_contribution_smoothed, "
        "zeroth_order, geex, rise, sobol, hsic, occlusion, kernel_shap, leverage_shap, lime",
    ),
    ({"methods": ("expected_gradients",)}, "expected_gradients needs other images of this kind: give "),
    (
        {"methods": ("tangentially_aligned_ig",)},
        "tangentially_aligned_ig needs at least 32 gradients, got 9",
    ),
    ({"target": 5, "black_box": BlackBox(Linear().eval(), num_classes=2)}, "there is no class 5; classes are 0..1"),
    ({"images": {"a": torch.zeros(1, 4, 4)}}, "images are 4x4 but the denoiser "),
    (
        {"methods": ()},
        "name at least one method; known are freemcg, freemcg_contribution, freemcg_contribution_smoothed, gradient,",
    ),
]


@pytest.mark.parametrize(("given", "sentence"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_does_not_go_together_is_refused_before_the_first_query(run, tmp_path, given, sentence):
    with pytest.raises(ValueError) as caught:
        run(**given)
    assert str(caught.value).startswith(sentence)
    assert not (tmp_path / "out").exists()


def test_a_class_that_a_network_does_not_have_is_refused_before_the_first_query(run, tmp_path):
    box = BlackBox(Linear().eval())
    with pytest.raises(ValueError, match=r"^there is no class 5; classes are 0\.\.1$"):
        run(box, target=5)
    assert box.queries == 0
    assert not (tmp_path / "out").exists()


def test_a_class_that_the_first_answer_rules_out_stops_the_comparison(run, tmp_path):
    """Only the answer of a model that can be queried alone tells how many classes there are."""
    box = BlackBox(lambda images: Linear()(images).detach())
    with pytest.raises(ValueError, match=r"^there is no class 5; classes are 0\.\.1$"):
        run(box, target=5, methods=("freemcg", "rise"))
    assert box.queries <= QUERIES
    assert [path.name for path in (tmp_path / "out").rglob("*.*")] == ["settings.json"]
    assert {row["target"] for row in run(box, target=1, methods=("freemcg", "rise"))} == {"1"}


@pytest.mark.parametrize("target", [None, 1])
def test_a_network_in_training_mode_is_refused_before_the_first_query(run, tmp_path, target):
    model = nn.Sequential(Linear(), nn.Dropout(0.5)).train()
    with pytest.raises(ValueError, match=r"is in training mode, .* call model.eval\(\) first$"):
        run(BlackBox(model), target=target, methods=("gradient", "rise"))
    assert not (tmp_path / "out").exists()


def test_without_a_single_map_no_table_and_no_page_is_written(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(baselines.Gradient, "_attribute", lambda self, images, targets: images / 0)
    rows = run(methods=("gradient",))
    assert [row["error"] for row in rows] == ["the map holds NaN or infinity"] * 2
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".json", ""}
    said = capsys.readouterr()
    assert said.err.splitlines()[-2:] == [
        "failed: gradient on 2 of 2 images: the map holds NaN or infinity",
        "no map was made, so no table and no page is written",
    ]
    assert "queries of this start: 2 sent" in said.out


@pytest.mark.parametrize("budget", [131, 156])  # spent before the last map: 2 + 4 * 26 + 25
def test_a_budget_is_never_passed_and_what_it_did_not_reach_for_is_made_by_the_next_start(run, tmp_path, budget):
    methods, model = ("freemcg", "rise", "geex"), Counted().eval()
    wanted = run(methods=methods, out="whole")
    rows = run(BlackBox(model, budget=budget), methods=methods)
    assert [row["method"] for row in rows if row["error"]] == ["geex"]
    assert rows[-1]["error"].startswith("26 more queries would pass the budget of ")
    assert model.asked <= budget
    assert len(written(tmp_path / "out")) == 6  # also the one that failed
    again = run(BlackBox(Counted().eval()), methods=methods)
    for row in (*wanted, *again):
        del row["seconds"]
    assert again == wanted


def test_a_budget_is_not_spent_once_a_process(run, monkeypatch):
    monkeypatch.setattr(start, "PartialState", lambda: SimpleNamespace(num_processes=2, is_main_process=True))
    with pytest.raises(ValueError, match="a budget is counted in one process"):
        run(BlackBox(Linear().eval(), budget=100))


def test_a_budget_too_small_for_the_decisions_is_said(run):
    with pytest.raises(QueryBudgetExceeded, match="1 more queries would pass the budget of 1; 0 are left"):
        run(BlackBox(Linear().eval(), budget=1), methods=("rise",))


def test_a_map_for_which_retries_left_too_little_is_refused(run):
    model = Linear().eval()

    class Dropping:
        """A model that needs a second try for every image except the first two, which give the decisions."""

        def __init__(self):
            self.seen = 0

        def answers(self, images, charge):
            charge(len(images), False)
            self.seen += len(images)
            if self.seen > len(NAMES):
                charge(len(images), True)
            yield 0, len(images), model(images)

    rows = run(BlackBox(Dropping(), budget=2 + 9 + MEASURING, may_change=False), methods=("freemcg",))
    assert rows[0]["error"] == "the budget ended before the map was whole"


def test_a_vae_of_other_images_is_refused(run):
    class Other(Vae):
        def forward(self, images):
            raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(ValueError) as caught:
        run(vae=Other())
    assert str(caught.value) == "the VAE does not take images of 1x8x8; name one of such images, or none"


def test_a_model_that_answers_nonsense_stops_the_comparison(run, tmp_path):
    with pytest.raises(ValueError, match="the black box answered NaN or infinity for image 0 of 1"):
        run(BlackBox(lambda images: torch.full((len(images), 2), float("nan"))), methods=("rise",))
    assert written(tmp_path / "out") == {}


def command(pipeline, out):
    options = ["--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    options += ["--queries", "9", "--steps", "8", "--methods", "freemcg, rise"]
    return ["compare", "pics", "--out", out, "--device", "cpu", *options]


def test_two_processes_answer_as_one(pipeline, tmp_path, monkeypatch, capsys):
    place = tiny.make_place(tmp_path)
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launcher += ["--main_process_port", free_port(), "-m", "freemcg", *command(pipeline, "two")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        launcher, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted(tiny.asked(place)) == [3 * (9 + 17) + 1, 3 * (9 + 17) + 2]
    assert done.stdout.count("best first by insertion") == 1
    monkeypatch.chdir(place)
    assert main(command(pipeline, "one")) == 0
    assert "at most 54 queries, and 102 queries to measure the maps" in capsys.readouterr().err
    for name in ("a.png", "b.png", "deep/c.png"):
        for method in ("freemcg", "rise"):
            one, two = (load_cell(place / out, name, method) for out in ("one", "two"))
            assert_same_map(one.values, two.values)
            assert one.insertion == pytest.approx(two.insertion, rel=1e-5)
            assert (one.cost, one.target, one.rank) == (two.cost, two.target, two.rank)


def test_the_command_compares_bundled_digits(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ["--images", "2", "--queries", "5", "--steps", "4", "--methods", "gradient,zeroth_order"]
    assert main(["compare", "--out", "out", "--device", "cpu", *options]) == 0
    printed = capsys.readouterr()
    assert "alignment (VAE)" in printed.out
    with (tmp_path / "out" / "comparison.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["image"], row["cost"]) for row in rows] == [
        (name, cost) for name in ("digit-000", "digit-001") for cost in ("1", "4")
    ]
    more = ["--cache", "kept.sqlite", "--price-per-1000", "10"]
    asking = ["--methods", "rise", "--images", "2", "--queries", "20", "--steps", "4", "--device", "cpu"]
    assert main(["compare", "--out", "paid", "--budget", "0.40usd", *more, *asking]) == 1
    printed = capsys.readouterr()
    assert (
        "at most 40 queries, and 18 queries to measure the maps, and 2 queries for the decisions, price 0.60"
        in printed.err
    )
    assert "failed: rise on 1 of 2 images: 29 more queries would pass the budget of 40; 10 are left" in printed.err
    assert (
        "queries of this start: 30 sent, 30 answered, 0 retried, 0 unanswered, 1 from the cache, price 0.30"
        in printed.out
    )
    assert main(["compare", "--out", "paid", *more, *asking]) == 0
    assert "queries of this start: 28 sent" in capsys.readouterr().out
    assert main(["compare", "--out", "again", *more, *asking]) == 0
    assert (
        "queries of this start: 0 sent, 0 answered, 0 retried, 0 unanswered, 60 from the cache"
        in capsys.readouterr().out
    )
    assert main(["compare", "pics", "--images", "2"]) == 2
    assert capsys.readouterr().err == ("freemcg: give pictures, or --images for the bundled digits, and not both\n")
    assert main(["compare", "--images", "451", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "freemcg: images must be 1..450, the bundled digits, got 451\n"
    assert main(["compare", "--vae", "nowhere", "--device", "cpu"]) == 2
    assert capsys.readouterr().err == "freemcg: there is no folder nowhere; name another, or a bundled VAE: digits\n"


def test_the_default_list_is_what_the_model_allows(run, tmp_path):
    assert [row["method"] for row in run(methods=None)][:7] == [
        "freemcg",
        "gradient",
        "smooth_grad",
        "integrated_gradients",
        "guided_ig",
        "rise",
        "zeroth_order",
    ]
    rows = run(ASKED, methods=None, out="asked")
    assert [row["method"] for row in rows][:4] == ["freemcg", "rise", "geex", "zeroth_order"]
