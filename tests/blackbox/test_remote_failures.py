"""Failures of a model behind an address. Each ends in recovery or in one sentence, and no answer is lost.

The tests use a real server that misbehaves. `test_remote_transport.py` tests how often, how long and with whom a
request is tried again. `test_endpoint.py` tests what an answer may look like.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import asking
import misbehaving_server
import pytest
import torch
from asking import pictures
from misbehaving_server import NAMES

from freemcg import QueryBudgetExceeded
from freemcg.blackbox import QueryCache, RemoteError


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


def expected(count):
    return torch.tensor([misbehaving_server.probabilities(level) for level in range(count)]).clamp(min=1e-7)


def spent(black_box):
    counts = black_box.spent
    assert counts["sent"] == counts["answered"] + counts["retried"] + counts["unanswered"]
    return black_box.queries, black_box.answered, black_box.retried


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


RECOVERED = {
    "slow": "wait=0.3",
    "out of order": "jumble=0.2",
    "500 in bursts": "ok+ok+status=500+status=502+status=503+status=500+ok+status=500+ok",
    "429": "status=429+ok+status=429+ok",
    "429 with Retry-After": "ok+later=1+ok",
    "reset in the body": "reset+ok+reset+ok",
    "dropped": "drop+drop+ok",
    "no more than two at a time": "most=2",
    "a gateway's patience ends at one": "within=1",
    "everything": "later=1+status=500+reset+ok+drop+status=429+jumble=0.1",
}


@pytest.mark.parametrize("trouble", RECOVERED)
def test_recovered(server, trouble):
    """All answers arrive, each for its own image. The count of images sent is that of the server."""
    name = re.sub("[^a-z0-9]", "-", trouble)
    black_box = asking.asking(server.url(name, RECOVERED[trouble]), concurrency=4)
    torch.testing.assert_close(black_box(pictures(24)).exp(), expected(24))
    sent = sum(len(levels) for _, _, levels, _, _ in server.log(name))
    assert black_box.queries == sent
    assert black_box.answered == 24
    assert black_box.queries == 24 + black_box.retried


def test_a_server_that_hangs_is_asked_again(server):
    black_box = asking.asking(server.url("hang", "wait=30+ok"), timeout=1)
    torch.testing.assert_close(black_box(pictures(8)).exp(), expected(8))
    assert spent(black_box) == (12, 8, 4)


def test_labels_in_another_order_from_call_to_call(server):
    url = server.url("labels", "shuffled")
    black_box = asking.asking(url, answer="@", means="labels", class_names=NAMES)
    torch.testing.assert_close(black_box(pictures(24)).exp(), expected(24))


REFUSED = {
    "truncated": ("truncated", "{}: the answer is not JSON: '"),
    "html": ("html", "{}: the answer is not JSON: '<html><body>Please log in</body></html>'"),
    "rows": ("rows", "{}: the answer holds 5 rows for 4 images: '"),
    "nan": ("nan", "{}: the answer holds NaN for image 0 of 4: '"),
    "huge": ("huge=40000000", "{} answered more than 33554432 bytes"),
    "elsewhere": ("redirect", "{} redirects to http://127.0.0.1:1, but no redirect is followed; if you trust it, name"),
    "forbidden": ("status=403", "{} answered 403"),
    "traceback": (
        "traceback=400",
        '{} answered 400: \'Traceback (most recent call last): File "served.py", line 0, in call File "serve ... '
        ' line 38, in call File "served.py", line 39, in call RuntimeError: out of memory\'',
    ),
    "down": ("status=500", "{} answered 500; it was tried 3 times"),
}


@pytest.mark.parametrize("trouble", REFUSED)
def test_refused_in_one_sentence(server, trouble):
    script, sentence = REFUSED[trouble]
    url = server.url("refused-" + trouble, script) + ("?http://127.0.0.1:1/x" if trouble == "elsewhere" else "")
    black_box = asking.asking(url, concurrency=1, retries=2)
    with pytest.raises((ValueError, RemoteError)) as caught:
        black_box(pictures(8))
    assert str(caught.value).startswith(sentence.format(url))
    assert "\n" not in str(caught.value)
    tries = 3 if trouble == "down" else 1
    assert spent(black_box) == (4 * tries, 0, 4 * tries - 4)


def test_a_changed_number_of_classes_is_refused(server):
    black_box = asking.asking(server.url("classes", "ok+classes"), concurrency=1)
    with raises(ValueError, "the black box answered 4 classes; it has 3"):
        black_box(pictures(8))
    assert spent(black_box) == (8, 4, 0)


def test_what_was_answered_before_a_failure_is_kept(server, tmp_path):
    """The third request is refused for good. A second start asks from there on."""
    cache = QueryCache(tmp_path / "answers.sqlite")
    url = server.url("third", "ok+ok+status=400+ok")
    black_box = asking.asking(url, cache, concurrency=1)
    with raises(RemoteError, f"{url} answered 400"):
        black_box(pictures(20))
    assert spent(black_box) == (12, 8, 0)
    black_box = asking.asking(url, cache, concurrency=1)
    torch.testing.assert_close(black_box(pictures(20)).exp(), expected(20))
    assert spent(black_box) == (12, 12, 0)
    assert black_box.cached == 8


def test_a_budget_that_ends_in_a_retry_is_kept_and_its_answers_too(server, tmp_path):
    cache = QueryCache(tmp_path / "answers.sqlite")
    url = server.url("poor", "ok+status=500+ok")
    black_box = asking.asking(url, cache, concurrency=1)
    black_box.budget = 14
    with raises(QueryBudgetExceeded, "4 more queries would pass the budget of 14; 2 are left") as caught:
        black_box(pictures(12))
    answered = caught.value.answered
    torch.testing.assert_close(torch.stack([answered[index] for index in range(8)]).exp(), expected(8))
    assert len(answered) == 8
    assert spent(black_box) == (12, 8, 4)
    assert cache.models()[0].answers == 8


def test_an_interrupt_does_not_wait_for_a_server_that_hangs_and_the_black_box_can_be_asked_again(server, tmp_path):
    """The first answers are kept. The connections that hang are closed, so that they take no room from the next."""
    cache = QueryCache(tmp_path / "answers.sqlite")
    url = server.url("interrupted", "ok+ok+wait=60+wait=60+ok")
    black_box = asking.asking(url, cache, concurrency=2)
    timer = threading.Timer(1, signal.pthread_kill, [threading.main_thread().ident, signal.SIGINT])
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        black_box(pictures(40))
    assert time.monotonic() - began < 10
    assert black_box.spent == {"sent": 16, "answered": 8, "retried": 0, "unanswered": 8, "from the cache": 0}
    assert cache.models()[0].answers == 8
    torch.testing.assert_close(black_box(pictures(40)).exp(), expected(40))
    assert spent(black_box) == (16 + 32, 40, 0)
    assert black_box.cached == 8


@pytest.mark.parametrize("concurrency", [1, 4, 8])
def test_killed_in_the_middle_and_started_again(server, tmp_path, concurrency):
    """SIGKILL ends it. No answer is asked for again, except those of the requests of 4 that were under way."""
    name = f"killed-{concurrency}"
    path, url, under_way = tmp_path / "answers.sqlite", server.url(name, "wait=0.05"), 4 * concurrency
    command = [sys.executable, asking.__file__, url, str(path), "200", str(concurrency)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": "."})
    while len(server.log(name)) < 12:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    time.sleep(0.2)  # until no request is under way
    before = sum(len(levels) for _, _, levels, _, _ in server.log(name))
    assert 48 <= before < 200
    black_box = asking.asking(url, QueryCache(path), concurrency=1)
    torch.testing.assert_close(black_box(pictures(200)).exp(), expected(200))
    assert black_box.cached >= before - under_way
    assert before + black_box.queries <= 200 + under_way
