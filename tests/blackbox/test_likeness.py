"""The kind of scores that numbers look like. If a proposal is followed, the answer is accepted."""

from __future__ import annotations

import re

import pytest
import tiny
import torch

from freemcg import BlackBox
from freemcg.__main__ import main
from freemcg.blackbox import SCORE_KINDS, EndpointDescription, endpoint_black_box
from freemcg.blackbox.likeness import likeness
from freemcg.blackbox.scores import ONE_NUMBER

NAN = float("nan")
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [1.0, 3.0, -2.0]])
ANSWERS = {
    "probabilities": LOGITS.softmax(1),
    "percent": 100 * LOGITS.softmax(1),
    "log_probabilities": LOGITS.log_softmax(1),
    "logits": LOGITS,
    "multi_label": LOGITS.sigmoid(),
    "top_k": torch.tensor([[0.9, NAN, 0.1], [NAN, 0.6, 0.2]]),
    "binary": torch.tensor([[0.2], [0.9]]),
    "value": torch.tensor([[31.5], [-4.0]]),
    "label": torch.tensor([[2.0], [7.0]]),
}
MAY_BE = {
    "logits": {"logits", "multi_label_logit", "value"},
    "probabilities": {"probabilities", "top_k"},
    "log_probabilities": {"log_probabilities", "logits", "value"},
    "multi_label": {"multi_label", "value"},
    "binary": {"binary", "binary_logit", "value"},
    "value": {"value", "binary_logit"},
    "label": {"label", "value", "binary_logit"},
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_numbers_look_like_the_kind_that_they_are(kind):
    kinds, proposal = likeness(ANSWERS[kind])
    assert kinds[0] == kind
    assert set(kinds) == MAY_BE.get(kind, {kind})
    assert f"say scores='{kind}' (--scores, means:)" in proposal
    assert set(kinds) <= set(SCORE_KINDS)


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        (ANSWERS["probabilities"].double().round(decimals=2), "probabilities"),
        ((100 * LOGITS.softmax(1)).round(), "percent"),
        (torch.full((2, 1000), 0.00058), "multi_label"),
        (torch.tensor([[0.3, 0.7], [0.3, 0.6]]), "multi_label"),
        (torch.tensor([[1.0], [0.0]]), "binary"),
        (torch.tensor([[0.0, -200.0], [float("-inf"), 0.0]]), "log_probabilities"),
    ],
)
def test_rounded_and_extreme_numbers(rows, kind):
    assert likeness(rows).kinds[0] == kind


@pytest.mark.parametrize("kind", [each for each in ANSWERS if each not in ("label", "top_k")])
@pytest.mark.parametrize("declared", [each for each in SCORE_KINDS if each not in ("label", "top_k")])
def test_a_refusal_proposes_a_kind_that_is_accepted(kind, declared):
    rows = ANSWERS[kind]
    answer = rows[:, 0] if declared in ONE_NUMBER and rows.shape[1] == 1 else rows
    refusal = refused(answer, declared)
    if rows.shape[1] > 1 and declared in ONE_NUMBER:
        assert refusal.endswith("for 2 images; it must be (2,)")
    elif refusal:
        assert re.search("say scores='(.*?)'", refusal)[1] == kind
        assert not refused(answer, kind)


def refused(answer, declared, **options):
    """The sentence with which an answer is refused. It is empty if the answer is accepted."""
    try:
        BlackBox(lambda images: answer, declared, **options)(torch.zeros(2, 1, 2, 2))
    except ValueError as error:
        return str(error)
    return ""


DIVIDE = "if they are percent, divide them by 100 (percent: true) and say scores="


@pytest.mark.parametrize(
    ("answer", "declared", "proposed"),
    [
        (torch.tensor([55.5, 20.0]), "binary", "binary"),
        (torch.tensor([55.0, 20.0]), "binary", "binary"),
        (torch.tensor([[55.5, 80.0, 3.0], [20.0, 0.0, 91.0]]), "multi_label", "multi_label"),
        (torch.tensor([[60.0, NAN, 30.0], [NAN, 0.5, 0.2]]), "top_k", "top_k"),
    ],
)
def test_what_may_be_percent_is_refused_with_a_way_out(answer, declared, proposed):
    divided = BlackBox(lambda images: answer / 100, proposed, num_classes=max(2, len(answer.shape) + 1))
    assert f"{DIVIDE}'{proposed}'" in refused(answer, declared, num_classes=divided.num_classes)
    assert divided(torch.zeros(2, 1, 2, 2)).isfinite().all()
    assert DIVIDE not in refused(2 * answer, declared, num_classes=divided.num_classes)
    assert DIVIDE not in refused(-answer, declared, num_classes=divided.num_classes)


@pytest.mark.parametrize(("share", "declared"), [(0.058, "percent"), (0.00058, "probabilities")])
def test_rounded_scores_of_many_classes_are_refused_with_a_way_out(share, declared):
    rows = torch.full((2, 1000), share)
    rows[:, 0] *= 40
    way = "divide each row by its sum and say scores='probabilities'"
    assert refused(rows, declared).endswith(way)
    assert not refused(rows / rows.sum(1, keepdim=True), "probabilities")


def test_percent_of_many_classes_is_percent_though_each_is_below_1():
    assert likeness(torch.full((2, 1000), 0.1)).kinds == ("percent",)


def test_percent_is_a_kind_of_scores():
    images = torch.zeros(2, 1, 2, 2)
    found = BlackBox(lambda images: ANSWERS["percent"], "percent")(images)
    torch.testing.assert_close(found, LOGITS.log_softmax(1))
    with pytest.raises(ValueError) as caught:
        BlackBox(lambda images: ANSWERS["probabilities"], "percent")(images)
    assert str(caught.value) == (
        "the black box was declared to answer percent, but a row lies in [0.03911, 0.7856] and sums to 1; each row "
        "lies in [0, 1] and sums to 1: say scores='probabilities' (--scores, means:)"
    )


def test_a_description_may_mean_percent():
    fields = {"url": "http://x/", "body": ["{image}"]}
    assert endpoint_black_box(EndpointDescription(**fields, means="percent")).scores == "percent"
    with pytest.raises(ValueError, match="percent is for probabilities"):
        EndpointDescription(**fields, means="percent", percent=True)


MODEL = """\
import torch

def logits(images):
    light = images.mean(dim=(1, 2, 3))
    return torch.stack([3 * light, -light, light - 1], dim=1)

def probabilities(images):
    return logits(images).softmax(1)

def percent(images):
    return 100 * probabilities(images)

def labels(images):
    return logits(images).sigmoid()

def one(images):
    return images.mean(dim=(1, 2, 3))

def age(images):
    return 10 + 50.5 * images.mean(dim=(1, 2, 3))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"))
    (tmp_path / "odd.py").write_text(MODEL)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "declared", "line"),
    [
        ("logits", "logits", "the numbers look like logits, as declared"),
        ("logits", "value", "the numbers look like value, as declared"),
        (
            "probabilities",
            "logits",
            "the numbers do NOT look like logits: each row lies in [0, 1] and sums to 1: say scores='probabilities' "
            "(--scores, means:)",
        ),
        (
            "percent",
            "logits",
            "the numbers do NOT look like logits: each row sums to about 100, like percent: say scores='percent' "
            "(--scores, means:)",
        ),
        (
            "labels",
            "logits",
            "the numbers do NOT look like logits: they lie in [0, 1] and do not sum to 1, like independent labels, "
            "each with a sigmoid: say scores='multi_label' (--scores, means:); if they are rounded "
            "probabilities or percent, divide each row by its sum and say scores='probabilities'",
        ),
        ("one", "binary", "the numbers look like binary, as declared"),
        ("age", "value", "the numbers look like value, as declared"),
    ],
)
def test_probe_proposes_the_kind_of_scores_and_says_why(place, capsys, name, declared, line):
    assert main(["probe", "pics", "--model", f"odd.py:{name}", "--scores", declared]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert line in printed
    assert "queries: 3" in printed


@pytest.mark.parametrize(
    ("name", "declared", "begins"),
    [
        ("logits", "logits", ""),
        ("labels", "multi_label", ""),
        ("probabilities", "logits", "each row lies in [0, 1] and sums to 1: say scores='probabilities'"),
        ("percent", "logits", "each row sums to about 100, like percent: say scores='percent'"),
        ("labels", "logits", "they lie in [0, 1] and do not sum to 1, like independent labels"),
    ],
)
def test_the_first_answers_of_a_job_say_once_that_they_do_not_look_as_declared(place, capsys, name, declared, begins):
    tiny.make_pipeline(place / "pipe")
    (place / "tiny.yaml").write_text(tiny.CONFIG)
    job = ["--model", f"odd.py:{name}", "--scores", declared, "--denoiser", "pipe", "--config", "tiny.yaml"]
    assert main(["attribute", "pics", *job, "--out", "out"]) == 0
    printed = capsys.readouterr().err
    assert printed.count("NOT look like") == (1 if begins else 0)
    assert f"the numbers do NOT look like {declared}: {begins}" in printed or not begins
    assert printed.count(f"If {declared} is right, nothing is wrong") == (1 if begins else 0)
    assert main(["attribute", "pics", *job, "--out", "out"]) == 0  # nothing is left to ask
    assert "look like" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "declared", "proposed"),
    [
        ("percent", "probabilities", "percent"),
        ("labels", "probabilities", "multi_label"),
        ("logits", "probabilities", "logits"),
        ("one", "logits", "binary"),
        ("age", "logits", "value"),
        ("age", "binary", "value"),
    ],
)
def test_probe_proposes_another_kind_where_the_declared_one_is_refused(place, capsys, name, declared, proposed):
    assert main(["probe", "pics", "--model", f"odd.py:{name}", "--scores", declared]) == 2
    assert f"say scores='{proposed}' (--scores, means:)" in capsys.readouterr().err
    assert main(["probe", "pics", "--model", f"odd.py:{name}", "--scores", proposed]) == 0
    assert f"the numbers look like {proposed}, as declared" in capsys.readouterr().out


def test_two_sigmoids_that_sum_to_one_at_first_are_refused_as_soon_as_they_do_not():
    """The images before were answered as declared, and are counted."""
    slopes = torch.tensor([[4.0, -4.0], [1.0, 3.0]])

    def two_labels(images):
        return (images.flatten(1)[:, :2] @ slopes - torch.tensor([2.0, -2.0])).sigmoid()

    black_box = BlackBox(two_labels, "probabilities")
    first, second = torch.zeros(2, 1, 1, 2)
    first[..., 0], second[..., 1] = 0.5, 1.0
    assert black_box(first[None]).exp().sum().item() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"like independent labels.*say scores='multi_label'"):
        black_box(second[None])
    assert black_box.queries == 2
