"""If nothing else tells a changed model, a start that finds results asks about one of their images again."""

from __future__ import annotations

import re
import sys
from functools import partial

import pytest
import tiny
import torch
from folders import run_job
from plane import Linear
from torch import nn

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.comparison.run import compare
from freemcg.files.images import read_image, write_image
from freemcg.identity.network import identity
from freemcg.identity.source import source
from freemcg.messages.errors import InvalidValue
from freemcg.models.load import load_black_box
from freemcg.models.python_file import load_attribute

SEARCH = {"queries": 12, "particles": 2, "steps": 4, "refresh": 2, "unpaid": 8, "strength": 0.5}
EACH = 9


class Predict:
    """A callable whose weights are hidden, as those of a served model. It remembers what it was asked."""

    def __init__(self, classes=3, noise=0.0):
        self.weights = torch.linspace(-3, 3, 64 * classes).reshape(64, classes)
        self.noise, self.asked = noise, 0

    def __call__(self, images):
        self.asked += len(images)
        return images.mean(dim=1).flatten(1) @ self.weights + self.noise * torch.randn(len(images), 1) * self.weights[0]


@pytest.fixture(scope="module")
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline)


@pytest.fixture
def start(denoiser, tmp_path):
    images = tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"))

    def run(black_box, task="attribution", **settings):
        settings = {"particles": 12, "queries": 9, "noise": 0.3, "search": SEARCH, **settings}
        explainer = FreeMCG(black_box, denoiser, **settings)
        return run_job(explainer, images, tmp_path / "out", task=task)

    return run


def raises(message):
    return pytest.raises(InvalidValue, match=f"^{re.escape(message)}$")


def refusal(out, why):
    return (
        f"a.png was asked again, and the model answers otherwise than when the results in {out} were made ({why}); "
        "give another --out, or delete it to start anew"
    )


@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
@pytest.mark.parametrize("pending", [False, True])
def test_a_model_retrained_behind_a_callable_is_noticed_before_anything_is_called_done(
    start, tmp_path, capsys, task, pending
):
    start(BlackBox(Predict()), task)
    if pending:
        (tmp_path / "out" / "b" / "result.safetensors").unlink()
    capsys.readouterr()
    retrained = Predict()
    retrained.weights = retrained.weights.flip(1)
    black_box = BlackBox(retrained)
    with pytest.raises(InvalidValue) as caught:
        start(black_box, task)
    words = refusal(tmp_path / "out", "a probability differs by 0.NN; queries: 4")
    assert re.sub(r"0\.\d+", "0.NN", str(caught.value)) == words
    assert (retrained.asked, black_box.queries) == (4, 4)
    assert "done before: 2" not in capsys.readouterr().err


def test_a_model_that_answers_as_it_did_costs_one_query_and_a_line(start, capsys):
    start(BlackBox(Predict()))
    capsys.readouterr()
    again = Predict()
    assert len(start(BlackBox(again))) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "asked a.png again, which was done before: the model answers as it did; queries: 1"
    assert said[1] == "images: 2; done before: 2; to do: 0, at most 9 queries each"
    assert again.asked == 1


def test_nothing_is_asked_where_nothing_is_done_or_the_identity_tells_all(start, capsys):
    class Named(Predict):
        identity = "weights of Monday"

    first = BlackBox(Named())
    start(first)
    assert first.queries == 2 * EACH
    second = BlackBox(Named())
    start(second)
    assert second.queries == 0
    assert "asked again" not in capsys.readouterr().err
    assert BlackBox(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()).identity_is_whole
    assert not BlackBox(Linear().eval()).identity_is_whole
    assert not BlackBox(Named(), may_change=True).identity_is_whole
    assert not BlackBox(Predict()).identity_is_whole


def test_a_model_that_does_not_repeat_itself_is_not_taken_for_another(start, capsys):
    torch.manual_seed(0)
    start(BlackBox(Predict(noise=0.01)))
    again = Predict(noise=0.01)
    assert len(start(BlackBox(again))) == 2
    assert again.asked == 4
    words = r"the model answers as it did but for its noise \(a probability differs by .*\); queries: 4\n"
    assert re.search(words, capsys.readouterr().err)


def test_a_budget_of_nothing_asks_nothing_and_says_so(start, tmp_path, capsys):
    start(BlackBox(Predict()))
    assert len(start(BlackBox(Predict(), budget=0))) == 2
    said = f"the budget holds no query to ask whether the model still answers as when {tmp_path / 'out'} was made\n"
    assert said in capsys.readouterr().err


def test_another_number_of_classes_is_another_model(start, tmp_path):
    start(BlackBox(Predict()))
    other = Predict(classes=4)
    with raises(refusal(tmp_path / "out", "the black box answered 4 classes; it has 3")):
        start(BlackBox(other))
    assert other.asked == 1


@pytest.mark.parametrize(
    ("then", "now", "sentence"),
    [
        ({}, {"mean": 0.5, "std": 0.5}, "another mean (None then, 0.5 now)"),
        ({"mean": 0.5, "std": 0.5}, {"mean": 0.5, "std": 0.4}, "another std (0.5 then, 0.4 now)"),
        ({}, {"channels": 3}, "another channels (None then, 3 now)"),
        ({}, {"eight_bit": True}, "another eight_bit (False then, True now)"),
        ({}, {"image_size": 16}, "another image_size (None then, [16, 16] now)"),
        ({}, {"num_classes": 3}, "another num_classes (None then, 3 now)"),
        ({}, {"may_change": True}, "another may_change (False then, True now)"),
        ({}, {"class_names": ["a", "b", "c"]}, "another class_names (None then, ['a', 'b', 'c'] now)"),
        ({}, {"scores": "probabilities"}, "another scores (logits then, probabilities now)"),
    ],
)
def test_all_that_results_depend_on_must_agree_before_the_first_query(start, then, now, sentence):
    start(BlackBox(Predict(), **then))
    other = Predict()
    with pytest.raises(InvalidValue, match=re.escape(sentence)):
        start(BlackBox(other, **now))
    assert other.asked == 0


def test_another_objective_of_the_same_name_is_another(start):
    first = lambda answers, target: answers[:, target]  # noqa: E731
    other = lambda answers, target: 2 * answers[:, target]  # noqa: E731
    start(BlackBox(Predict()), objective=first)
    asked = Predict()
    with pytest.raises(InvalidValue, match=r"another objective \(test_unchanged\..*<lambda>:[0-9a-f]{16} then, "):
        start(BlackBox(asked), objective=other)
    assert asked.asked == 0


def test_classes_that_an_answer_told_are_not_taken_for_declared_ones(start):
    black_box = BlackBox(Predict())
    start(black_box)
    assert black_box.num_classes == 3
    assert len(start(black_box)) == 2


MINE = """\
import functools
import torch

def predict(images):
    return images.flatten(1)[:, :3] * {scale}

def decorated(images):
    return predict(images)
decorated = torch.no_grad()(decorated)

small, large = (lambda images: predict(images) * 2), (lambda images: predict(images) * 3)
other = lambda images: predict(images) * 4
half = functools.partial(predict)

class Model:
    def __call__(self, images):
        return predict(images)
    def ask(self, images):
        return predict(images)

class Net(torch.nn.Module):
    def forward(self, images):
        return predict(images)

model = Model()
ask = model.ask
net = Net().eval()
"""


@pytest.mark.parametrize("name", ["predict", "decorated", "other", "half", "model", "ask", "net"])
def test_a_callable_from_a_file_is_known_by_what_is_in_it(tmp_path, name):
    for folder, scale in (("one", 1), ("same", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(MINE.format(scale=scale))
    one, same, two = (load_black_box(f"{tmp_path / each}/mine.py:{name}").identity for each in ("one", "same", "two"))
    assert one == same != two
    assert re.fullmatch(r"[\w.<>]+(:[0-9a-f]{16})+", one)
    assert one.split(":")[0] == two.split(":")[0]
    edited = load_black_box(f"{tmp_path}/one/mine.py:{name}")
    (tmp_path / "one" / "mine.py").write_text(MINE.format(scale=2))
    assert edited.identity == one  # the process goes on with the code that it read
    assert load_black_box(f"{tmp_path}/one/mine.py:{name}").identity == two


def test_two_lambdas_of_a_file_are_two(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(scale=1))
    small, other = (load_attribute(tmp_path / "mine.py", name) for name in ("small", "other"))
    assert identity(small) == identity(other) == "mine.<lambda>"
    assert source(small) != source(other)


def test_what_a_partial_holds_counts_and_is_not_shown():
    def scaled(images, key, factor):
        return images

    one, same, other = (identity(partial(scaled, "sk-secret", factor=factor)) for factor in (1, 1, 2))
    assert one == same != other
    assert "secret" not in one
    first, second = (identity(partial(scaled, Linear(scale))) for scale in (6.0, 7.0))
    assert first != second


def test_what_a_library_holds_has_no_source():
    assert source(torch.relu) == source(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) == ""
    namespace = {}
    exec("def predict(images):\n    return images\n", namespace)
    assert source(namespace["predict"]) == ""


def test_an_edited_file_is_refused_before_the_first_query(denoiser, tmp_path, monkeypatch):
    place = tiny.make_place(tmp_path, ("a.png",))

    def run():
        explainer = FreeMCG(load_black_box(f"{place}/mine.py:brighter_right"), denoiser, particles=12, queries=9)
        return run_job(explainer, place / "pics", place / "out", task="attribution")

    run()
    (place / "mine.py").write_text(tiny.MODEL.replace("-light", "-2 * light"))
    words = r"another black box \(mine\.brighter_right:[0-9a-f]{16} then, mine\.brighter_right:[0-9a-f]{16} now\)"
    with pytest.raises(InvalidValue, match=words):
        run()
    assert tiny.asked(place) == [EACH]
    (place / "mine.py").write_text(tiny.MODEL)
    (place / "neighbour.py").write_text(tiny.NEIGHBOUR.replace("-3, 3", "3, -3"))
    monkeypatch.delitem(sys.modules, "neighbour")  # put back after the test
    with pytest.raises(InvalidValue, match=r"^a\.png was asked again, and the model answers otherwise"):
        run()
    assert tiny.asked(place) == [EACH + 4]


@pytest.fixture
def comparing(denoiser, tmp_path):
    tiny.make_pictures(tmp_path / "pics", ("a.png", "b.png"))

    def run(predict):
        explainer = FreeMCG(BlackBox(predict), denoiser, particles=12, queries=9)
        images = {name: read_image(tmp_path / "pics" / f"{name}.png", channels=1) for name in ("a", "b")}
        return compare(explainer, images, tmp_path / "out", methods=["rise"], steps=4)

    return run


def test_a_comparison_asks_again_too(comparing, tmp_path):
    first, again, retrained = Predict(), Predict(), Predict()
    comparing(first)
    comparing(again)
    assert again.asked == 1
    retrained.weights = retrained.weights.flip(1)
    with pytest.raises(
        InvalidValue, match=r"^a was asked again, and the model answers otherwise than when the results"
    ):
        comparing(retrained)
    assert retrained.asked == 4


def test_a_comparison_makes_the_maps_of_a_changed_picture_again(comparing, tmp_path):
    first, second = Predict(), Predict()
    comparing(first)
    write_image(1 - read_image(tmp_path / "pics" / "b.png", channels=1), tmp_path / "pics" / "b.png")
    comparing(second)
    assert second.asked == 1 + first.asked // 2
