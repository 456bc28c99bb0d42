from __future__ import annotations

import base64
import io
import json
import math
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from email.utils import formatdate

import misbehaving_server
import pytest
import torch
from PIL import Image

from freemcg import BlackBox, QueryBudgetExceeded
from freemcg.blackbox.remote.transport import RemoteError, Transport
from freemcg.blackbox.remote.waiting import retry_after


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


class Plain:
    """Takes base64 PNGs, and answers rows of probabilities."""

    def __init__(self, url, **options):
        self.url = url
        self.transport = Transport(**{"first_wait": 0.01, "timeout": 10, **options})

    def answers(self, images, charge):
        levels = (images * 255).round().to(torch.uint8).numpy()

        def request(start, stop):
            return {"method": "POST", "url": self.url, "json": {"images": [png(x[0]) for x in levels[start:stop]]}}

        return self.transport.answers(len(images), request, read, charge)


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def read(reply, count):
    return torch.tensor(json.loads(reply.content)["probabilities"])


def pictures(count):
    """Pictures of the grey levels 0, 1, 2, ..., which the answer tells apart."""
    return (torch.arange(count) / 255).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3).contiguous()


def expected(count):
    return torch.tensor([misbehaving_server.probabilities(level) for level in range(count)]).clamp(min=1e-7)


def ask(url, count, budget=None, **options):
    """The black box, after it was asked about `count` pictures and every answer was checked."""
    black_box = BlackBox(Plain(url, **options), "probabilities", budget=budget)
    torch.testing.assert_close(black_box(pictures(count)).exp(), expected(count))
    return black_box


def spent(black_box):
    return black_box.queries, black_box.answered, black_box.retried


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def sizes(log):
    return [len(levels) for _, _, levels, _, _ in log]


# --- order, batches, connections ---


@pytest.mark.parametrize(("batch_size", "concurrency"), [(1, 1), (1, 8), (3, 4), (64, 8)])
def test_every_answer_belongs_to_its_image(server, batch_size, concurrency):
    name = f"order-{batch_size}-{concurrency}"
    black_box = ask(server.url(name, "jumble=0.02"), 20, batch_size=batch_size, concurrency=concurrency)
    assert spent(black_box) == (20, 20, 0)
    log = server.log(name)
    assert sorted(level for entry in log for level in entry[2]) == list(range(20))
    assert sorted(sizes(log), reverse=True) == [batch_size] * (20 // batch_size) + [20 % batch_size] * (
        20 % batch_size > 0
    )


def test_connections_are_kept_and_bounded(server):
    plain = Plain(server.url("kept", "wait=0.02"), concurrency=3)
    for _ in range(4):
        BlackBox(plain, "probabilities")(pictures(9))
    ports = [entry[1] for entry in server.log("kept")]
    assert len(ports) == 36
    assert len(set(ports)) == 3


def test_requests_are_under_way_together(server):
    ask(server.url("together", "wait=1"), 6, concurrency=6)
    times = [entry[0] for entry in server.log("together")]
    assert times[-1] - times[0] < 4  # one after another they take 5


def test_the_rate_is_never_passed(server):
    ask(server.url("rate", "ok"), 12, requests_per_second=40, concurrency=6)
    times = sorted(entry[0] for entry in server.log("rate"))
    assert times[-1] - times[0] > 0.8 * 11 / 40


@pytest.mark.parametrize("step", ["most", "within"])
def test_batches_are_halved_and_stay_so(server, step):
    """16 images and 8 images were too many; 4 are not. Images count as sent even if they were not answered."""
    plain = Plain(server.url(step, f"{step}=5"), batch_size=16, concurrency=1)
    black_box = BlackBox(plain, "probabilities")
    torch.testing.assert_close(black_box(pictures(16)).exp(), expected(16))
    assert sizes(server.log(step)) == [16, 8, 4, 4, 4, 4]
    assert spent(black_box) == (40, 16, 24)
    black_box(pictures(9))
    assert sizes(server.log(step))[6:] == [4, 4, 1]
    assert plain.transport.batch_size == 4


def test_one_image_that_is_too_large_is_refused(server):
    url = server.url("whole", "most=0")
    black_box = BlackBox(Plain(url, batch_size=2), "probabilities")
    with raises(RemoteError, f"{url} answered 413"):
        black_box(pictures(2))
    assert sizes(server.log("whole")) == [2, 1]


# --- trying again ---


@pytest.mark.parametrize("step", ["status=500", "status=502", "status=503", "status=429", "reset", "drop"])
def test_a_failure_is_tried_again_and_charged(server, step):
    name = "again-" + step.replace("=", "")
    black_box = ask(server.url(name, f"{step}+{step}+ok"), 3, batch_size=3, retries=2)
    assert spent(black_box) == (9, 3, 6)


def test_one_image_that_a_gateway_gave_up_on_is_tried_again(server):
    black_box = ask(server.url("gateway", "status=504+status=504+ok"), 3, concurrency=1, retries=2)
    assert spent(black_box) == (5, 3, 2)


def test_a_timeout_is_tried_again(server):
    black_box = ask(server.url("late", "wait=3+ok"), 2, batch_size=2, timeout=0.5)
    assert spent(black_box) == (4, 2, 2)


def test_an_answer_that_drips_is_too_slow_as_a_whole(server):
    url = server.url("drip", "drip=0.1")
    began = time.monotonic()
    with raises(RemoteError, f"{url} did not answer within 0.4 s; it was tried 2 times"):
        ask(url, 1, timeout=0.4, retries=1)
    assert time.monotonic() - began < 3


def test_the_wait_doubles_with_jitter(server):
    ask(server.url("backoff", "status=500+status=500+status=500+ok"), 1, first_wait=0.2)
    times = [entry[0] for entry in server.log("backoff")]
    for wait, later, earlier in zip((0.2, 0.4, 0.8), times[1:], times, strict=False):
        assert later - earlier > 0.5 * wait
    assert times[-1] - times[0] < 1.4 + 10


@pytest.mark.parametrize("step", ["later=1", "date=2"])
def test_the_server_says_how_long_to_wait_and_all_do(server, step):
    name = step.replace("=", "")
    black_box = ask(server.url(name, f"{step}+ok"), 8, concurrency=1, retries=1)
    assert spent(black_box) == (9, 8, 1)
    times = [entry[0] for entry in server.log(name)]
    assert times[1] - times[0] > 0.95  # a date has whole seconds


def test_a_pause_holds_back_the_requests_beside_it(server):
    ask(server.url("pause", "later=1+wait=0.1"), 12, concurrency=2)
    times = [entry[0] for entry in server.log("pause")]
    assert sum(time - times[0] > 0.95 for time in times) >= 10


def test_a_wait_that_is_too_long_is_refused(server):
    url = server.url("hour", "later=3600")
    said = f"{url} answered 429: 'slow down' and asks to wait 3600 s, more than the 120 s allowed; start again later"
    with raises(RemoteError, said):
        ask(url, 1)
    assert len(server.log("hour")) == 1


def test_giving_up_says_how_often(server):
    url = server.url("down", "status=503")
    black_box = BlackBox(Plain(url, retries=2), "probabilities")
    with raises(RemoteError, f"{url} answered 503; it was tried 3 times"):
        black_box(pictures(1))
    assert spent(black_box) == (3, 0, 2)


@pytest.mark.parametrize("code", [400, 401, 403, 404, 408, 409, 422])
def test_a_refusal_is_not_tried_again(server, code):
    url = server.url(f"refused-{code}", f"status={code}")
    black_box = BlackBox(Plain(url, concurrency=1), "probabilities")
    with raises(RemoteError, f"{url} answered {code}"):
        black_box(pictures(3))
    assert spent(black_box) == (1, 0, 0)
    assert len(server.log(f"refused-{code}")) == 1


def test_what_cannot_be_reached_costs_nothing():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        black_box = BlackBox(Plain(url, retries=3), "probabilities", budget=1)
        with raises(RemoteError, f"{url} cannot be reached; it was tried 4 times"):
            black_box(pictures(1))
    assert spent(black_box) == (0, 0, 0)


@pytest.mark.parametrize(
    ("url", "problem"), [("http://[::1/", "is no valid address"), ("ftp://x/", "is no http or https address")]
)
def test_an_address_that_is_none_costs_nothing(url, problem):
    black_box = BlackBox(Plain(url, first_wait=60), "probabilities")
    with raises(RemoteError, f"{url} {problem}"):
        black_box(pictures(1))
    assert spent(black_box) == (0, 0, 0)


def test_an_unknown_host_is_not_tried_again(monkeypatch):
    def unknown(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with raises(RemoteError, "http://nowhere.invalid/ has an unknown host name"):
        ask("http://nowhere.invalid/", 1, first_wait=60)


# --- the budget ---


def test_the_budget_holds_for_retries_too(server):
    black_box = BlackBox(Plain(server.url("budget", "status=500"), batch_size=2), "probabilities", budget=5)
    with raises(QueryBudgetExceeded, "2 more queries would pass the budget of 5; 1 are left"):
        black_box(pictures(2))
    assert spent(black_box) == (4, 0, 2)
    assert sum(sizes(server.log("budget"))) == 4


def test_the_budget_holds_for_many_requests_at_once(server):
    script = "+".join(["status=500", "ok"] * 10)
    black_box = BlackBox(Plain(server.url("race", script), concurrency=8), "probabilities", budget=20)
    with pytest.raises(QueryBudgetExceeded):
        black_box(pictures(20))
    assert black_box.queries == 20 == sum(sizes(server.log("race")))


def test_a_reserve_is_not_spent_on_retries(server):
    black_box = BlackBox(Plain(server.url("reserve", "status=500+status=500+ok")), "probabilities", budget=4)
    with black_box.reserving(3), raises(QueryBudgetExceeded, "1 more queries would pass the budget of 1; 0 are left"):
        black_box(pictures(1))
    assert black_box.remaining == 3


def test_what_was_answered_beside_a_failure_is_handed_over(server):
    """The first of three requests is refused while two are under way. Their answers are not lost."""
    plain = Plain(server.url("beside", "status=400+wait=0.3+wait=0.3"), concurrency=3)
    arrived = []

    def collect():
        for start, count, _ in plain.answers(pictures(9), lambda images, retry: None):
            arrived.append((start, count))

    with pytest.raises(RemoteError):
        collect()
    log = server.log("beside")
    assert 1 <= len(log) <= 3
    assert sorted(arrived) == sorted((levels[0], 1) for _, _, levels, step, _ in log if step != "status=400")


def test_no_thread_outlives_the_question(server):
    with pytest.raises(RemoteError):
        ask(server.url("threads", "status=400"), 8)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("freemcg-http")]


# --- trust ---


def test_a_redirect_is_not_followed(server):
    url = server.url("moved", "redirect") + "?http://user:word@127.0.0.1:9/elsewhere?key=1"
    sentence = "redirects to http://127.0.0.1:9, but no redirect is followed; if you trust it, name that address"
    with raises(RemoteError, f"{url} {sentence}"):
        ask(url, 1, headers={"X-Key": "secret"})
    beside = server.url("beside-moved", "redirect") + "?/other/ok"
    with raises(
        RemoteError,
        f"{beside} redirects to another path of the same server, but no redirect is followed; "
        "if you trust it, name that address",
    ):
        ask(beside, 1)
    assert server.log("other") == []


def test_an_answer_without_end_is_cut_off(server):
    url = server.url("huge", "huge=50000000")
    black_box = BlackBox(Plain(url, largest_answer=1_000_000), "probabilities")
    with raises(RemoteError, f"{url} answered more than 1000000 bytes"):
        black_box(pictures(1))
    assert spent(black_box) == (1, 0, 0)


def test_what_a_message_shows_is_made_fit_to_be_shown(server):
    url = server.url("echo", "echo")
    with raises(RemoteError, f"{url} answered 401: 'the key *** is not known'"):
        ask(url, 1, headers={"X-Key": "secret"}, hide=lambda text: text.replace("secret", "***"))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost -days 2"
    subprocess.run([*words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake_hands():
            connection, _ = listening.accept()
            with connection, pytest.raises(OSError):
                context.wrap_socket(connection, server_side=True)

        thread = threading.Thread(target=shake_hands)
        thread.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        black_box = BlackBox(Plain(url, first_wait=60), "probabilities")
        with raises(RemoteError, f"{url} is not trusted: self-signed certificate"):
            black_box(pictures(1))
        thread.join()
    assert spent(black_box) == (0, 0, 0)


# --- arguments ---


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"concurrency": 0}, "concurrency must be >= 1, got 0"),
        ({"concurrency": 2.5}, "concurrency must be a whole number, got 2.5"),
        ({"retries": -1}, "retries must be in 0..100, got -1"),
        ({"retries": 1100}, "retries must be in 0..100, got 1100"),
        ({"timeout": 0}, "timeout must be in 1e-06..86400, got 0"),
        ({"timeout": math.inf}, "timeout must be in 1e-06..86400, got inf"),
        ({"timeout": "60"}, "timeout must be a number, got '60'"),
        ({"longest_wait": math.nan}, "longest_wait must be in 0..86400, got nan"),
        ({"requests_per_second": 0}, "requests_per_second must be in 1e-05..1e+06, got 0"),
        ({"requests_per_second": 1e-320}, "requests_per_second must be in 1e-05..1e+06, got 9.99989e-321"),
    ],
)
def test_bad_arguments_are_refused(argument, message):
    with raises((ValueError, TypeError), message):
        Transport(**argument)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx2", None)
    with raises(
        ModuleNotFoundError,
        "a model behind an address needs httpx2, which is not installed: pip install 'freemcg[http]'",
    ):
        Transport()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        ("0", 0),
        ("-3", 0),
        ("soon", None),
        ("nan", None),
        (formatdate(1_000_090, usegmt=True), 90),
        (formatdate(999_000, usegmt=True), 0),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, now=1_000_000) == seconds
