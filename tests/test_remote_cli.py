from __future__ import annotations

import json
import re
import shutil

import inference_server
import misbehaving_server
import pytest
import tiny
import torch

from freemcg import Attribution, BlackBox, FreeMCG, load_bundle
from freemcg.blackbox import SCORE_KINDS, EndpointDescription, endpoint_black_box
from freemcg.cli import main
from freemcg.jobs import most_queries
from freemcg.plan import Forecast, calls, forecast
from freemcg.settings import Settings, make

ENDPOINT = """\
url: {url}
headers: {{X-Key: "${{FREEMCG_KEY}}"}}
body: {{images: ["{{image}}"]}}
answer: probabilities
means: probabilities
class_names: [low, middle, high]
batch_size: 4
"""
SECRET = "sk-very-secret"
EACH = 9  # queries of an attribution with tiny.CONFIG


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return tiny.make_pipeline(tmp_path_factory.mktemp("models") / "pipeline")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FREEMCG_KEY", SECRET)
    return tiny.make_place(tmp_path, ("a.png", "b.png"))


@pytest.fixture
def explain(place, pipeline):
    def run(*arguments, model, task="attribute", out="out"):
        fixed = ["--out", out, "--model", model, "--denoiser", str(pipeline), "--config", "tiny.yaml"]
        return main([task, "pics", *fixed, *arguments])

    return run


def describe(place, server, name, script):
    (place / "mine.yaml").write_text(ENDPOINT.format(url=server.url(name, script)))
    return "mine.yaml"


def sent(server, name):
    return sum(len(levels) for _, _, levels, _, _ in server.log(name))


def said(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("freemcg: ")]


def records(place, out="out"):
    return [json.loads((place / out / name / "record.json").read_text()) for name in ("a", "b")]


def test_an_endpoint_is_explained_and_a_second_start_pays_nothing(server, place, explain, capsys):
    model = describe(place, server, "cli", "ok+status=500+ok")
    assert explain("--price-per-1000", "50", model=model) == 0
    paid = sent(server, "cli")
    printed = capsys.readouterr()
    assert f"at most {EACH} queries each, price 0.90" in printed.err
    retried = paid - 2 * EACH
    assert 1 <= retried <= 4
    said = f"queries of this start: {paid} sent, 18 answered, {retried} retried, 0 from the cache, price "
    assert f"{said}{paid * 0.05:.2f}\n" in printed.out
    first, second = records(place)
    assert first["spent"] == {"sent": 9 + retried, "answered": 9, "retried": retried, "from the cache": 0}
    assert second["spent"] == {"sent": 9, "answered": 9, "retried": 0, "from the cache": 0}
    assert first["record"]["black_box"].startswith(server.url("cli", "ok+status=500+ok") + ":")
    before = Attribution.load(place / "out" / "a" / "result.safetensors")
    shutil.rmtree(place / "out" / "a")
    assert explain(model=model) == 0
    assert sent(server, "cli") == paid
    assert "queries of this start: 0 sent, 0 answered, 0 retried, 9 from the cache\n" in capsys.readouterr().out
    after = Attribution.load(place / "out" / "a" / "result.safetensors")
    assert before.values.equal(after.values)
    assert before.log_probabilities.equal(after.log_probabilities)


def test_the_key_is_sent_and_kept_in_no_file(server, place, explain, capfd):
    assert explain(model=describe(place, server, "key", "ok")) == 0
    assert {entry[4]["X-Key"] for entry in server.log("key")} == {SECRET}
    written = [path for path in (place / "out").rglob("*") if path.is_file()]
    assert len(written) >= 9
    assert not [path for path in written if SECRET.encode() in path.read_bytes()]
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err


def test_a_counterfactual_of_an_endpoint(server, place, explain):
    model = describe(place, server, "flip", "ok")
    assert explain("--target", "middle", "--no-cache", model=model, task="counterfactual") == 0
    assert [each["target"] for each in records(place)] == ["middle", "middle"]
    assert sent(server, "flip") == sum(each["spent"]["sent"] for each in records(place))
    assert not (place / "out" / "answers.sqlite").exists()


def test_the_budget_ends_the_job_and_keeps_what_was_learnt(server, place, explain, capsys):
    model = describe(place, server, "poor", "ok")
    assert explain("--budget", "9", model=model) == 2
    assert said(capsys) == ["freemcg: 1 more queries would pass the budget of 9; 0 are left"]
    assert sent(server, "poor") == 9
    assert explain("--budget", "5", model=model) == 0
    assert [each["status"] for each in records(place)] == ["complete", "budget_exhausted"]
    assert sent(server, "poor") <= 14


def test_a_served_model_is_explained(place, explain, capsys):
    with inference_server.running() as address:
        model = f"{address}/json/v2/models/UINT8_NHW_-1,8,8_scores"
        assert explain(model=model) == 2
        assert said(capsys) == [f"freemcg: say what {model} answers: --scores is one of {', '.join(SCORE_KINDS)}"]
        assert explain("--scores", "logits", model=model) == 0
    assert [each["spent"]["answered"] for each in records(place)] == [9, 9]


def test_probe_shows_what_is_sent_and_understood(server, place, capsys):
    model = describe(place, server, "probe", "ok")
    assert main(["probe", "pics", "--model", model]) == 0
    printed = capsys.readouterr().out
    assert sent(server, "probe") == 3
    assert "sent: 8x8 pixels, RGB, 8 bits\nunderstood: probabilities of 3 classes\n" in printed
    levels = [levels[0] for _, _, levels, _, _ in server.log("probe")]
    assert levels[0] == levels[1] != levels[2]
    row = dict(zip(misbehaving_server.NAMES, misbehaving_server.probabilities(levels[0]), strict=True))
    best = ", ".join(f"{name} {row[name]:.4f}" for name in sorted(row, key=row.__getitem__, reverse=True))
    assert f"image: {best}\nagain: {best}\n" in printed
    assert "the answer repeats: the largest difference of a probability is 0\n" in printed
    assert "SAME" not in printed


def test_probe_notices_a_model_that_does_not_repeat_or_does_not_look(place, capsys):
    (place / "odd.py").write_text(
        "import itertools, torch\ncount = itertools.count()\n"
        "def changing(images):\n    return torch.tensor([[0.0, next(count) / 10]])\n"
        "def blind(images):\n    return torch.tensor([[0.25, 0.75]])\n"
    )
    assert main(["probe", "pics", "--model", "odd.py:changing"]) == 0
    assert re.search(r"does NOT repeat: the largest difference of a probability is 0.025\n", capsys.readouterr().out)
    assert main(["probe", "pics/a.png", "--model", "odd.py:blind", "--scores", "probabilities"]) == 0
    assert "the other image got exactly the SAME answer: does the image arrive?\n" in capsys.readouterr().out


@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
@pytest.mark.parametrize("values", [{}, {"noise": [0.1, 0.3], "queries": 9}, {"search": {"steps": 8, "budget": 20}}])
def test_calls_are_what_the_black_box_is_asked(task, values):
    """In the order and size in which an explainer asks, with a classifier that never reaches the target."""
    settings = make(Settings, values)
    bundle = load_bundle("digits")
    asked = []

    def predict(images):
        asked.append(len(images))
        level = images.flatten(1).mean(dim=1)
        return torch.stack([level, -level, torch.full_like(level, -20)], dim=1)

    explainer = FreeMCG(BlackBox(predict, batch_size=1000), bundle.denoiser, **values)
    image = bundle.images[0]
    explainer.explain(image) if task == "attribution" else explainer.counterfactual(image, target=2)
    assert asked == calls(settings, task)
    assert sum(asked) <= most_queries(settings, task)


@pytest.mark.parametrize(
    ("fields", "latency", "requests", "seconds"),
    [
        ({"batch_size": 8, "concurrency": 2}, 0.5, 1 + 2, 2 * 0.5),
        ({"batch_size": 8, "concurrency": 1}, 0.5, 1 + 2, 3 * 0.5),
        ({"batch_size": 1, "concurrency": 4}, 0.5, 1 + 12, 4 * 0.5),
        ({"batch_size": 1, "concurrency": 4, "requests_per_second": 2}, 0.5, 13, 6.5),
        ({"batch_size": 1, "concurrency": 4, "requests_per_second": 2}, None, 13, 6.5),
        ({"batch_size": 1}, None, 13, None),
    ],
)
def test_a_forecast_follows_the_transport(fields, latency, requests, seconds):
    described = {"url": "http://x/", "body": ["{image}"], "means": "probabilities"}
    black_box = endpoint_black_box(EndpointDescription(**described, **fields))
    settings = make(Settings, {"queries": 12, "estimate": "regression"})
    found = forecast(black_box, settings, "attribution", 10, latency=latency, price_per_1000=4.0)
    assert found == Forecast(10, 130, 10 * requests, None if seconds is None else 10 * seconds, 0.52)


def test_a_plan_costs_nothing_and_leaves_out_what_is_done(server, place, explain, capsys):
    model = describe(place, server, "plan", "ok")
    words = ["plan", "pics", "--model", model, "--config", "tiny.yaml", "--latency", "2", "--price-per-1000", "100"]
    assert main(words) == 0
    assert capsys.readouterr().out == (
        "images: 2\nqueries: at most 18, in 8 requests\n"
        "seconds: at most 12 of the classifier, beside those of the diffusion model\n"
        "price: at most 1.80, and more where something has to be sent again\n"
    )
    assert server.log("plan") == []
    assert explain(model=model) == 0
    shutil.rmtree(place / "out" / "b")
    capsys.readouterr()
    assert main([*words, "--out", "out"]) == 0
    assert capsys.readouterr().out.startswith("images: 1\nqueries: at most 9, in 4 requests\n")
    assert main([*words, "--task", "both"]) == 2
    assert said(capsys) == ["freemcg: task must be attribution or counterfactual, got 'both'"]


def test_a_cache_is_listed_and_cleared(server, place, explain, capsys):
    model = describe(place, server, "listed", "ok")
    explain("--cache", "mine.sqlite", model=model)
    capsys.readouterr()
    assert main(["cache", "mine.sqlite"]) == 0
    listed = capsys.readouterr().out
    assert re.fullmatch(r"18 answers \(probabilities\) of http://127\.0\.0\.1:\d+/listed/ok:[0-9a-f]{16}\n", listed)
    assert main(["cache", "mine.sqlite", "--clear"]) == 0
    assert capsys.readouterr().out == "forgot 18 answers\n"
    assert main(["cache", "none.sqlite"]) == 2
    assert said(capsys) == ["freemcg: there is no file none.sqlite"]


def test_options_that_an_endpoint_answers_itself_are_refused(server, place, explain, capsys):
    assert explain("--scores", "logits", model=describe(place, server, "said", "ok")) == 2
    assert said(capsys) == ["freemcg: mine.yaml says itself what it takes and answers; leave out --scores"]
