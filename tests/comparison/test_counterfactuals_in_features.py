"""Counterfactuals in the features of a network, and before a judge: closed forms, costs and refusals."""

from __future__ import annotations

import csv

import pytest
import tiny
import torch
from explanations import make_counterfactual

from freemcg import BlackBox
from freemcg.commands.app import main
from freemcg.comparison.counterfactuals import measure_sides
from freemcg.comparison.embedded import embed
from freemcg.comparison.judge import check_judge, judged
from freemcg.evaluation import split_frechet_distance
from freemcg.files.images import write_image
from freemcg.models.features import Features
from freemcg.models.python_file import load_attribute

OTHERS = '''

def bright(images):
    """Two features: the means of the left and of the right half."""
    return torch.stack([images[..., :4].mean(dim=(1, 2, 3)), images[..., 4:].mean(dim=(1, 2, 3))], dim=1).numpy()


def flat(images):
    return images.mean(dim=(1, 2, 3))


def words(images):
    return ["a word"] * len(images)


def holes(images):
    return torch.full((len(images), 2), float("nan"))


class Trained(torch.nn.Module):
    def forward(self, images):
        return images.flatten(1)


trained = Trained()


def second(images):
    """Another classifier of the same three classes."""
    count(images)
    light = images.mean(dim=(1, 2, 3))
    return torch.stack([light, 1 - light, torch.zeros_like(light)], dim=1)


def of_two(images):
    return torch.zeros(len(images), 2)


named = BlackBox(second, class_names=["left", "right", "even"])
labels = BlackBox(second, "multi_label")
'''


def corners(images):
    """Three features: pixels of the first row."""
    return images[:, 0, 0, :3]


def side(images, shift=0.0, target=1):
    """A folder's counterfactuals: each image of `images`, a `shift` brighter in its first row."""
    moved = images.clone()
    moved[:, :, 0] += shift
    pairs = zip(images, moved, strict=True)
    return {str(i): make_counterfactual(original=x, image=y, target=target) for i, (x, y) in enumerate(pairs)}


def test_a_shift_of_the_features_costs_its_square_and_the_pictures_themselves_nothing(rng):
    images = torch.rand(12, 1, 4, 6, generator=rng) * 0.5
    sides = {"same": side(images), "moved": side(images, 0.25)}
    found = embed(sides, corners, images)
    assert found.length == 3
    assert found.distances["frechet"].tolist() == pytest.approx([0, 3 * 0.25**2], abs=1e-6)
    assert found.of_images["frechet"] == pytest.approx(0, abs=1e-6)
    wanted = [split_frechet_distance(corners(images), corners(images) + shift) for shift in (0, 0.25)]
    assert found.distances["split frechet"].tolist() == pytest.approx(wanted, rel=1e-5)
    assert found.of_images["split frechet"] == pytest.approx(wanted[0], rel=1e-5)
    before, after = corners(images).double(), corners(images).double() + 0.25
    cosines = (before * after).sum(dim=1) / (before.norm(dim=1) * after.norm(dim=1))
    torch.testing.assert_close(found.similarity, torch.stack([torch.ones(12).double(), cosines]), atol=1e-6, rtol=0)
    assert "frechet" not in embed(sides, corners, None).distances
    measured = measure_sides(sides, features=corners)
    assert torch.equal(measured.figures["similarity"], found.similarity)


def test_known_gaussians_are_as_far_apart_as_their_moments(rng):
    """Features x and a x + b: the distance is the square of the means', and `(a - 1)^2` times the variances' sum."""
    images = torch.rand(40, 1, 4, 6, generator=rng)
    wider = {str(i): make_counterfactual(original=x, image=0.5 * x + 0.3) for i, x in enumerate(images)}
    before = corners(images).double()
    shift = (0.5 * before + 0.3).mean(dim=0) - before.mean(dim=0)
    wanted = (shift.square().sum() + 0.5**2 * before.var(dim=0).sum()).item()
    assert embed({"wider": wider}, corners, images).distances["frechet"].item() == pytest.approx(wanted, rel=1e-5)


def test_the_judges_share_is_that_of_the_pictures_it_decides_so_and_costs_one_query_each(rng):
    images = torch.rand(10, 1, 4, 6, generator=rng)
    images[:, 0, 3, 5] = torch.tensor([1.0] * 7 + [0.0] * 3)

    def decides(asked):
        lit = (asked[:, 0, 3, 5] > 0.5).float()
        return torch.stack([1 - lit, lit, torch.zeros_like(lit)], dim=1)

    judge = BlackBox(decides)
    sides = {"lit": side(images), "dark": side(images, target=0)}
    check_judge(sides, judge)
    verdicts = judged(sides, judge)
    assert verdicts.tolist() == [[1.0] * 7 + [0.0] * 3, [0.0] * 7 + [1.0] * 3]
    assert judge.queries == 20
    assert torch.equal(measure_sides(sides, verdicts=verdicts).figures["judged"], verdicts)


def test_features_do_not_depend_on_the_batch_and_their_length_may_not_change(rng):
    images = torch.rand(5, 1, 4, 6, generator=rng)
    assert torch.equal(Features(corners, "corners", batch_size=2)(images), corners(images).double())
    growing = Features(lambda batch: torch.zeros(len(batch), len(batch)), "growing", batch_size=3)
    with pytest.raises(ValueError, match=r"growing answered \(2, 2\) for 2 images, and must answer features \(N, 3\)"):
        growing(images)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two folders of finished counterfactuals of four pictures, and files of models."""
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, tuple("abcd"[i] + ".png" for i in range(4)))
    (tmp_path / "mine.py").write_text(tiny.MODEL + OTHERS)
    images = torch.rand(4, 1, tiny.SIDE, tiny.SIDE, generator=torch.Generator().manual_seed(0)) * 0.5
    asked = BlackBox(load_attribute(tmp_path / "mine.py", "brighter_right"))
    record = {"class_names": ["right", "left", "even"], "black_box": asked.identity}
    for name, shift in (("one", 0.0), ("two", 0.3)):
        for key, result in side(images, shift).items():
            folder = tmp_path / name / key
            folder.mkdir(parents=True)
            make_counterfactual(image=result.image, original=result.original, record=record).save(
                folder / "result.safetensors"
            )
    return tmp_path


def test_the_command_says_the_judges_queries_and_writes_the_distances(place, capsys):
    words = ["--judge", "mine.py:second", "--features", "mine.py:bright", "--references", "pics"]
    before = sum(tiny.asked(place))
    assert main(["measure", "one", "two", *words, "--price-per-1000", "10", "--out", "figures"]) == 0
    assert sum(tiny.asked(place)) == before + 8
    said = capsys.readouterr()
    assert "judge: at most 8 queries, price 0.08" in said.err
    assert "queries of the judge: 8 sent, 8 answered" in said.out
    heads = " ".join(said.out.splitlines()[0].split())
    assert heads.endswith("nearest known similarity judged frechet split frechet")
    assert "of the pictures themselves: frechet " in said.out
    assert "biased upward alike, unless there are many more pictures than the 2 features" in said.out
    with (place / "figures" / "folders.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["folder"] for row in rows] == ["one", "two"]
    assert float(rows[1]["frechet"]) != float(rows[0]["frechet"])
    with (place / "figures" / "counterfactuals.csv").open(newline="") as stream:
        assert [float(row["judged"]) for row in csv.DictReader(stream)] == [1.0] * 8


def test_one_budget_holds_for_the_judge_and_the_model(place, capsys):
    words = ["measure", "one", "--judge", "mine.py:second", "--cout", "2", "--model", "mine.py:brighter_right"]
    before = sum(tiny.asked(place))
    assert main([*words, "--budget", "15"]) == 2
    assert "budget" in capsys.readouterr().err
    assert sum(tiny.asked(place)) <= before + 15
    before = sum(tiny.asked(place))
    assert main([*words, "--budget", "16"]) == 0
    assert sum(tiny.asked(place)) == before + 16


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--features", "mine.py:flat"], r"mine.py:flat answered (2,) for 2 images, and must answer features (N, F)"),
        (["--features", "mine.py:words"], "mine.py:words answered a list, and must answer features (N, F)"),
        (["--features", "mine.py:holes"], "mine.py:holes answered no finite real numbers"),
        (["--features", "mine.py:trained"], "the model is in training mode"),
        (["--features", "mine.py:box"], "mine.py:box is a BlackBox; --features needs a callable from images"),
        (["--features", "mine.py"], "--features is file.py:name, a callable from images to features, got 'mine.py'"),
        (["--features", "mine.py:bright", "--references", "lone"], "--references must hold at least 2 pictures"),
        (["--judge", "mine.py:brighter_right"], "--judge is the model that made one; name one that was trained apart"),
        (["--judge", "mine.py:labels"], "--judge answers multi_label, and must decide between classes"),
        (["--judge", "mine.py:named"], "--judge decides between left, right, even, and the counterfactuals in one are"),
        (["--judge", "mine.py:of_two"], "--judge knows 2 classes, and the model that made one knows 3"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence_and_asks_nothing(place, capsys, words, sentence):
    (place / "lone").mkdir()
    write_image(torch.zeros(1, 8, 8), place / "lone" / "0.png")
    before = tiny.asked(place)
    assert main(["measure", "one", "two", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert tiny.asked(place) == before


def test_three_pictures_are_too_few_for_a_distance(place, capsys):
    (place / "one" / "0" / "result.safetensors").unlink()
    assert main(["measure", "one", "two", "--features", "mine.py:bright"]) == 2
    assert "all folders must have at least 4 pictures, and have 3" in capsys.readouterr().err
