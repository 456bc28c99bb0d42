"""Folders of counterfactuals with and without the answers along their paths, and the command line's `--ask-path`."""

from __future__ import annotations

import hashlib
import json
import re

import pytest
import tiny
import torch
from folders import run_job

from freemcg import BlackBox, Counterfactual, Denoiser, FreeMCG
from freemcg.commands.app import main
from freemcg.jobs.made_with import job_settings
from freemcg.jobs.plan import calls, most_queries
from freemcg.messages.errors import InvalidValue
from freemcg.settings import Settings, for_scores, make

SEARCH = {"queries": 12, "particles": 2, "steps": 4, "refresh": 2, "unpaid": 8, "strength": 0.5}
NETWORK = """

torch.manual_seed(1)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval().requires_grad_(False)
network[1].weight *= 4
"""
FRAMES = SEARCH["steps"] - 1  # the last was queried as a candidate


def brighter(images):
    light = 20 * (images.flatten(1).mean(dim=1) - 0.5)
    return torch.stack([light, -light], dim=1)


@pytest.fixture
def make_explainer(pipeline):
    denoiser = Denoiser.from_pretrained(pipeline)
    return lambda **settings: FreeMCG(BlackBox(brighter), denoiser, search=SEARCH, **settings)


def test_without_it_settings_and_records_are_those_of_a_version_that_had_no_such_setting(make_explainer):
    plain, asking = make_explainer(), make_explainer(ask_path=True)
    for task, keys in (
        ("counterfactual", {"objective", "search", "seed"}),
        ("attribution", {"particles", "queries", "tolerance", "noise", "estimate", "objective", "seed"}),
    ):
        assert job_settings(plain, task, None)["settings"].keys() == keys
    assert job_settings(asking, "counterfactual", None)["settings"]["ask_path"] is True
    assert job_settings(asking, "attribution", None) == job_settings(plain, "attribution", None)
    assert "ask_path" not in plain.settings.record()
    assert make(Settings, json.loads(json.dumps(asking.settings.record()))) == asking.settings


@pytest.mark.parametrize("first", [False, True])
def test_a_folder_made_with_another_choice_is_refused(make_explainer, tmp_path, first):
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(ask_path=first), images, out, task="counterfactual")
    result = Counterfactual.load(out / "a" / "result.safetensors")
    assert (result.path_log_probabilities is not None) == first
    other = make_explainer(ask_path=not first)
    said = rf"holds results made with another ask_path \({first} then, {not first} now\); give another --out"
    with pytest.raises(InvalidValue, match=said):
        run_job(other, images, out, task="counterfactual")
    assert other.black_box.queries == 0


def test_a_folder_of_the_version_before_goes_on(make_explainer, tmp_path):
    """Its settings, and the digest that each result notes, are written out here as that version wrote them."""
    images, out = tiny.make_pictures(tmp_path / "pics", ("a.png",)), tmp_path / "out"
    run_job(make_explainer(), images, out, task="counterfactual")
    kept = json.loads((out / "settings.json").read_text())
    kept.pop("checksum")
    search = kept["settings"]["search"]
    kept["settings"] = {"objective": "log_odds", "search": search, "seed": 0}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]
    assert json.loads((out / "a" / "record.json").read_text())["made with"] == digest
    again = make_explainer()
    run_job(again, images, out, task="counterfactual")
    assert again.black_box.queries == 1  # which tells whether the model is the same


@pytest.fixture
def place(tmp_path, pipeline, monkeypatch):
    """A user's folder, and the words of the command."""
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png", "b.png"))
    (tmp_path / "mine.py").write_text(tiny.MODEL + NETWORK)
    (tmp_path / "asking.yaml").write_text(tiny.CONFIG + "ask_path: true\n")
    return ["counterfactual", "pics", "--denoiser", str(pipeline), "--device", "cpu"]


@pytest.mark.parametrize(
    ("words", "most"),
    [
        (["--config", "tiny.yaml"], 12),
        (["--config", "tiny.yaml", "--ask-path"], 12 + 4),
        (["--config", "asking.yaml"], 12 + 4),
        (["--config", "tiny.yaml", "--ask-path", "--method", "diffusion_guided"], 1 + 2 * 4 + 4),
    ],
)
def test_what_the_command_asks_is_what_the_plan_says_and_is_kept(place, capsys, words, most):
    words = ["--model", "mine.py:network", *words]
    assert main(["plan", "pics", "--task", "counterfactual", *words]) == 0
    assert f"queries: at most {2 * most}, in" in capsys.readouterr().out
    assert main([*place, *words, "--out", "out"]) == 0
    assert f"to do: 2, at most {most} queries each" in capsys.readouterr().err
    asking = most != 12
    for name in "ab":
        result = Counterfactual.load(f"out/{name}/result.safetensors")
        assert result.queries <= most
        assert (result.path_log_probabilities is not None) == asking
        assert result.record.get("path_queries") == (FRAMES if asking else None)
    assert main([*place, *words, "--out", "out"]) == 0
    assert "queries of this start: 0 sent" in capsys.readouterr().out
    if "--method" not in words:
        assert main(["replay", "out", "--device", "cpu"]) == 0
        assert capsys.readouterr().out.count("equal to the last digit") == 2


def test_a_path_that_the_budget_does_not_reach_is_told(place, capsys):
    words = [*place, "--model", "mine.py:network", "--config", "tiny.yaml", "--ask-path", "--budget", "14"]
    assert main([*words, "--out", "out"]) == 1  # the second picture is left for the next start
    told = "a.png: its steps were not asked, since the budget had too few queries left"
    assert told in capsys.readouterr().err
    assert Counterfactual.load("out/a/result.safetensors").path_log_probabilities is None
    assert main([*words[:-1], "99", "--out", "out"]) == 0
    assert "its steps were not asked" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["counterfactual", "pics", "--out", "out", "--method", "pixel_search"],
            "--ask-path is for --method freemcg or diffusion_guided, got pixel_search; leave it out",
        ),
        (["plan", "pics", "--task", "attribution"], "--ask-path: for counterfactuals; leave it out"),
    ],
)
def test_where_there_are_no_steps_it_is_refused(place, tmp_path, capsys, words, sentence):
    assert main([*words, "--model", "mine.py:brighter_right", "--ask-path"]) == 2
    assert sentence in capsys.readouterr().err
    assert tiny.asked(tmp_path) == []


def test_the_help_says_what_it_costs(capsys):
    for verb in ("counterfactual", "plan"):
        assert main([verb, "--help"]) == 0
        assert "at most one query a step" in re.sub(r"[\s│]+", " ", capsys.readouterr().out)


@pytest.mark.parametrize("search", [{}, {"tries": 2}, {"rounds": 2, "tries": 4}, {"rounds": 3}, {"queries": 30}])
@pytest.mark.parametrize("scores", ["logits", "top_k", "label"])
def test_a_plan_reckons_with_the_longest_path_of_any_image(search, scores):
    settings = make(Settings, for_scores({"search": search, "ask_path": True}, scores))
    longest = max(settings.search.settled(directions, scores).frames for directions in (10, 50))
    without = settings.model_copy(update={"ask_path": False})
    for forecast in (most_queries, lambda *given, **named: sum(calls(*given, **named))):
        grown = forecast(settings, "counterfactual", scores=scores) - forecast(without, "counterfactual", scores=scores)
        assert grown == longest
    assert longest == 24 or search != {"queries": 30}
