from __future__ import annotations

import base64
import datetime
import html
import json
import math
import re
import sys
import traceback
from urllib.parse import quote, quote_plus

import misbehaving_server
import numpy as np
import pytest
import torch
import yaml
from misbehaving_server import NAMES, probabilities

from freemcg import BlackBox
from freemcg.blackbox import SCORE_KINDS, EndpointDescription, RemoteError, endpoint_black_box, inference_black_box
from freemcg.blackbox.remote.encoding import eight_bit, encode
from freemcg.blackbox.remote.endpoint import Endpoint
from freemcg.blackbox.remote.environment import Environment
from freemcg.commands.app import main
from freemcg.models.load import bundled_endpoints, load_black_box, load_endpoint
from freemcg.settings import make

SECRET = "sk-very/secret+1"
PLAIN = {"body": {"images": ["{image}"]}, "answer": "probabilities", "means": "probabilities"}
NAN = float("nan")
IN_ITS_PLACE = "write '${FREEMCG_NAME}' in place of the secret, and set that environment variable"


@pytest.fixture(scope="module")
def server():
    with misbehaving_server.running() as running:
        yield running


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def box(url, **fields):
    return endpoint_black_box(EndpointDescription(url=url, **{**PLAIN, **fields}))


def pictures(count, channels=1):
    """Pictures of the grey levels 0, 10, 20, ... Each column is 7 levels lighter than the last, so layouts differ."""
    level = 10 * torch.arange(count).reshape(-1, 1, 1, 1)
    columns = torch.tensor([0, 1, 2]) * 7
    return ((level + columns).expand(-1, channels, 2, 3) / 255).clamp(0, 1).contiguous()


def expected(count):
    return torch.tensor([probabilities(10 * index) for index in range(count)])


# --- how an image goes in ---

WAYS = {
    "base64 in a list": {"body": {"images": ["{image}"]}, "batch_size": 4},
    "a dict an image": {"body": {"instances": [{"b64": "{image}", "id": 1}]}, "batch_size": 4},
    "one image, alone": {"body": {"a": {"b": "{image}"}, "n": [1, 2]}},
    "a data url": {"body": {"content": [{"t": "x"}, {"u": "data:image/png;base64,{image}"}]}},
    "whole numbers": {"body": {"x": ["{image}"]}, "encoding": "numbers", "value_range": [0, 255], "batch_size": 4},
    "fractions": {"body": {"x": "{image}"}, "encoding": "numbers", "layout": "CHW"},
    "a form": {"send": "multipart", "field": "file", "body": None},
    "the file itself": {"send": "raw", "body": None},
    "jpeg": {"encoding": "jpeg", "body": ["{image}"]},
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("way", WAYS)
def test_ways_in(server, way, channels):
    name = way.replace(" ", "-") + str(channels)
    black_box = box(server.url(name, "jumble=0.01"), **WAYS[way])
    answered = black_box(pictures(6, channels)).exp()
    if way == "jpeg":
        torch.testing.assert_close(answered, expected(6), rtol=0, atol=2.5 / 400)
    else:
        torch.testing.assert_close(answered, expected(6).clamp(min=1e-7))
        assert sorted(level for entry in server.log(name) for level in entry[2]) == [0, 10, 20, 30, 40, 50]
    assert black_box.queries == black_box.answered == 6


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"layout": "HWC", "value_range": [0, 255]}, [[[0, 100]], [[200, 255]]]),
        ({"layout": "CHW", "value_range": [0, 255]}, [[[0], [200]], [[100], [255]]]),
        ({"layout": "CHW", "value_range": [-1, 1]}, [[[-1], [2 * 200 / 255 - 1]], [[2 * 100 / 255 - 1], [1]]]),
        ({"layout": "HWC"}, [[[0, 100 / 255]], [[200 / 255, 1]]]),
    ],
)
def test_numbers_have_a_layout_and_a_range(fields, sent):
    endpoint = Endpoint(
        EndpointDescription(url="http://x/", **PLAIN | {"body": {"x": ["{image}"]}}, encoding="numbers", **fields)
    )
    pixels = np.array([[[[0, 100]], [[200, 255]]]] * 2, dtype=np.uint8)
    request = endpoint._request(pixels, 0, 2)
    np.testing.assert_allclose(request["json"]["x"], [sent, sent], atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_holds_the_eight_bit_image_exactly(channels):
    from io import BytesIO

    from PIL import Image

    images = torch.rand(2, channels, 5, 4, generator=torch.Generator().manual_seed(1))
    read = np.asarray(Image.open(BytesIO(encode(eight_bit(images)[1], "png")))).reshape(5, 4, channels)
    assert np.array_equal(read, (255 * images[1]).round().permute(1, 2, 0).numpy())


def test_what_is_asked_about_is_an_eight_bit_image(server):
    """The same 8-bit images get the same answers over the wire and in this process."""

    def in_process(images):
        return torch.tensor([probabilities(round(255 * image[0, 0, 0].item())) for image in images])

    images = torch.rand(9, 3, 5, 4, generator=torch.Generator().manual_seed(2))
    remote = box(server.url("same", "ok"), batch_size=4, image_size=[3, 2], channels=1)
    local = BlackBox(in_process, "probabilities", image_size=(3, 2), channels=1, eight_bit=True)
    torch.testing.assert_close(remote(images), local(images), rtol=1e-6, atol=1e-7)


def test_an_image_is_rounded_to_eight_bits_before_it_is_normalised():
    asked = []
    black_box = BlackBox(lambda x: asked.append(x) or x.flatten(1), eight_bit=True, mean=[0.5], std=[0.25])
    black_box(torch.tensor([0.1, 0.49 / 255, 0.51 / 255, 1.0]).reshape(1, 1, 2, 2))
    torch.testing.assert_close(asked[0].flatten(), (torch.tensor([26.0, 0, 1, 255]) / 255 - 0.5) / 0.25)


# --- what an answer means ---


def said(server, name, value, **fields):
    text = value if isinstance(value, str) else json.dumps(value)
    return box(server.url(name, "say=" + base64.urlsafe_b64encode(text.encode()).decode()), **fields)


ROW = [0.2, 0.3, 0.5]
LABELLED = [{"label": "high", "score": 0.5}, {"label": "low", "score": 0.2}, {"label": "middle", "score": 0.3}]


@pytest.mark.parametrize(
    ("value", "fields", "wanted"),
    [
        ({"probabilities": [ROW]}, {}, ROW),
        (ROW, {"answer": "@"}, ROW),
        ({"out": {"p": ROW}}, {"answer": "out.p"}, ROW),
        ({"probabilities": [[math.log(p) + 3 for p in ROW]]}, {"means": "logits"}, ROW),
        ({"probabilities": [[math.log(p) for p in ROW]]}, {"means": "log_probabilities"}, ROW),
        (LABELLED, {"answer": "@", "means": "labels", "class_names": NAMES}, ROW),
        ([LABELLED], {"answer": "@", "means": "labels", "class_names": "low, middle, high"}, ROW),
        (
            {"r": [{"n": "low", "p": 0.2}, {"n": "high", "p": 0.5}, {"n": "middle", "p": 0.3}]},
            {"answer": "r[].{label: n, score: p}", "means": "labels", "class_names": NAMES},
            ROW,
        ),
        ({"c": "high"}, {"answer": "c", "means": "label", "class_names": NAMES}, [0.005, 0.005, 0.99]),
        ({"c": [2]}, {"answer": "c", "means": "label", "class_names": NAMES}, [0.005, 0.005, 0.99]),
        ("\" 'High'. \\n\"", {"answer": "@", "means": "label", "class_names": NAMES}, [0.005, 0.005, 0.99]),
    ],
)
def test_meanings(server, value, fields, wanted):
    answered = said(server, "meaning", value, **fields)(pictures(1)).exp()
    torch.testing.assert_close(answered, torch.tensor([wanted]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_classes_in_any_order_are_told_by_name(server, batch_size):
    black_box = box(
        server.url(f"shuffled{batch_size}", "shuffled"),
        answer="@",
        means="labels",
        class_names=NAMES,
        batch_size=batch_size,
    )
    torch.testing.assert_close(black_box(pictures(6)).exp(), expected(6).clamp(min=1e-7))


OTHER_ORDERS = [["high", "low", "middle"], ["middle", "high", "low"], ["low", "middle", "high"]]
SCORE = dict(zip(NAMES, ROW, strict=True))
BY_NAME = {
    "entries": lambda order: [{"label": name, "score": SCORE[name]} for name in order],
    "a mapping": lambda order: {name: SCORE[name] for name in order},
    "two lists": lambda order: {"label": order, "score": [SCORE[name] for name in order]},
    "a zero-shot pipeline": lambda order: {"sequence": "?", "labels": order, "scores": [SCORE[name] for name in order]},
    "Vertex AI": lambda order: {
        "ids": ["7", "8", "9"],
        "displayNames": order,
        "confidences": [SCORE[name] for name in order],
    },
}


@pytest.mark.parametrize("means", ["probabilities", "labels", "top_k", "multi_label"])
@pytest.mark.parametrize("form", BY_NAME)
def test_names_and_never_places_tell_which_class_a_score_is_for(server, form, means):
    rows = [BY_NAME[form](order) for order in OTHER_ORDERS]
    for value, count in ((rows, 3), (rows[0], 1)):
        black_box = said(
            server, "named", value, answer="@", means=means, class_names=NAMES, body={"i": ["{image}"]}, batch_size=3
        )
        torch.testing.assert_close(black_box(pictures(count)).exp(), torch.tensor([ROW] * count))


def test_classes_named_label_and_score_are_a_mapping(server):
    names = ["score", "label"]
    fields = {"answer": "@", "means": "probabilities", "class_names": names, "batch_size": 2}
    black_box = said(server, "named-so", [{"label": 0.2, "score": 0.8}, {"score": 0.8, "label": 0.2}], **fields)
    torch.testing.assert_close(black_box(pictures(2)).exp(), torch.tensor([[0.8, 0.2]] * 2))


@pytest.mark.parametrize("means", ["logits", "multi_label_logit", "value"])
def test_scores_of_any_kind_may_come_by_name(server, means):
    values = {"high": 5.0, "low": -2.0, "middle": 3.0}
    found = said(server, "any", values, answer="@", means=means, class_names=NAMES)(pictures(1))
    local = BlackBox(lambda images: torch.tensor([[-2.0, 3.0, 5.0]]), means)(pictures(1))
    torch.testing.assert_close(found, local)


@pytest.mark.parametrize(
    ("value", "means", "wanted"),
    [
        ([[20, 30.4, 49.5]], "probabilities", [0.2, 0.304, 0.495]),
        ({"high": 50, "low": 20, "middle": 30}, "labels", ROW),
        ([{"label": "high", "score": 50}, {"label": "low", "score": 40}], "top_k", [0.4, 0.1, 0.5]),
        ([[20, 70, 50]], "multi_label", [0.2, 0.7, 0.5]),
        ([30], "binary", [0.7, 0.3]),
    ],
)
def test_percent_is_read_where_it_is_declared(server, value, means, wanted):
    names = None if means == "binary" else NAMES
    fields = {"answer": "@", "means": means, "class_names": names}
    found = said(server, "percent", value, percent=True, **fields)(pictures(1)).exp()
    torch.testing.assert_close(found, torch.tensor([wanted]), rtol=0, atol=2e-3)
    with pytest.raises(ValueError):
        said(server, "percent", value, **fields)(pictures(1))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_top_k_leaves_what_is_not_listed_open(server, batch_size):
    url = server.url(f"best{batch_size}", "best=2")
    fields = {**PLAIN, "answer": "@", "means": "top_k", "class_names": NAMES, "batch_size": batch_size}
    endpoint = Endpoint(EndpointDescription(url=url, **fields))
    found = {start: rows for start, _, rows in endpoint.answers(pictures(6), lambda images, retry: None)}
    rows = np.concatenate([found[start] for start in sorted(found)])
    wanted = expected(6).numpy().astype(float)
    wanted[wanted == wanted.min(axis=1, keepdims=True)] = NAN  # the smallest of three is not listed
    np.testing.assert_allclose(rows, wanted, rtol=1e-6)


NO_LABELS = (
    "the answer holds no labels with scores: a list of {label: ..., score: ...}, a mapping {label: score}, or two "
    "lists {label: [...], score: [...]}"
)
LABELS = {"answer": "@", "means": "labels", "class_names": NAMES}
BAD_ANSWERS = {
    "html": ("<html>\n<b>Log in</b>", {}, "the answer is not JSON: '<html> <b>Log in</b>'"),
    "cut": ('{"probabilities": [[0.2,', {}, "the answer is not JSON: '{\"probabilities\": [[0.2,'"),
    "elsewhere": ({"p": 1}, {}, "the answer holds nothing at 'probabilities': '{\"p\": 1}'"),
    "words": (["a"], {"answer": "@"}, "the answer holds no rows of numbers: '[\"a\"]'"),
    "number": (7, {"answer": "@"}, "the answer holds no list of rows: '7'"),
    "two": ([ROW, ROW], {"answer": "@"}, "the answer holds 2 rows for 1 image: '[[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]]'"),
    "null": ([[0.5, None]], {"answer": "@"}, "the answer holds no rows of numbers: '[[0.5, null]]'"),
    "some": (
        LABELLED[:1],
        LABELS,
        "the answer does not list class 'low'; if it lists only some classes, say means: "
        'top_k: \'[{"label": "high", "score": 0.5}]\'',
    ),
    "twice": (
        LABELLED[:1] * 2,
        LABELS,
        'the answer lists class \'high\' twice: \'[{"label": "high", "score": 0.5}, {"label": "high", "score": 0.5}]\'',
    ),
    "stranger": (
        [{"label": "cat", "score": 1}],
        LABELS,
        'the answer names the class \'cat\', which is not among class_names: \'[{"label": "cat", "score": 1}]\'',
    ),
    "unscored": (
        [{"label": "high", "score": None}],
        LABELS,
        "the answer holds the score None for class 'high'; it must "
        'be a number: \'[{"label": "high", "score": null}]\'',
    ),
    "infinite": (
        '[{"label": "high", "score": Infinity}]',
        LABELS,
        "the answer holds the score inf for class 'high'; "
        'it must be a number: \'[{"label": "high", "score": Infinity}]\'',
    ),
    "bare": (
        [{"label": "high"}],
        LABELS,
        f'{NO_LABELS}: \'[{{"label": "high"}}]\'',
    ),
    "uneven": (
        {"label": ["low", "high"], "score": [1]},
        LABELS,
        'the answer holds 2 label but 1 score: \'{"label": ["low", "high"], "score": [1]}\'',
    ),
    "numbers": ([ROW], LABELS, f"{NO_LABELS}: '[[0.2, 0.3, 0.5]]'"),
    "unnamed": (
        {"low": 0.2, "middle": 0.3, "high": 0.5},
        {"answer": "@"},
        "the answer names its classes; give class_names, which says their order: "
        '\'{"low": 0.2, "middle": 0.3, "high": 0.5}\'',
    ),
    "scoreless": (
        {"low": 0.2, "middle": None, "high": 0.5},
        LABELS,
        "the answer holds the score None for class 'middle'; it must be a number: "
        '\'{"low": 0.2, "middle": null, "high": 0.5}\'',
    ),
    "true": (
        {"low": True, "middle": False, "high": False},
        LABELS,
        "the answer holds the score True for class 'low'; it must be a number: "
        '\'{"low": true, "middle": false, "high": false}\'',
    ),
    "crane": (
        {"crane": 0.2, "dog": 0.8},
        {"answer": "@", "class_names": ["crane", "dog", "crane"]},
        "the answer names the class 'crane', which is 2 times among class_names: '{\"crane\": 0.2, \"dog\": 0.8}'",
    ),
    "outside": (
        [3],
        {**LABELS, "means": "label"},
        "the answer names the class '3', which is not among class_names: '[3]'",
    ),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_of_another_kind_is_refused_in_one_sentence(server, name):
    value, fields, message = BAD_ANSWERS[name]
    black_box = said(server, "bad", value, **fields)
    with raises(ValueError, f"{black_box.predict.description.url}: {message}"):
        black_box(pictures(1))
    assert (black_box.queries, black_box.answered, black_box.retried) == (1, 0, 0)


def test_an_answer_nested_without_end_is_refused(server):
    url = server.url("deep", "deep")
    with raises(ValueError, f"{url}: the answer is not JSON: '" + "[" * 80 + " ... " + "[" * 80 + "'"):
        box(url)(pictures(1))


# --- secrets ---


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv("FREEMCG_KEY", SECRET)


def test_a_secret_is_sent_and_shown_nowhere(server, key, capfd):
    url = server.url("secret", "ok") + "?key=${FREEMCG_KEY}"
    black_box = box(url, headers={"X-Key": "Bearer ${FREEMCG_KEY}"})
    black_box(pictures(1))
    assert server.log("secret")[0][4]["X-Key"] == f"Bearer {SECRET}"
    shown = [repr(black_box), repr(black_box.predict), repr(black_box.predict.description), black_box.identity]
    assert black_box.identity.startswith(f"{url}:")
    for script in ("echo", "status=500", "html", "redirect", "drop"):
        failing = box(
            server.url("secret-" + script, script) + "?${FREEMCG_KEY}", headers={"X-Key": "${FREEMCG_KEY}"}, retries=0
        )
        with pytest.raises((RemoteError, ValueError)) as caught:
            failing(pictures(1))
        shown += ["".join(traceback.format_exception(caught.value)), str(caught.value)]
    shown += capfd.readouterr()
    assert not [text for text in shown if SECRET in text]
    assert "answered 401: 'the key ${FREEMCG_KEY} is not known'" in "".join(shown)


LITERALS = {
    "Authorization": "Bearer sk-of-the-scheme",
    "X-Plan": "sk-of-no-telling-name",
    "Cookie": "session=sk-of-a-cookie; theme=dark",
}


def test_secrets_that_are_spelled_out_are_shown_in_no_message(server, key):
    body = {"images": ["{image}"], "login": {"api_key": "sk-of-the-body", "pins": {"token": 20631}, "name": "me"}}
    headers = {"X-Plan": LITERALS["X-Plan"], "X-Key": "Bearer ${FREEMCG_KEY}"}
    url = server.url("repeat", "repeat")
    with raises(
        RemoteError,
        f"{url} answered 401: \"['***', 'Bearer ${{FREEMCG_KEY}}'] "
        "{'api_key': '***', 'pins': {'token': ***}, 'name': 'me'}\"",
    ):
        box(url, headers=headers, body=body, retries=0)(pictures(1))


def test_headers_given_in_python_are_shown_in_no_message(server):
    address = f"{server.url('python', 'headers')}/v2"
    with raises(ValueError, f'{address} does not speak the Open Inference Protocol v2: \'["***", "***", "***"]\''):
        inference_black_box(f"{address}/models/digits", "logits", headers=LITERALS)


def test_the_credentials_of_a_header_are_hidden_alone_and_in_every_form_too():
    environment = Environment()
    environment.fill_url("https://models.example.org/classify")
    for name, text in LITERALS.items():
        environment.fill_header(name, text)
    environment.fill_header("Proxy-Authorization", "Basic " + base64.b64encode(b"me:hush-hush").decode())
    environment.fill_header("Host", "models.example.org")
    for secret in ("sk-of-the-scheme", "sk-of-no-telling-name", "sk-of-a-cookie", "dark", "hush-hush"):
        for form in (secret, secret.upper(), plain(secret), quote(secret), html.escape(secret)):
            assert environment.hide(f"<{form}>") == "<***>"
        assert "***" in environment.hide(base64.b64encode(f"a:{secret}".encode()).decode())
    assert environment.hide("me at models.example.org: Bearer") == "me at models.example.org: Bearer"


def test_a_secret_that_is_cut_by_the_end_of_an_excerpt_is_hidden_too(server, key):
    black_box = said(server, "long", "x" * 110 + SECRET)
    environment = Environment()
    environment.fill("${FREEMCG_KEY}")
    black_box.predict.transport.hide = environment.hide
    with pytest.raises(ValueError) as caught:
        black_box(pictures(1))
    assert SECRET[:6] not in str(caught.value)
    assert "x" * 110 + "${FREEMCG_" in str(caught.value)


def plain(text):
    return "".join(c if c.isalnum() else f"\\u{ord(c):04X}" for c in text)


@pytest.mark.parametrize("secret", [SECRET, 'Sk-"very<1>\\&', "abcd", "key with space/é"])
def test_a_secret_is_hidden_in_whatever_form_a_server_repeats_it(monkeypatch, secret):
    monkeypatch.setenv("FREEMCG_KEY", secret)
    environment = Environment()
    environment.fill("${FREEMCG_KEY}")
    forms = [
        secret,
        secret.upper(),
        secret.lower(),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[3:-3],
        json.dumps(secret, ensure_ascii=False)[1:-1].replace("/", "\\/"),
        plain(secret),
        quote(secret),
        quote(secret, safe=""),
        quote(secret, safe="").lower(),
        quote_plus(secret),
        quote(quote(secret, safe=""), safe=""),
        repr(secret)[1:-1],
        html.escape(secret),
    ]
    for form in forms:
        assert environment.hide(f"<{form}>") == "<${FREEMCG_KEY}>"
    for before in ("", "u", "us", "user:"):
        for encoded in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encoded(f"{before}{secret}:after".encode()).decode()
            hidden = environment.hide(f"Basic {whole} end")
            assert "${FREEMCG_KEY}" in hidden
            assert len(hidden) <= len("Basic  end${FREEMCG_KEY}") + len(encoded(f"{before}:after".encode())) + 2
    assert environment.hide("nothing of it, abc d") == "nothing of it, abc d"


def test_a_password_within_an_address_of_the_environment_is_hidden_alone_too(monkeypatch):
    monkeypatch.setenv("FREEMCG_URL", "http://me:p%40ssword@x/?v=1&token=abc123")
    environment = Environment()
    assert environment.fill_url("${FREEMCG_URL}") == "http://me:p%40ssword@x/?v=1&token=abc123"
    for text in ("p%40ssword", "p@ssword", "abc123", "http://me:p%40ssword@x/?v=1&token=abc123"):
        assert environment.hide(f"a {text} b") == "a ${FREEMCG_URL} b"


@pytest.mark.parametrize(
    "address",
    [
        "http://me:hush@x/v2/models/a",
        "http://hush@x/v2/models/a",
        "http://me:hu#hush/@x/v2/models/a",
        "HTTP://me:hush@x/v2/models/a",
        "ftp://me:hush@x/v2/models/a",
        "http://${FREEMCG_USER}:hush@x/v2/models/a.onnx",
        *(
            f"https://x/v2/models/a?v=1&{name}=hush"
            for name in (
                "key", "token", "api_key", "api-key", "apikey", "sig", "signature", "password", "secret",
                "access_token", "client_secret", "X-Amz-Signature", "subscription-key", "code", "%6bey", "KEY",
                "pwd", "auth",
            )
        ),
        "https://x/v2/models/a#token=hush",
        "${FREEMCG_URL}?key=hush",
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_before_anything_is_stored(tmp_path, monkeypatch, capfd, address):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FREEMCG_URL", "http://x/")
    tried = [lambda: EndpointDescription(url=address, **PLAIN), lambda: inference_black_box(address, "logits")]
    if not address.startswith("$"):
        tried.append(lambda: load_black_box(address))
        (tmp_path / "pics").mkdir()
        eight = eight_bit(pictures(1))[0]
        (tmp_path / "pics" / "a.png").write_bytes(encode(eight, "png"))
        assert main(["attribute", "pics", "--model", address, "--denoiser", "digits", "--out", "out"]) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["pics"]
    for attempt in tried:
        with pytest.raises(ValueError, match=r"the address holds .*'\$\{FREEMCG_NAME\}' in place") as caught:
            attempt()
        assert "hush" not in str(caught.value)
    assert "hush" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "address",
    [
        "http://x:80/v2/models/a@1?monk=1&max_tokens=5&author=me&key=&country_code=us",
        "http://[::1]:80/a@b:c",
        "http://me:${FREEMCG_KEY}@x/?key=${FREEMCG_KEY}&token=Bearer%20${FREEMCG_KEY}",
        "${FREEMCG_URL}/classify@2",
    ],
)
def test_an_address_without_a_secret_of_its_own_is_taken(address):
    assert EndpointDescription(url=address, **PLAIN).url == address


def test_identity_follows_what_an_answer_depends_on(monkeypatch):
    monkeypatch.setenv("FREEMCG_URL", "http://one/")
    first = box("${FREEMCG_URL}")
    assert re.fullmatch(r"\$\{FREEMCG_URL\}:[0-9a-f]{16}", first.identity)
    assert box("${FREEMCG_URL}", concurrency=2, timeout=3, retries=1).identity == first.identity
    assert box("${FREEMCG_URL}", answer="p").identity != first.identity
    monkeypatch.setenv("FREEMCG_URL", "http://two/")
    assert box("${FREEMCG_URL}").identity != first.identity


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${FREEMCG_KEY}", "the environment variable FREEMCG_KEY is not set"),
        ("${HOME}", "${HOME} is not read; name the variable FREEMCG_..., in capitals"),
        (
            "${AWS_SECRET_ACCESS_KEY}",
            "${AWS_SECRET_ACCESS_KEY} is not read; name the variable FREEMCG_..., in capitals",
        ),
        ("${}", "${} is not read; name the variable FREEMCG_..., in capitals"),
    ],
)
@pytest.mark.parametrize("where", ["url", "header", "body", "class_names"])
def test_a_variable_that_cannot_be_filled_in_is_named(monkeypatch, text, message, where):
    monkeypatch.delenv("FREEMCG_KEY", raising=False)
    fields = {
        "url": {"url": "http://x/" + text},
        "header": {"url": "http://x/", "headers": {"A": text}},
        "body": {"url": "http://x/", "body": {"k": ["{image}", text]}},
        "class_names": {"url": "http://x/", "class_names": text},
    }[where]
    with raises(ValueError, message):
        box(**fields)


def test_a_header_that_cannot_be_sent_is_refused_without_its_value(monkeypatch):
    monkeypatch.setenv("FREEMCG_KEY", "word\nInjected: yes")
    with raises(ValueError, "the header A would hold a character that is not printable ASCII"):
        box("http://x/", headers={"A": "${FREEMCG_KEY}"})


# --- descriptions ---


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": None}, "url must be given: the address, which gets requests by POST"),
        ({"urls": "x"}, "unknown setting 'urls'; did you mean 'url'?"),
        ({"url": "file:///etc/passwd"}, "url must begin with http:// or https://"),
        ({"url": "http://me:word@x/"}, "the address holds a user or password; " + IN_ITS_PLACE),
        ({"url": "http://x/?v=1&api_key=word"}, "the address holds the parameter 'api_key'; " + IN_ITS_PLACE),
        ({"url": "${FREEMCG_URL}?key=word"}, "the address holds the parameter 'key'; " + IN_ITS_PLACE),
        (
            {"headers": {"X-Signature": "abc"}},
            "the header X-Signature must not hold its secret; write ${FREEMCG_NAME} in its place",
        ),
        (
            {"headers": {"Authorization": "Bearer abc"}},
            "the header Authorization must not hold its secret; write ${FREEMCG_NAME} in its place",
        ),
        ({"body": None}, "body must hold {image} where the image goes, for send: json"),
        ({"body": {"x": "image"}}, "body must hold {image} where the image goes, for send: json"),
        (
            {"body": {"x": "{image}", "since": datetime.date(2026, 1, 1)}},
            "body is sent as JSON, which cannot hold it (Object of type date is not JSON serializable); "
            "write texts and numbers",
        ),
        ({"send": "raw"}, "body is for send: json, not for raw"),
        ({"send": "raw", "body": None, "encoding": "numbers"}, "encoding: numbers is for send: json, not for raw"),
        (
            {"encoding": "numbers", "body": {"x": "a{image}"}},
            "{image} must be the whole text for encoding: numbers, since a list takes its place",
        ),
        (
            {"batch_size": 8, "body": {"x": "{image}"}},
            "batch_size is 8 but a request holds one image; for several, the body needs a list of one element that "
            "holds {image}",
        ),
        ({"means": "label"}, "class_names must be given for means: label"),
        (
            {"means": "logits", "percent": True},
            "percent is for probabilities, labels, top_k, binary, multi_label, not for means: logits",
        ),
        (
            {"means": "label", "class_names": ["crane", "dog", "crane"]},
            "class_names has 'crane' more than once, but answers tell classes by their names",
        ),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
        ({"timeout": math.inf}, "timeout must be a finite number, got inf"),
        ({"timeout": 1e300}, "timeout must be <= 86400, got 1e+300"),
        ({"retries": 2000}, "retries must be <= 100, got 2000"),
        ({"requests_per_second": math.nan}, "requests_per_second must be a finite number, got nan"),
        ({"requests_per_second": 1e-320}, "requests_per_second must be >= 0.00001, got 1e-320"),
        ({"concurrency": math.inf}, "concurrency must be a finite number, got inf"),
        ({"value_range": [0, math.inf]}, "value_range.1 must be a finite number, got inf"),
        ({"answer": "[[["}, "answer is '[[[', which is no JMESPath expression"),
    ],
)
def test_a_bad_description_is_refused(tmp_path, fields, message):
    path = tmp_path / "mine.yaml"
    values = {"url": "http://x/", **PLAIN, **fields}
    path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
    with raises(ValueError, f"{path}: {message}"):
        load_endpoint(str(path))


def test_a_body_that_holds_itself_is_refused():
    body = {"x": "{image}"}
    body["again"] = body
    with raises(
        ValueError,
        "body is sent as JSON, which cannot hold it (Circular reference detected); write texts and numbers",
    ):
        make(EndpointDescription, {"url": "http://x/", **PLAIN, "body": body})


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jmespath", None)
    with raises(
        ModuleNotFoundError,
        "an endpoint's answer needs jmespath, which is not installed: pip install 'freemcg[http]'",
    ):
        box("http://x/")


BUNDLED = {"plain": "ok", "huggingface": "best=3", "openai-chat": "chat", "vertex": "vertex"}


def test_every_bundled_description_is_tried():
    assert bundled_endpoints() == sorted(BUNDLED)


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "huggingface" or "top_k" in SCORE_KINDS])
def test_bundled_descriptions(server, monkeypatch, key, name):
    monkeypatch.setenv("FREEMCG_URL", server.url(name, BUNDLED[name]))
    monkeypatch.setenv("FREEMCG_CLASSES", "low, middle,high")
    monkeypatch.setenv("FREEMCG_CHAT_MODEL", "some-model")
    black_box = load_endpoint(name)
    black_box.budget = 6
    answered = black_box(pictures(6)).exp()
    if name == "openai-chat":
        decided = torch.tensor([max(range(3), key=row.__getitem__) for row in expected(6).tolist()])
        assert torch.equal(answered.argmax(dim=1), decided)
    else:
        torch.testing.assert_close(answered, expected(6).clamp(min=1e-7))
    sent = server.log(name)[0][4]
    assert sent.get("Authorization") == (None if name == "plain" else f"Bearer {SECRET}")
    assert black_box.remaining == 0


def test_a_chat_endpoint_is_told_the_labels(monkeypatch, key):
    for variable, value in {"URL": "http://x/", "CLASSES": "low,high", "CHAT_MODEL": "m"}.items():
        monkeypatch.setenv(f"FREEMCG_{variable}", value)
    endpoint = load_endpoint("openai-chat").predict
    body = endpoint._request(np.zeros((1, 2, 2, 1), dtype=np.uint8), 0, 1)["json"]
    text, image = body["messages"][0]["content"]
    assert text["text"].endswith("one of these labels and nothing else: low, high.")
    assert image["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert body["model"] == "m"


def test_a_description_is_a_model_by_its_file(server, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"url": server.url("described", "ok"), **PLAIN}))
    black_box = load_black_box(str(path))
    torch.testing.assert_close(black_box(pictures(3)).exp(), expected(3))
    with raises(ValueError, f"{path} says itself what it takes and answers; leave out --scores"):
        load_black_box(str(path), scores="logits")


def test_a_description_is_a_model_by_its_name(monkeypatch):
    monkeypatch.delenv("FREEMCG_URL", raising=False)
    with pytest.raises(ValueError, match=r"plain\.yaml: .*FREEMCG_URL"):
        load_black_box("plain")
