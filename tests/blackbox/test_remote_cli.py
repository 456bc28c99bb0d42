from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

import inference_server
import misbehaving_server
import pytest
import tiny
import torch
from PIL import Image

from freemcg import Attribution, BlackBox, FreeMCG, load_bundle
from freemcg.blackbox import SCORE_KINDS, EndpointDescription, endpoint_black_box
from freemcg.commands.app import main
from freemcg.jobs.plan import Forecast, budget_in_queries, calls, forecast, most_queries, with_few_directions
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
SECRET = 'sk-very"secret<1>'
EACH = 9  # queries of an attribution with tiny.CONFIG, without the 1 to 4 repeats at its end


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


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


def test_an_endpoint_is_explained_and_a_second_start_pays_one_query(server, place, explain, capsys):
    model = describe(place, server, "cli", "ok+status=500+ok")
    assert explain("--price-per-1000", "50", model=model) == 0
    paid = sent(server, "cli")
    printed = capsys.readouterr()
    assert f"at most {EACH + 4} queries each, price 1.30" in printed.err
    assert f"queries={paid}, price {paid * 0.05:.2f}]" in printed.err
    retried = paid - 2 * (EACH + 1)
    assert 1 <= retried <= 4
    said = f"queries of this start: {paid} sent, 20 answered, {retried} retried, 0 unanswered, 0 from the cache, price "
    assert f"{said}{paid * 0.05:.2f}\n" in printed.out
    first, second = records(place)
    none = {"unanswered": 0, "from the cache": 0}
    assert first["spent"] == {"sent": 10 + retried, "answered": 10, "retried": retried, **none}
    assert second["spent"] == {"sent": 10, "answered": 10, "retried": 0, **none}
    assert first["record"]["black_box"].startswith(server.url("cli", "ok+status=500+ok") + ":")
    before = Attribution.load(place / "out" / "a" / "result.safetensors")
    shutil.rmtree(place / "out" / "a")
    assert explain(model=model) == 0
    assert sent(server, "cli") == paid + 1
    printed = capsys.readouterr()
    assert "asked b.png again, which was done before: the model answers as it did; queries: 1\n" in printed.err
    assert "queries of this start: 1 sent, 1 answered, 0 retried, 0 unanswered, 9 from the cache\n" in printed.out
    after = Attribution.load(place / "out" / "a" / "result.safetensors")
    assert before.values.equal(after.values)
    assert before.log_probabilities.equal(after.log_probabilities)


def test_the_key_is_sent_and_neither_written_nor_printed_nor_logged(server, place, explain, capfd, caplog):
    """The key is in the address too, which quotes it. Every log is turned on, and some requests are refused."""
    caplog.set_level("DEBUG")
    for name, script in (("key", "ok+status=500+ok"), ("key-refused", "ok+echo"), ("key-html", "html")):
        described = ENDPOINT.format(url=server.url(name, script) + "?key=${FREEMCG_KEY}&other")
        (place / "mine.yaml").write_text(described)
        status = 0 if name == "key" else 2
        assert explain("--price-per-1000", "50", model="mine.yaml", out=f"out-{name}") == status
        assert {entry[4]["X-Key"] for entry in server.log(name)} == {SECRET}
        for command in ("plan", "probe"):
            main([command, "pics", "--model", "mine.yaml"])
    assert main(["cache", "out-key/answers.sqlite"]) == 0
    assert main(["replay", "out-key"]) == 0
    written = [path for path in place.rglob("*") if path.is_file()]
    assert {"answers.sqlite", "receipt.safetensors", "record.json", "result.safetensors", "settings.json"} <= {
        path.name for path in written
    }
    printed = capfd.readouterr()
    texts = [printed.out, printed.err, caplog.text, *(path.read_bytes().decode("latin-1") for path in written)]
    assert "HTTP Request: POST" in caplog.text
    assert not [text for text in texts if SECRET in text or quote(SECRET, safe="") in text]


def test_a_job_that_is_killed_goes_on_and_answers_as_one_that_was_not(server, place, explain, pipeline):
    """SIGKILL ends it within the second image. Only requests of 4 under way and the repeat at the end are lost."""
    model = describe(place, server, "killed-job", "wait=0.2")
    options = ["--out", "out", "--model", model, "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "freemcg", "attribute", "pics", *options]
    process = subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.DEVNULL)
    while len(server.log("killed-job")) < 7:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.3)  # until no request is under way
    assert (place / "out" / "a" / "result.safetensors").is_file()
    assert not (place / "out" / "b" / "result.safetensors").is_file()
    assert explain(model=model) == 0
    assert sent(server, "killed-job") <= 2 * (EACH + 1) + 2 * 4 + 1
    assert explain(model=describe(place, server, "undisturbed", "ok"), out="whole") == 0
    for name in ("a", "b"):
        one, other = (Attribution.load(place / out / name / "result.safetensors") for out in ("out", "whole"))
        assert torch.equal(one.values, other.values)
        assert torch.equal(one.standard_error, other.standard_error)


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_server_whose_classes_come_in_another_order_each_time_is_told_with_the_size(
    server, place, explain, capsys, task
):
    model = describe(place, server, f"permuted-{task}", "permuted")
    assert explain(model=model, task=task) == 0
    same = [each["record"] for each in records(place) if each["status"] != "model_changed"]
    found = [each["disagreement"] for each in same if "disagreement" in each]
    assert found  # one repeat may have the order of the first answer
    assert min(found) > 0.1
    said = (
        f"disagreement: {len(found)} of 2; the model's answers to one image differ by up to {max(found):.2g} in a "
        "probability. Error bars include such noise; if its classes come in another order each time, let it name them "
        "(means: labels)\n"
    )
    assert said in capsys.readouterr().err
    assert main(["replay", "out"]) == 0


ENDS = {
    "once": ([signal.SIGINT], 130, "interrupted"),
    "twice": ([signal.SIGINT, signal.SIGINT], 130, "interrupted"),
    "terminated": ([signal.SIGTERM], 143, "ended by SIGTERM"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_job_whose_server_hangs_ends_at_once_and_says_what_was_under_way(server, place, explain, pipeline, how):
    signals, status, said_to_end = ENDS[how]
    name = f"hung-{how}"
    model = describe(place, server, name, "ok+ok+wait=60+ok")
    options = ["--out", "out", "--model", model, "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    process = subprocess.Popen(
        [sys.executable, "-m", "freemcg", "attribute", "pics", *options],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(server.log(name)) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.3)  # until the second request is answered
    began = time.monotonic()
    for each in signals:
        process.send_signal(each)
    printed = process.communicate(timeout=50)[1].splitlines()
    assert time.monotonic() - began < 20
    assert process.returncode == status
    lost = sum(len(levels) for _, _, levels, step, _ in server.log(name) if step == "wait=60")
    if how != "twice":
        answered = sent(server, name) - lost
        assert printed[-2].endswith(
            f"queries of this start: {answered + lost} sent, {answered} answered, 0 retried, {lost} unanswered, 0 from "
            "the cache; the unanswered were under way; every answer is kept, and the next start goes on from there"
        )
    assert printed[-1] == f"freemcg: {said_to_end}; finished results are kept, and the same command goes on from them"
    assert "Traceback" not in "".join(printed)
    assert explain(model=model) == 0
    assert sent(server, name) == 2 * (EACH + 1) + lost


def test_a_counterfactual_of_an_endpoint(server, place, explain):
    model = describe(place, server, "flip", "ok")
    assert explain("--target", "middle", "--no-cache", model=model, task="counterfactual") == 0
    assert [each["target"] for each in records(place)] == ["middle", "middle"]
    assert sent(server, "flip") == sum(each["spent"]["sent"] for each in records(place))
    assert not (place / "out" / "answers.sqlite").exists()


def test_the_budget_ends_the_job_and_keeps_what_was_learnt(server, place, explain, capsys):
    model = describe(place, server, "poor", "ok")
    assert explain("--budget", "0", model=model) == 2
    assert said(capsys) == ["freemcg: 1 more queries would pass the budget of 0; 0 are left"]
    assert explain("--budget", "9", model=model) == 1
    printed = capsys.readouterr()
    assert "the budget ended: 1 of 2 images are explained; a second start goes on from them\n" in printed.err
    assert printed.out.splitlines()[1].startswith("a.png")
    assert sent(server, "poor") == 9
    assert explain("--budget", "0.30eur", "--price-per-1000", "50.01", model=model) == 1
    assert [each["status"] for each in records(place)] == ["complete", "budget_exhausted"]
    assert sent(server, "poor") == 9 + 5
    assert "1 of 2 images are explained, 1 in part; a second start" in capsys.readouterr().err
    assert explain(model=model) == 0
    assert [each["status"] for each in records(place)] == ["complete", "complete"]
    assert [each["queries"] for each in records(place)] == [9, 10]  # the budget held no repeat for the first
    assert sent(server, "poor") == 9 + 10 + 2  # the cache holds the answers of the part; two starts found a.png done


@pytest.mark.parametrize(
    ("budget", "price", "queries"),
    [
        ("500", None, 500),
        ("0", 2.0, 0),
        ("2.50usd", 1.5, 1666),
        ("0.3EUR", 0.1, 3000),
        ("3 usd", 1.0, 3000),
        ("9" * 18 + "usd", 1e-6, (10**18 - 1) * 10**9),
    ],
)
def test_a_budget_is_queries_or_money(budget, price, queries):
    """In floating point, 0.3 / 0.1 * 1000 is 2999.99..."""
    assert budget_in_queries(budget, price) == queries


@pytest.mark.parametrize(
    ("budget", "price", "sentence"),
    [
        ("2.5", 1.0, "budget is a number of queries (500) or an amount of money (2.50usd), got '2.5'"),
        ("-1", 1.0, "budget is a number of queries (500) or an amount of money (2.50usd), got '-1'"),
        ("$2.50", 1.0, "budget is a number of queries (500) or an amount of money (2.50usd), got '$2.50'"),
        ("2usd", None, "a budget of money needs the price: --price-per-1000 above 0, with --budget 2usd"),
        ("2usd", 0.0, "a budget of money needs the price: --price-per-1000 above 0, with --budget 2usd"),
    ],
)
def test_a_budget_that_is_neither_is_refused(budget, price, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        budget_in_queries(budget, price)


def test_a_budget_that_ends_within_retries_is_never_passed_and_leaves_a_result(server, place, explain):
    """Every other request fails, and the tenth query is the last that may be sent."""
    model = describe(place, server, "retries", "ok+ok+status=500+ok+status=500")
    assert explain("--budget", "13", model=model) == 1
    assert sent(server, "retries") <= 13
    record = json.loads((place / "out" / "a" / "record.json").read_text())
    assert record["status"] == "budget_exhausted"
    assert record["spent"]["sent"] == sent(server, "retries")
    assert record["queries"] >= 5
    assert main(["replay", "out"]) == 0


def test_a_served_model_is_explained(place, explain, capsys):
    with inference_server.running() as address:
        model = f"{address}/json/v2/models/UINT8_NHW_-1,8,8_scores"
        assert explain(model=model) == 2
        assert said(capsys) == [f"freemcg: say what {model} answers: --scores is one of {', '.join(SCORE_KINDS)}"]
        assert explain("--scores", "logits", model=model) == 0
    assert [each["spent"]["answered"] for each in records(place)] == [10, 10]


def test_probe_shows_what_is_sent_and_understood(server, place, pipeline, capsys):
    model = describe(place, server, "probe", "ok")
    assert main(["probe", "pics", "--model", model, "--denoiser", str(pipeline)]) == 0
    printed = capsys.readouterr().out
    assert sent(server, "probe") == 3
    assert "sent: 8x8 pixels, grey, 8 bits\nunderstood: probabilities of 3 classes\n" in printed
    levels = [levels[0] for _, _, levels, _, _ in server.log("probe")]
    assert levels[0] == levels[1] != levels[2]
    row = dict(zip(misbehaving_server.NAMES, misbehaving_server.probabilities(levels[0]), strict=True))
    best = ", ".join(f"{name} {row[name]:.4f}" for name in sorted(row, key=row.__getitem__, reverse=True))
    assert f"image: {best}\nagain: {best}\n" in printed
    assert "the answer repeats: the largest difference of a probability is 0\n" in printed
    assert "SAME" not in printed
    assert printed.splitlines()[-1].startswith("threads in use: ")


@pytest.mark.parametrize("model", ["odd.py:listen", "odd.py:Grey"])
def test_probe_asks_the_very_question_that_a_job_begins_with(place, pipeline, capsys, model):
    """The pictures have another size and colours. The model takes only grey ones of the denoiser's size."""
    for index, name in enumerate(("a.png", "b.png")):
        colours = torch.Generator().manual_seed(index)
        levels = torch.randint(256, (11, 13, 3), generator=colours, dtype=torch.uint8)
        Image.fromarray(levels.numpy()).save(place / "pics" / name)
    (place / "odd.py").write_text(
        "import torch\n\n"
        "def listen(images):\n"
        "    with open('heard.txt', 'a') as file:\n"
        "        print(images[0].tolist(), images.device, file=file)\n"
        "    light = images.reshape(-1, 64).mean(dim=1)\n"
        "    return torch.stack([light, -light], dim=1)\n\n"
        "class Net(torch.nn.Module):\n"
        "    def forward(self, images):\n"
        "        assert images.shape[1:] == (1, 8, 8)\n"
        "        return listen(images)\n\n"
        "Grey = Net().eval()\n"
    )
    options = ["--model", model, "--denoiser", str(pipeline)]
    assert main(["probe", "pics", *options]) == 0
    assert "sent: 8x8 pixels, grey, float32\n" in capsys.readouterr().out
    heard = (place / "heard.txt").read_text().splitlines()
    assert len(heard) == 3
    (place / "heard.txt").unlink()
    assert main(["attribute", "pics", "--out", "out", "--config", "tiny.yaml", *options]) == 0
    assert heard[0] == heard[1] == (place / "heard.txt").read_text().splitlines()[0]


def test_probe_refuses_what_a_job_refuses(place, capsys):
    assert main(["probe", "pics", "--model", "mine.py:brighter_right", "--device", "gpu"]) == 2
    assert said(capsys) == ["freemcg: there is no device 'gpu'; name cpu, cuda or cuda:N"]
    assert main(["probe", "pics", "--model", "mine.py:brighter_right", "--denoiser", "./nowhere"]) == 2
    assert said(capsys) == [
        "freemcg: there is no folder ./nowhere; name another, or a bundled denoiser: digits, chest-xrays, cifar10"
    ]
    assert tiny.asked(place) == []


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
@pytest.mark.parametrize("values", [{}, {"noise": [0.1, 0.3], "queries": 10}, {"search": {"steps": 8, "queries": 20}}])
@pytest.mark.parametrize("may_change", [False, True])
def test_calls_are_what_the_black_box_is_asked(task, values, may_change):
    """They have the order and sizes of an explainer's calls. The classifier never reaches the target, nor repeats."""
    settings = make(Settings, values)
    bundle = load_bundle("digits")
    asked = []

    def predict(images):
        asked.append(len(images))
        level = images.flatten(1).mean(dim=1) + 0.01 * torch.randn(len(images))
        return torch.stack([level, -level, torch.full_like(level, -20)], dim=1)

    explainer = FreeMCG(BlackBox(predict, batch_size=1000, may_change=may_change), bundle.denoiser, **values)
    image = bundle.images[0]
    explainer.explain(image) if task == "attribution" else explainer.counterfactual(image, target=2)
    few = with_few_directions(settings, "logits")  # as digits have
    assert asked == calls(few, task, may_change=may_change)
    assert (
        sum(asked)
        <= most_queries(few, task, may_change=may_change)
        <= most_queries(settings, task, may_change=may_change)
    )


@pytest.mark.parametrize(
    ("fields", "latency", "requests", "seconds"),
    [
        ({"batch_size": 8, "concurrency": 2}, 0.5, 1 + 2 + 2, 4 * 0.5),
        ({"batch_size": 8, "concurrency": 1}, 0.5, 1 + 2 + 2, 5 * 0.5),
        ({"batch_size": 1, "concurrency": 4}, 0.5, 1 + 12 + 4, 6 * 0.5),
        ({"batch_size": 1, "concurrency": 4, "requests_per_second": 2}, 0.5, 17, 8.5),
        ({"batch_size": 1, "concurrency": 4, "requests_per_second": 2}, None, 17, 8.5),
        ({"batch_size": 1}, None, 17, None),
    ],
)
def test_a_forecast_follows_the_transport(fields, latency, requests, seconds):
    described = {"url": "http://x/", "body": ["{image}"], "means": "probabilities"}
    black_box = endpoint_black_box(EndpointDescription(**described, **fields))
    settings = make(Settings, {"queries": 13, "estimate": "regression"})
    found = forecast(black_box, settings, "attribution", 10, latency=latency, price_per_1000=4.0)
    assert found == Forecast(10, 170, 10 * requests, None if seconds is None else 10 * seconds, 0.68)


@pytest.mark.parametrize("values", [{}, {"estimate": "cross_covariance"}, {"noise": [0.2, 0.4], "queries": 68}])
def test_calls_are_counted_batch_by_batch_where_a_tolerance_ends_them(values):
    bundle, asked = load_bundle("digits"), []

    def predict(images):
        asked.append(len(images))
        return 0.01 * torch.randn(len(images), 2)

    values = {"tolerance": 1e-6, "queries": 51, "particles": 48, **values}
    FreeMCG(BlackBox(predict, batch_size=1000), bundle.denoiser, **values).explain(bundle.images[0])
    assert asked == calls(make(Settings, values), "attribution")


def test_a_plan_takes_the_tolerance_of_an_attribution(place, capsys):
    words = ["plan", "pics", "--model", "mine.py:brighter_right", "--config", "tiny.yaml", "--queries", "65"]
    assert main([*words, "--tolerance", "0.2"]) == 0
    assert capsys.readouterr().out == "images: 2\nqueries: at most 130, in 14 requests\n"
    assert main([*words, "--tolerance", "0.2", "--task", "counterfactual"]) == 2
    said = "freemcg: --tolerance 0.2 is for attributions; leave it out, or say --task attribution\n"
    assert capsys.readouterr().err == said
    assert main([*words, "--tolerance", "-1"]) == 2
    assert capsys.readouterr().err == "freemcg: tolerance must be > 0, got -1.0\n"


@pytest.mark.parametrize("latency", ["inf", "nan", "1e300", "-1"])
def test_a_plan_refuses_a_latency_that_no_clock_counts(place, capsys, latency):
    words = ["plan", "pics", "--model", "mine.py:brighter_right", "--config", "tiny.yaml", "--latency", latency]
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"freemcg: --latency must be in 0..86400, got {float(latency):g}\n")


def test_a_plan_costs_nothing_and_leaves_out_what_is_done(server, place, explain, capsys):
    model = describe(place, server, "plan", "ok")
    words = ["plan", "pics", "--model", model, "--config", "tiny.yaml", "--latency", "2", "--price-per-1000", "100"]
    assert main(words) == 0
    assert capsys.readouterr().out == (
        "images: 2\nqueries: at most 26, in 12 requests\n"
        "seconds: at most 20 of the classifier, beside those of the diffusion model\n"
        "price: at most 2.60, and more where something has to be sent again\n"
    )
    assert server.log("plan") == []
    assert explain(model=model) == 0
    shutil.rmtree(place / "out" / "b")
    capsys.readouterr()
    assert main([*words, "--out", "out"]) == 0
    assert capsys.readouterr().out.startswith("images: 1\nqueries: at most 17, in 8 requests\n")
    assert main([*words, "--task", "both"]) == 2
    assert said(capsys) == ["freemcg: task must be attribution, counterfactual or comparison, got 'both'"]


@pytest.mark.parametrize(
    ("words", "queries", "if_few"),
    [
        (["--scores", "label", "--num-classes", "3"], 2 * 200, None),
        (["--scores", "top_k", "--num-classes", "3"], 2 * 800, 2 * 100),
        ([], 2 * 800, 2 * 50),
        (["--queries", "26"], 2 * 26, None),
        (["--scores", "label", "--num-classes", "3", "--queries", "90"], 2 * 90, None),
    ],
)
def test_a_plan_of_counterfactuals_is_for_what_the_model_answers(place, capsys, words, queries, if_few):
    (place / "odd.py").write_text("def asked(images):\n    raise RuntimeError('a plan asks nothing')\n")
    assert main(["plan", "pics", "--model", "odd.py:asked", "--task", "counterfactual", *words]) == 0
    planned = capsys.readouterr().out
    assert f"queries: at most {queries}, in " in planned
    assert f"queries: at most {if_few}, if the pictures have few directions" in planned or if_few is None
    assert planned.count("queries: at most") == (1 if if_few is None else 2)


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
