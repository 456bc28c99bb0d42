from __future__ import annotations

import json
import re
from dataclasses import replace

import misbehaving_server
import pytest
import tiny
import torch
from diffusers import DDPMScheduler
from plane import SEARCH, Linear, make
from safetensors import safe_open
from safetensors.torch import save_file

from freemcg import BlackBox, Denoiser, FreeMCG
from freemcg.blackbox import QueryCache, Receipt
from freemcg.blackbox.cache import image_key
from freemcg.blackbox.replayed import ReplayedBlackBox
from freemcg.commands.app import main
from freemcg.gradient.objective import log_odds
from freemcg.jobs.replay import differences, replay

NAN = float("nan")


class Noisy:
    """Answers in float64, and never gives the same answer twice."""

    identity = "noisy"

    def __init__(self, scores="logits"):
        self.scores, self.inner, self.generator = scores, Linear().double().eval(), torch.Generator().manual_seed(5)

    def __call__(self, images):
        logits = self.inner(images.double()).detach()
        logits += 0.1 * torch.randn(logits.shape, generator=self.generator, dtype=torch.double)
        if self.scores == "label":
            return logits.argmax(dim=1)
        if self.scores == "top_k":
            best = logits.softmax(dim=1).topk(2)
            return best.indices, best.values
        return {"logits": logits, "probabilities": logits.softmax(dim=1)}.get(self.scores, logits.log_softmax(dim=1))


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


def made(explainer, task, image, path):
    """A result and its receipt, after both were written and read again."""
    with explainer.black_box.recording() as receipt:
        result = explainer.explain(image) if task == "attribution" else explainer.counterfactual(image)
    result = type(result).load(result.save(path / "result.safetensors"))
    return result, Receipt.load(receipt.save(path / "receipt.safetensors"))


def noisy(denoiser, scores="logits", **options):
    search = SEARCH.model_copy(update={"queries": 60}) if scores == "label" else SEARCH  # 32 look for the runner-up
    settings = {"particles": 64, "queries": 17, "search": search}
    return FreeMCG(BlackBox(Noisy(scores), scores, num_classes=3, **options), denoiser, **settings)


def test_it_holds_every_question_in_order_as_received(image):
    black_box = BlackBox(Noisy(), batch_size=2, eight_bit=True)
    images = torch.stack([image, 1 - image, image])
    with black_box.recording() as receipt:
        black_box(images)
        black_box(images[1:2])
    twin = Noisy()
    first, second = receipt.questions
    rounded = (images * 255).round() / 255
    assert first.keys == tuple(image_key(each) for each in rounded)
    assert second.keys == first.keys[1:2]
    rows = torch.cat([twin(rounded[:2]), twin(rounded[2:])])
    assert torch.equal(torch.stack([first.answers[index] for index in range(3)]), rows)
    assert torch.equal(second.answers[0], twin(rounded[1:2])[0])
    assert (first.charged, second.charged) == (3, 1)
    black_box(images)
    assert len(receipt.questions) == 2


def test_it_is_read_as_it_was_written(tmp_path):
    receipt = Receipt({"scores": "top_k", "identity": "m"}, 7)
    row = torch.tensor([0.1, NAN, 1e-300], dtype=torch.double)
    receipt.add([b"a" * 20, b"b" * 20], {1: row}, 5)
    receipt.add([b"c" * 20], {}, 0)
    found = Receipt.load(receipt.save(tmp_path / "receipt.safetensors"))
    assert (found.black_box, found.remaining) == (receipt.black_box, 7)
    assert [each.keys for each in found.questions] == [(b"a" * 20, b"b" * 20), (b"c" * 20,)]
    assert [each.charged for each in found.questions] == [5, 0]
    assert [list(each.answers) for each in found.questions] == [[1], []]
    assert torch.equal(found.questions[0].answers[1].nan_to_num(-1), row.nan_to_num(-1))
    assert [path.name for path in tmp_path.iterdir()] == ["receipt.safetensors"]


def test_what_is_no_receipt_is_refused(tmp_path, classifier, denoiser, image):
    path = make(classifier, denoiser).explain(image).save(tmp_path / "result.safetensors")
    with raises(ValueError, f"{path} is no receipt"):
        Receipt.load(path)
    path = tmp_path / "none.safetensors"
    with raises(FileNotFoundError, f"there is no receipt {path}"):
        Receipt.load(path)
    path.write_text("something else")
    with pytest.raises(ValueError, match=r"none\.safetensors is not a saved receipt \("):
        Receipt.load(path)


@pytest.mark.parametrize("held", [None, "{}", "[", '{"black_box": {}, "remaining": null}'])
def test_a_receipt_of_another_version_is_refused_with_the_file(held, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.zeros(1)}, path, metadata={"kind": "Receipt"} | ({} if held is None else {"receipt": held}))
    with pytest.raises(ValueError, match=rf"^{re.escape(str(path))} does not hold what a receipt keeps \("):
        Receipt.load(path)


@pytest.mark.parametrize("scores", ["logits", "probabilities", "log_probabilities", "top_k", "label"])
@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
def test_a_replay_is_equal_to_the_last_bit_and_asks_nobody(denoiser, image, tmp_path, task, scores):
    explainer = noisy(denoiser, scores)
    result, receipt = made(explainer, task, image, tmp_path)
    spent = explainer.black_box.queries
    again = replay(result, receipt, denoiser)
    assert differences(result, again) == []
    assert explainer.black_box.queries == spent
    other, _ = made(explainer, task, image, tmp_path)
    assert other.status != "complete" or "log_probabilities" in differences(result, other) or scores == "label"


def test_answers_from_the_cache_are_in_it(denoiser, image, tmp_path):
    """Some answers are new and some are known. The model never repeats one, so each must be the one that was used."""
    cache = QueryCache(tmp_path / "answers.sqlite")
    with torch.no_grad():
        noisy(denoiser, cache=cache, budget=9).explain(image)
    explainer = noisy(denoiser, cache=cache)
    result, receipt = made(explainer, "attribution", image, tmp_path)
    assert explainer.black_box.cached == 9
    assert sum(each.charged for each in receipt.questions) == 8
    assert sum(len(each.answers) for each in receipt.questions) == 17
    assert differences(result, replay(result, receipt, denoiser)) == []


@pytest.mark.parametrize("budget", [2, 6, 9, 13, 16])
@pytest.mark.parametrize("task", ["attribution", "counterfactual"])
def test_a_budget_ends_where_it_ended(denoiser, image, tmp_path, task, budget):
    explainer = noisy(denoiser, budget=3 + budget)
    explainer.black_box(image[None].expand(3, -1, -1, -1))
    result, receipt = made(explainer, task, image, tmp_path)
    assert receipt.remaining == budget
    assert differences(result, replay(result, receipt, denoiser)) == []


def test_preparation_and_settings_come_from_the_files(denoiser, image, tmp_path):
    box = BlackBox(
        lambda x: torch.stack([x.mean((1, 2, 3)), x[:, 0, 0, 0], x[:, 2, 0, 3]], dim=1),
        image_size=(6, 8),
        channels=3,
        mean=[0.4, 0.5, 0.6],
        std=[0.2, 0.3, 0.4],
        eight_bit=True,
        class_names=["a", "b", "c"],
    )
    explainer = FreeMCG(box, denoiser, queries=13, noise=(0.1, 0.3), seed=4, tolerance=0.3, objective="margin")
    result, receipt = made(explainer, "attribution", image, tmp_path)
    assert differences(result, replay(result, receipt, denoiser)) == []


def test_an_image_of_the_size_that_is_wanted_is_not_resized(image):
    black_box = BlackBox(Noisy(), image_size=4)
    with black_box.recording() as receipt:
        wanted = black_box(image[None])
    receipt.black_box = json.loads(json.dumps(receipt.black_box))
    again = ReplayedBlackBox(receipt)
    assert again.image_size == (4, 4)
    assert torch.equal(again(image[None]), wanted)


def test_another_answer_makes_another_result(denoiser, image, tmp_path):
    result, receipt = made(noisy(denoiser), "attribution", image, tmp_path)
    last = receipt.questions[-1].answers
    last[0] = last[0] + torch.tensor([1e-3, 0, 0])
    fields = ["values", "standard_error", "error_parts", "projected_error"]  # a particle was asked about last
    assert differences(result, replay(result, receipt, denoiser)) == fields


def test_what_an_older_result_does_not_hold_is_no_difference(denoiser, image):
    result = make(Linear().eval(), denoiser).explain(image)
    older = replace(result, projected_gradient=None, projected_error=None)
    assert differences(older, result) == []
    assert differences(result, older) == ["projected_gradient", "projected_error"]


def test_what_the_receipt_does_not_hold_is_said_in_one_sentence(denoiser, gaussian_network, image, tmp_path):
    result, receipt = made(noisy(denoiser), "attribution", image, tmp_path)
    advice = "; replay with the versions, the denoiser and the device that made the receipt"
    other = replace(result, image=1 - result.image)
    sentence = "the receipt does not hold question 1: that has 1 images, and the receipt has 1 other images"
    with raises(ValueError, f"{sentence} in its place{advice}"):
        replay(other, receipt, denoiser)
    kept = receipt.questions.pop()
    sentence = "the receipt does not hold question 3: that has 5 images, and the receipt has nothing"
    with raises(ValueError, f"{sentence} in its place{advice}"):
        replay(result, receipt, denoiser)
    receipt.questions += [kept, kept]
    with raises(ValueError, "the receipt holds 1 more questions than were asked"):
        replay(result, receipt, denoiser)
    named = {**result.record, "settings": {**result.record["settings"], "objective": "mine.objective"}}
    with raises(ValueError, "the objective mine.objective is a function that no result can hold; replay by hand"):
        replay(replace(result, record=named), receipt, denoiser)
    denoiser.unet.mean += 1e-3
    changed = Denoiser(denoiser.unet, DDPMScheduler())
    name = "GaussianNetwork"
    sentence = (
        f"the result was made with the denoiser {name}; {name} has other weights, another schedule or another condition"
    )
    with raises(ValueError, sentence):
        replay(result, receipt, changed)


def test_by_hand_with_an_objective_of_ones_own(denoiser, image):
    box = BlackBox(Noisy())
    with box.recording() as receipt:
        result = FreeMCG(box, denoiser, queries=9, objective=lambda p, t: 2 * log_odds(p, t)).explain(image)
    again = FreeMCG(ReplayedBlackBox(receipt), denoiser, queries=9, objective=lambda p, t: 2 * log_odds(p, t))
    assert torch.equal(again.explain(image).values, result.values)


ENDPOINT = """\
url: {url}
body: {{images: ["{{image}}"]}}
answer: probabilities
means: probabilities
class_names: [low, middle, high]
batch_size: 4
"""


@pytest.mark.parametrize("task", ["attribute", "counterfactual"])
def test_a_folder_of_results_is_replayed_without_the_model(pipeline, tmp_path, monkeypatch, capsys, task):
    monkeypatch.chdir(tiny.make_place(tmp_path, ("a.png", "deep/b.png")).resolve())
    options = ["--out", "out", "--denoiser", str(pipeline), "--config", "tiny.yaml"]
    with misbehaving_server.running() as server:
        (tmp_path / "mine.yaml").write_text(ENDPOINT.format(url=server.url("replay", "ok+status=500+ok+jumble=0.05")))
        assert main([task, "pics", "--model", "mine.yaml", *options]) == 0
    capsys.readouterr()
    assert main(["replay", "out"]) == 0
    assert capsys.readouterr().out == "out/a: equal to the last digit\nout/deep/b: equal to the last digit\n"

    for name in ("a", "deep/b"):
        spent = json.loads((tmp_path / "out" / name / "record.json").read_text())["spent"]
        with safe_open(tmp_path / "out" / name / "receipt.safetensors", framework="pt") as stored:
            keys, questions = stored.get_tensor("keys"), stored.get_tensor("questions")
        assert len(keys) == spent["answered"] + spent["from the cache"] == questions[:, 0].sum()
        assert questions[:, 1].sum() == spent["sent"]
        assert (tmp_path / "out" / name / "receipt.safetensors").stat().st_size < 8192

    receipt = Receipt.load("out/a/receipt.safetensors")
    receipt.questions[0].answers[0] += torch.tensor([1e-5, 0, -1e-5])
    receipt.save("out/a/receipt.safetensors")
    assert main(["replay", "out/a"]) == 1
    field = "log_probabilities" if task == "attribute" else "original_log_probabilities"
    assert capsys.readouterr().out == f"out/a: DIFFERENT in {field}\n"
    (tmp_path / "out" / "a" / "receipt.safetensors").unlink()
    assert main(["replay", "out"]) == 2
    assert capsys.readouterr() == (
        "out/deep/b: equal to the last digit\n",
        "out/a: cannot be replayed: there is no receipt out/a/receipt.safetensors\n",
    )
    result = tmp_path / "out" / "a" / "result.safetensors"
    result.write_bytes(result.read_bytes()[:50])
    assert main(["replay", "out"]) == 2
    said = capsys.readouterr()
    assert said.out == "out/deep/b: equal to the last digit\n"
    assert said.err.startswith("out/a: cannot be replayed: out/a/result.safetensors")
    assert main(["replay", "pics"]) == 2
    advice = "give a folder that attribute, counterfactual or demo wrote"
    assert capsys.readouterr().err == f"freemcg: pics holds no result.safetensors; {advice}\n"


def test_a_local_model_has_receipts_too(pipeline, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tiny.make_place(tmp_path, ("a.png",)))
    options = ["--out", "out", "--denoiser", str(pipeline), "--config", "tiny.yaml", "--device", "cpu"]
    assert main(["attribute", "pics", "--model", "mine.py:brighter_right", *options]) == 0
    (tmp_path / "mine.py").unlink()
    capsys.readouterr()
    assert main(["replay", "out", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "out/a: equal to the last digit\n"
