"""Counterfactuals of other methods from the command line: the same results as from Python, kept as those of any job."""

from __future__ import annotations

import re

import pytest
import tiny
import torch

from baselines import DVCE, Adversarial, DiffusionGuided, NearestImage, PixelSearch
from freemcg.blackbox import BlackBox
from freemcg.blackbox.receipt import Receipt
from freemcg.commands.app import main
from freemcg.comparison.searches import WithOtherSearch
from freemcg.files.images import read_for
from freemcg.files.listing import list_images
from freemcg.models.load import load_black_box, load_denoiser
from freemcg.results import Counterfactual

NETWORK = """

torch.manual_seed(1)
network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval().requires_grad_(False)
network[1].weight *= 4


def label(images):
    return network(images).argmax(dim=1)
"""
METHODS = {
    "pixel_search": (PixelSearch, ["--queries", "14"], {"queries": 14}),
    "nearest_image": (NearestImage, ["--queries", "4", "--references", "known"], {"queries": 4}),
    "adversarial": (Adversarial, [], {}),
    "dvce": (DVCE, ["--config", "tiny.yaml"], {"steps": 4}),
    "diffusion_guided": (
        DiffusionGuided,
        ["--config", "tiny.yaml"],
        {"search": {"queries": 12, "particles": 2, "steps": 4, "refresh": 2, "unpaid": 8, "strength": 0.5}},
    ),
}


@pytest.fixture
def place(tmp_path, pipeline, monkeypatch):
    """A user's folder with pictures, known pictures, and the words of the command."""
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png", "b.png"))
    tiny.make_pictures(tmp_path / "known", tuple(f"{i}.png" for i in range(5)))
    (tmp_path / "mine.py").write_text(tiny.MODEL + NETWORK)
    return ["counterfactual", "pics", "--denoiser", str(pipeline), "--device", "cpu", "--seed", "3"]


@pytest.mark.parametrize("method", METHODS)
def test_a_folder_holds_what_the_method_finds_from_python_and_is_kept(place, tmp_path, capsys, method):
    kind, more, settings = METHODS[method]
    words = [*place, "--model", "mine.py:network", "--method", method, *more, "--out", "other"]
    assert main(words) == 0
    said = capsys.readouterr()
    box, denoiser = load_black_box("mine.py:network"), load_denoiser(place[3])
    if kind is NearestImage:
        settings["images"] = torch.stack([read_for(denoiser, path) for path in list_images(tmp_path / "known")])
    if kind is not DiffusionGuided:
        settings["confidence"] = 0.999
    search = kind(box.predict if kind.needs_weights else box, denoiser, seed=3, **settings)
    queries = 0
    for name in "ab":
        kept = Counterfactual.load(tmp_path / "other" / name / "result.safetensors")
        found = search.counterfactual(read_for(denoiser, tmp_path / "pics" / f"{name}.png"))
        torch.testing.assert_close(kept.image, found.image)
        assert (kept.queries, kept.target, kept.status) == (found.queries, found.target, found.status)
        assert kept.record["settings"]["search"]["method"] == method
        assert kept.record["settings"]["search"]["confidence"] == 0.999
        assert kept.record["black_box"] == box.identity
        assert kept.queries <= search.most == kept.record["settings"]["search"]["queries"]
        Receipt.load(tmp_path / "other" / name / "receipt.safetensors")
        queries += kept.queries
    assert f"to do: 2, at most {search.most} queries each" in said.err
    assert f"queries of this start: {queries} sent, {queries} answered" in said.out
    assert main(words) == 0
    assert "queries of this start: 0 sent" in capsys.readouterr().out
    assert main(["replay", "other", "--device", "cpu"]) == 2
    refusal = f"the result was made with --method {method}, and only FreeMCG's searches are replayed"
    assert capsys.readouterr().err.count(refusal) == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_says_what_the_job_says_before_its_first_query(place, tmp_path, capsys, method):
    words = ["--model", "mine.py:network", "--method", method, *METHODS[method][1]]
    plan = ["plan", "pics", "--task", "counterfactual", *words, "--price-per-1000", "10", "--latency", "1"]
    assert main(plan) == 0
    said = capsys.readouterr().out
    assert tiny.asked(tmp_path) == []
    assert main([*place, *words, "--out", "out"]) == 0
    each = int(re.search(r"to do: 2, at most (\d+) queries each", capsys.readouterr().err)[1])
    assert f"queries: at most {2 * each}, in {2 * each} requests\n" in said
    assert f"price: at most {2 * each / 100:.2f}" in said
    assert main([*plan, "--out", "out"]) == 0
    assert "images: 0\nqueries: at most 0, in 0 requests" in capsys.readouterr().out


def test_the_methods_folder_is_measured_beside_ours(place, capsys):
    words = [*place, "--model", "mine.py:network"]
    assert main([*words, "--config", "tiny.yaml", "--out", "ours"]) == 0
    assert main([*words, "--method", "pixel_search", "--queries", "14", "--out", "pixels"]) == 0
    capsys.readouterr()
    assert main(["measure", "ours", "pixels", "--cout", "3", "--model", "mine.py:network"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:3]] == ["ours", "pixels"]


def test_what_a_budget_cut_short_is_searched_again(place, tmp_path, capsys):
    words = [*place, "--model", "mine.py:brighter_right", "--method", "pixel_search", "--queries", "14", "--out", "out"]
    assert main([*words, "--budget", "17"]) == 1
    assert sum(tiny.asked(tmp_path)) <= 17
    assert main(words) == 0
    whole = [Counterfactual.load(tmp_path / "out" / name / "result.safetensors") for name in "ab"]
    assert main([*words[:-1], "fresh"]) == 0
    fresh = [Counterfactual.load(tmp_path / "fresh" / name / "result.safetensors") for name in "ab"]
    assert all(torch.equal(one.image, other.image) for one, other in zip(whole, fresh, strict=True))


def test_other_known_pictures_are_other_settings(place, tmp_path, capsys):
    words = [*place, "--model", "mine.py:network", "--method", "nearest_image", "--references", "known", "--out", "out"]
    assert main(words) == 0
    (tmp_path / "known" / "4.png").unlink()
    assert main(words) == 2
    assert re.search("out holds results made with another search|made with other settings", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--method", "adversarial"], "--method adversarial must differentiate a torch.nn.Module"),
        (
            ["--method", "diffusion_guided", "--model", "mine.py:network", "--budget", "9"],
            "--budget does not bound",
        ),
        (["--method", "adversarial", "--model", "mine.py:network", "--queries", "9"], "which --queries does not bound"),
        (
            ["--method", "nearest_image"],
            "--method nearest_image chooses among known pictures; give --references FOLDER",
        ),
        (["--method", "nearest_image", "--references", "nowhere"], "there is no picture or folder nowhere"),
        (["--method", "nearest_image", "--references", "spoilt"], "a reference cannot be read: spoilt/1.png"),
        (["--method", "nearest_image", "--references", "known", "--queries", "1"], "queries must be >= 2, got 1"),
        (["--method", "pixel_search", "--references", "known"], "are for --method nearest_image alone"),
        (["--method", "pixelsearch"], "there is no method 'pixelsearch'; did you mean 'pixel_search'?"),
        (["--method", "pixel_search", "--config", "paper"], "--config paper holds settings of FreeMCG"),
        (
            ["--method", "diffusion_guided", "--model", "mine.py:network", "--config", "paper"],
            "--method diffusion_guided has no paper search; leave out search.method",
        ),
        (["--method", "pixel_search", "--queries", "3"], "queries must be >= 5"),
        (
            ["--method", "pixel_search", "--model", "mine.py:label", "--scores", "label", "--num-classes", "3"],
            "a model that answers only a label hides its runner-up; name the class with --target",
        ),
        (
            ["--method", "pixel_search", "--scores", "multi_label"],
            "--method pixel_search searches for classes, and this model answers multi_label",
        ),
    ],
)
def test_what_a_method_cannot_do_is_refused_before_the_first_query(place, tmp_path, capsys, words, sentence):
    tiny.make_pictures(tmp_path / "spoilt", ("0.png", "1.png"))
    (tmp_path / "spoilt" / "1.png").write_bytes(b"no picture")
    assert main([*place, "--model", "mine.py:brighter_right", *words, "--out", "out"]) == 2
    assert sentence in capsys.readouterr().err
    if not {"--budget", "label"} & set(words):  # a plan takes no budget and no target
        assert main(["plan", "pics", "--task", "counterfactual", "--model", "mine.py:brighter_right", *words]) == 2
        assert sentence in capsys.readouterr().err
    assert tiny.asked(tmp_path) == []


class Scaled(torch.nn.Sequential):
    """A network whose scale is no part of its state."""

    def forward(self, images):
        return super().forward(images) * vars(self).get("factor", lambda: 1.0)()


@pytest.mark.parametrize("method", ["adversarial", "diffusion_guided"])
def test_a_method_that_takes_gradients_knows_that_the_model_may_change(pipeline, method):
    layers = [torch.nn.Flatten(), torch.nn.Linear(64, 3)]
    plain, scaled = torch.nn.Sequential(*layers).eval(), Scaled(*layers).eval()
    scaled.factor = lambda: 2.0
    denoiser = load_denoiser(str(pipeline))
    for box, changes in (
        (BlackBox(plain), False),
        (BlackBox(plain, may_change=True), True),
        (BlackBox(scaled), True),  # its identity cannot tell every change
    ):
        asked = WithOtherSearch(box, denoiser, method, {}).black_box
        assert (asked.may_change, asked.identity) == (changes, box.identity)
        assert asked.identity_is_whole == (not changes)


@pytest.mark.parametrize("task", ["attribution", "comparison"])
def test_a_plan_of_another_task_takes_no_method(place, capsys, task):
    words = ["plan", "pics", "--task", task, "--method", "nearest_image", "--references", "known"]
    assert main(words) == 2
    sentence = "--method, --references: for counterfactuals; leave it out, or say --task counterfactual"
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("method", ["adversarial", "pixel_search"])
def test_a_method_without_steps_asks_about_none(pipeline, method):
    box = BlackBox(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3)).eval())
    with pytest.raises(ValueError, match=f"ask_path is for freemcg or diffusion_guided, got {method}"):
        WithOtherSearch(box, load_denoiser(str(pipeline)), method, {"ask_path": True})
    assert box.queries == 0
