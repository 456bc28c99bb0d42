"""The forecast of a comparison, against what it asks."""

from __future__ import annotations

import re

import pytest
import tiny
import torch

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.commands.app import main
from freemcg.comparison.cost import cost_of, forecast_comparison, remaining
from freemcg.comparison.measures import REPEATS
from freemcg.comparison.recipe import OURS, Entry
from freemcg.comparison.run import compare
from freemcg.settings import Settings

QUERIES, STEPS = 41, 4
ASKING = (*OURS, "rise", "sobol", "hsic", "occlusion", "kernel_shap", "leverage_shap", "lime", "geex", "zeroth_order")
WHOLE = (*OURS, "rise", "kernel_shap", "lime")
"""Those that spend all that they may."""


def test_a_forecast_is_what_is_asked_or_a_little_more(pipeline, tmp_path, rng):
    weight, asked = torch.randn(8, 8, generator=rng) / 8, list[int]()

    def predict(images):
        asked.append(len(images))
        score = (images[:, 0] * weight).sum(dim=(1, 2))
        return torch.stack([score, -score], dim=1)

    box = BlackBox(predict, batch_size=4)
    explainer = FreeMCG(box, Denoiser.from_pretrained(pipeline), particles=44, queries=QUERIES, noise=0.3)
    measures = ("road", "max_sensitivity")
    costs = {method: cost_of(Entry(method=method), explainer.settings) for method in ASKING}
    kept = {("a", method): None for method in ASKING}
    left = remaining(kept, costs, measures, STEPS, black_box=box, decide=True)
    found = forecast_comparison(left, 1, box, latency=0.5, price_per_1000=10.0)
    image = torch.rand(1, 8, 8, generator=rng)
    rows = compare(explainer, {"a": image}, tmp_path, methods=ASKING, measures=measures, steps=STEPS)
    assert [row["error"] for row in rows] == [""] * len(ASKING)
    assert (found.price, found.seconds) == (pytest.approx(found.queries / 100), found.requests / 2)
    spared = {row["method"]: costs[row["method"]].queries - row["cost"] for row in rows}
    assert {method for method, queries in spared.items() if queries == 0} >= set(WHOLE)
    maps_each = 1 + REPEATS
    assert found.queries - sum(asked) == maps_each * sum(spared.values())
    fewer = found.requests - len(asked)  # the first query of a map may travel with others
    assert 0 <= fewer <= maps_each * (len(ASKING) + sum(spared.values()))


def planned(capsys, *words):
    assert main(["plan", "pics", "--task", "comparison", *words]) == 0
    said = capsys.readouterr().out
    return int(re.search(r"^queries: at most (\d+), in ", said, re.MULTILINE)[1]), said


def test_a_plan_says_what_a_comparison_then_spends(pipeline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path)
    words = ["--model", "mine.py:brighter_right", "--config", "tiny.yaml", "--queries", "9", "--steps", "4"]
    words += ["--methods", "freemcg,rise", "--measures", "road,max_sensitivity"]
    once = 9 + 9 + 14 + 4 * 9
    queries, said = planned(capsys, *words, "--price-per-1000", "10")
    assert queries == 3 * (1 + 2 * once)
    assert said.splitlines()[2:] == [
        f"price: at most {queries / 100:.2f}, and more where something has to be sent again",
        "maps: 6",
        f"of these, at most 3 queries for the decisions, {6 * 9} queries for the maps, {6 * (once - 9)} queries to "
        "measure them",
    ]
    assert tiny.asked(tmp_path) == []
    run = ["compare", "pics", "--denoiser", str(pipeline), "--device", "cpu", "--out", "out", *words]
    assert main(run) == 0
    assert sum(tiny.asked(tmp_path)) == queries
    assert f"{6 * (once - 9)} queries to measure the maps, and 3 queries for the decisions" in capsys.readouterr().err

    more = ["--methods", "freemcg,geex", "--measures", "pic"]
    rest, said = planned(capsys, *words, *more, "--out", "out")
    assert rest == 1 + 3 + 3 * 15 + 3 * (9 + 9 + 15)  # a change of the model costs three more
    assert "at most 4 queries to ask again about what is done" in said
    assert main([*run, *more]) == 0
    assert sum(tiny.asked(tmp_path)) == queries + rest - 3 - 3  # geex asks in pairs, and so one less a map
    done, said = planned(capsys, *words, *more, "--out", "out")
    assert (done, "maps: 0; done before: 6, if their pictures are the same" in said) == (4, True)


def test_gradients_are_planned_too_and_the_bundled_digits(capsys):
    assert main(["plan", "--task", "comparison", "--config", "manifold-ig", "--steps", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    maps, queries = 20 * 6, 20 + 20 * 6 * 17
    assert (lines[0], lines[1].split(",")[0]) == ("images: 20", f"queries: at most {queries}")
    gradients = 20 * (5 * 20 + 1)
    assert lines[2:] == [
        f"maps: {maps}",
        f"of these, at most 20 queries for the decisions, {gradients} gradients for the maps, {queries - 20} queries "
        f"and {5 * gradients} gradients to measure them",
    ]


def test_several_base_points_multiply_the_gradients():
    entry = Entry(method="integrated_gradients", settings={"base": "uniform", "n_base": 3}, cost=7)
    assert cost_of(entry, Settings()).gradients == 21


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pics", "--methods", "rise"], "--methods: for comparisons; leave it out, or say --task comparison"),
        ([], "name a picture or a folder of pictures"),
        (["--task", "compare"], "task must be attribution, counterfactual or comparison, got 'compare'"),
        (["--task", "comparison", "--methods", "rice"], "there is no method 'rice'; did you mean 'rise'?"),
        (["--task", "comparison", "--measures", "rode"], "there is no measure 'rode'; known beside alignment, "),
        (["--task", "comparison", "--tolerance", "0.1"], "--tolerance 0.1 is for attributions; leave it out, or say "),
    ],
)
def test_what_cannot_be_planned_is_refused(words, sentence, capsys):
    assert main(["plan", *words]) == 2
    assert capsys.readouterr().err.startswith(f"freemcg: {sentence}")
