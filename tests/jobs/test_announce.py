"""What a job of counterfactuals says about its cost, if the pictures decide how much a search may ask."""

from __future__ import annotations

import pytest
import tiny

from freemcg.commands.app import main

FEW = "at most 800 queries each (50 if they have few directions, as digits and X-rays do)"
TOO_SMALL = (
    "the budget of {0} is less than one picture may cost; with --queries {0} the search of a picture would be planned "
    "for it"
)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = tiny.make_place(tmp_path, ("a.png",))
    (place / "open.yaml").write_text("search: {particles: 2, steps: 4}\n")
    return place


def said(pipeline, capsys, *options):
    words = ["--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--config", "open.yaml"]
    assert main(["counterfactual", "pics/a.png", *words, "--out", "out", *options]) in (0, 1)
    return capsys.readouterr().err


@pytest.mark.parametrize("budget", [None, 20, 799, 800])
def test_both_costs_are_said_and_a_budget_below_the_greater(place, pipeline, capsys, budget):
    printed = said(pipeline, capsys, *([] if budget is None else ["--budget", str(budget)]))
    assert FEW in printed
    assert (TOO_SMALL.format(budget) in printed) == (budget in (20, 799))


def test_a_number_of_queries_that_is_named_is_the_only_one(place, pipeline, capsys):
    printed = said(pipeline, capsys, "--queries", "30", "--budget", "29")
    assert "at most 30 queries each\n" in printed
    assert "would be planned" not in printed


def test_a_plan_says_both_costs_and_prices_the_greater(place, capsys):
    words = ["--model", "mine.py:brighter_right", "--task", "counterfactual", "--price-per-1000", "2"]
    assert main(["plan", "pics", *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("queries: at most 800, in ")
    assert lines[2] == "queries: at most 50, if the pictures have few directions, as digits and X-rays do"
    assert lines[3].startswith("price: at most 1.60,")
