"""A start says at its end what it spent. The counts add up, and do not depend on the number of starts."""

from __future__ import annotations

import json
import re
import shutil

import misbehaving_server
import pytest
import tiny
from asking import asking, pictures

from freemcg.blackbox import QueryBudgetExceeded, QueryCache, RemoteError
from freemcg.commands.app import main

ENDPOINT = """\
url: {url}
body: {{images: ["{{image}}"]}}
answer: probabilities
means: probabilities
class_names: [low, middle, high]
batch_size: 4
concurrency: 1
retries: {retries}
"""
LINE = re.compile(
    r"queries of this start: (\d+) sent, (\d+) answered, (\d+) retried, (\d+) unanswered, (\d+) from the cache(.*)"
)


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


def seen(server, name):
    return sum(len(levels) for _, _, levels, _, _ in server.log(name))


@pytest.fixture
def start(server, tmp_path, monkeypatch, pipeline, capsys):
    """Run a job on an endpoint. Return its exit status, the counts in its line, and the rest of the line."""
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png", "b.png"))

    def run(name, script, *arguments, task="attribute", retries=1):
        (tmp_path / "mine.yaml").write_text(ENDPOINT.format(url=server.url(name, script), retries=retries))
        words = ["--model", "mine.yaml", "--denoiser", str(pipeline), "--config", "tiny.yaml", *arguments]
        before = seen(server, name)
        status = main([task, "pics", "--out", "out", *words])
        printed = capsys.readouterr()
        (line,) = LINE.findall(printed.err + printed.out)
        sent, answered, retried, unanswered, known = map(int, line[:5])
        assert sent == answered + retried + unanswered == seen(server, name) - before
        return status, (sent, answered, retried, unanswered, known), line[5]

    return run


KEPT = "; every answer is kept, and the next start goes on from there"


def test_a_good_end_says_what_was_spent(start):
    assert start("good", "ok") == (0, (20, 20, 0, 0, 0), "")


def test_an_error_says_what_was_spent_and_what_is_kept(start, server):
    status, counts, more = start("third", "ok+ok+status=500+status=500")
    assert status == 2
    assert counts == (1 + 4 + 1 + 1, 1 + 4, 1, 1, 0)
    assert more == KEPT
    status, counts, more = start("third", "ok+ok+status=500+status=500", "--no-cache")
    assert more == "; finished results are kept, and the next start goes on from there"


def test_a_refused_answer_says_what_was_spent(start):
    assert start("nan", "ok+nan", "--price-per-1000", "100") == (2, (5, 1, 0, 4, 0), ", price 0.50" + KEPT)


def test_a_budget_that_reaches_for_no_image_spent_nothing_and_says_nothing(start, capsys, tmp_path):
    (tmp_path / "mine.yaml").write_text(ENDPOINT.format(url="http://127.0.0.1:1/", retries=0))
    assert main(["attribute", "pics", "--out", "out", "--model", "mine.yaml", "--budget", "0"]) == 2
    assert "queries of this start" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("model", ["breaks", "is_stopped"])
def test_an_error_of_the_users_code_and_an_interrupt_say_it_too(tmp_path, monkeypatch, capsys, pipeline, model):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png",))
    words = ["--model", f"mine.py:{model}", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    assert main(["attribute", "pics", "--out", "out", *words]) == {"breaks": 3, "is_stopped": 130}[model]
    under_way = {"breaks": "", "is_stopped": "; the unanswered were under way"}[model]
    (said,) = LINE.findall(capsys.readouterr().err)
    assert said == (*"10010", f"{under_way}; finished results are kept, and the next start goes on from there")


def test_a_probe_that_fails_says_what_it_spent(start, server, tmp_path, capsys, pipeline):
    (tmp_path / "mine.yaml").write_text(ENDPOINT.format(url=server.url("probed", "ok+html"), retries=0))
    assert main(["probe", "pics", "--model", "mine.yaml", "--denoiser", str(pipeline)]) == 2
    said = "queries of this start: 2 sent, 1 answered, 0 retried, 1 unanswered, 0 from the cache\n"
    assert said in capsys.readouterr().err


def test_a_comparison_says_it_too(tmp_path, monkeypatch, capsys, pipeline):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png",))
    words = ["--denoiser", str(pipeline), "--config", "tiny.yaml", "--queries", "9", "--steps", "4"]
    assert main(["compare", "pics", "--model", "mine.py:breaks", *words]) == 3
    said = "queries of this start: 1 sent, 0 answered, 0 retried, 1 unanswered, 0 from the cache; finished results are"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_result_made_in_two_starts_has_the_queries_of_one_made_in_one(start, tmp_path, task):
    _, whole, _ = start(f"one-{task}", "ok", task=task)
    records = [json.loads((tmp_path / "out" / name / "record.json").read_text()) for name in ("a", "b")]
    shutil.rmtree(tmp_path / "out")
    status, broken, _ = start(f"two-{task}", "ok+ok+status=403+ok", task=task)
    assert status == 2
    assert broken[3] == {"attribute": 1, "counterfactual": 4}[task]
    status, rest, _ = start(f"two-{task}", "ok+ok+status=403+ok", "--price-per-1000", "1", task=task)
    assert status == 0
    assert rest[4] == broken[1]
    again = [json.loads((tmp_path / "out" / name / "record.json").read_text()) for name in ("a", "b")]
    assert [each["queries"] for each in again] == [each["queries"] for each in records]
    assert sum(each["queries"] for each in again) == whole[1]
    assert main(["replay", "out"]) == 0


def test_what_is_sent_again_costs_a_result_no_query(start, tmp_path):
    status, counts, _ = start("retried", "ok+status=500+ok", task="counterfactual")
    assert status == 0
    records = [json.loads((tmp_path / "out" / name / "record.json").read_text()) for name in ("a", "b")]
    assert sum(each["queries"] for each in records) == counts[1]
    assert sum(each["spent"]["retried"] for each in records) == counts[2] > 0


def test_a_batch_that_is_halved_is_sent_again(server):
    black_box = asking(server.url("halved", "most=1"), concurrency=1)
    black_box(pictures(8))
    assert black_box.spent == {
        "sent": 4 + 2 + 2 + 8 - 2 + 0,
        "answered": 8,
        "retried": 6,
        "unanswered": 0,
        "from the cache": 0,
    }


def test_known_counts_each_answer_once_wherever_it_came_from(server, tmp_path):
    cache = QueryCache(tmp_path / "answers.sqlite")
    first = asking(server.url("known", "ok+status=403"), cache, concurrency=1)
    with pytest.raises(RemoteError):
        first(pictures(8))
    assert (first.known, first.queries) == (4, 8)
    second = asking(server.url("known", "ok+status=403"), cache, concurrency=1, retries=0)
    second.budget = 3
    with pytest.raises(QueryBudgetExceeded) as caught:
        second(pictures(8))
    assert second.known == len(caught.value.answered) == 4
