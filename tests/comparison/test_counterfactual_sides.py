"""Finished counterfactuals of several searches, measured side by side."""

from __future__ import annotations

import csv

import pytest
import tiny
import torch
from explanations import make_attribution, make_counterfactual

from freemcg.commands.app import main
from freemcg.comparison.counterfactuals import measure_sides, read_sides
from freemcg.comparison.instruments import OF_ANY, OF_TARGET
from freemcg.evaluation import changes, cout, diversity, nearest
from freemcg.files.images import write_image
from freemcg.models.load import load_black_box

NAMES = ("a", "deep/b")


def keep(folder, name, shift=0.0, **changes):
    """A finished counterfactual, whose answer is `shift` brighter than that of `make_counterfactual`."""
    result = make_counterfactual(**changes)
    (folder / name).mkdir(parents=True, exist_ok=True)
    made = make_counterfactual(image=result.image + shift, **changes)
    made.save(folder / name / "result.safetensors")
    return made


def test_each_measure_is_what_its_function_says(tmp_path):
    kept = {side: [keep(tmp_path / side, name, shift) for name in NAMES] for side, shift in (("x", 0), ("y", 0.05))}
    keep(tmp_path / "y", "only here")
    sides, left_out = read_sides([tmp_path / "x", tmp_path / "y"])
    known = torch.stack([torch.full((1, 4, 6), 0.5), torch.full((1, 4, 6), 0.55)])
    found = measure_sides(sides, left_out, known=known)
    assert (found.images, found.left_out) == (list(NAMES), 1)
    for index, results in enumerate(kept.values()):
        answers, images = (torch.stack([getattr(r, key) for r in results]) for key in ("image", "original"))
        torch.testing.assert_close(found.figures["l1"][index], changes(images, answers).l1)
        torch.testing.assert_close(found.figures["nearest known"][index], nearest(answers, known)[0])
        torch.testing.assert_close(found.figures["gain"][index], torch.full((2,), 0.5).double())
        assert found.figures["flipped"][index].tolist() == [1, 1]
        assert found.figures["queries"][index].tolist() == [105, 105]
    wanted = diversity(torch.stack([kept["x"][0].image, kept["y"][0].image]))
    assert wanted == pytest.approx(0.05)
    assert found.diversity.tolist() == pytest.approx([wanted] * 2)


def test_the_nearest_known_is_of_the_target_if_classes_are_known(tmp_path):
    """The nearest of all is of another class, and says nothing of how near the answer is to its target."""
    made = keep(tmp_path / "x", "a")
    sides, _ = read_sides([tmp_path / "x"])
    known = torch.stack([made.image, made.image + 0.01, made.image + 0.1])
    other = (made.target + 1) % len(made.log_probabilities)
    for labels, wanted in (
        (None, 0.0),
        ([made.target, other, other], 0.0),
        ([other, made.target, made.target], 0.01),
        ([other, other, made.target], 0.1),
    ):
        found = measure_sides(sides, known=known, labels=labels).figures["nearest known"]
        assert found.flatten().tolist() == pytest.approx([wanted], abs=1e-6)
    assert measure_sides(sides, known=known, labels=[other] * 3).figures["nearest known"].isnan().all()


@pytest.mark.parametrize("folders", [True, False])
def test_known_pictures_in_folders_of_classes_are_told_apart(tmp_path, capsys, folders):
    made = keep(tmp_path / "x", "a")
    other = (made.target + 1) % len(made.log_probabilities)
    for label, moved in ((other, 0.0), (made.target, 0.2)):
        place = tmp_path / "known" / (str(label) if folders else "all") / f"{label}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_image((made.image + moved).clamp(0, 1), place)
    assert main(["measure", str(tmp_path / "x"), "--references", str(tmp_path / "known")]) == 0
    said = capsys.readouterr()
    which = OF_TARGET if folders else OF_ANY
    assert said.err == f"nearest known: of 2 pictures, {which}\n"
    distance = float(said.out.splitlines()[1].split()[-1])
    assert distance == pytest.approx(0.2 if folders else 0.0, abs=0.02)


def test_the_command_prints_a_row_for_each_search_and_cout_costs_what_is_said(tmp_path, pipeline, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny.make_place(tmp_path, ("a.png", "b.png"))
    words = ["pics", "--model", "mine.py:brighter_right", "--denoiser", str(pipeline), "--device", "cpu"]
    for out, seed in (("one", "0"), ("two", "1")):
        assert main(["counterfactual", *words, "--config", "tiny.yaml", "--seed", seed, "--out", out]) == 0
    before = sum(tiny.asked(tmp_path))
    capsys.readouterr()
    assert main(["measure", "one", "two", "--references", "pics"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert " ".join(printed[0].split()) == ("folder flipped gain l1 l2 share changed realism queries nearest known")
    assert [line.split()[0] for line in printed[1:3]] == ["one", "two"]
    assert printed[3] == "means over 2 pictures, with 95 % intervals"
    assert sum(tiny.asked(tmp_path)) == before
    asking = ["--cout", "7", "--model", "mine.py:brighter_right", "--price-per-1000", "10"]
    assert main(["measure", "one", "two", *asking, "--out", "figures"]) == 0
    assert sum(tiny.asked(tmp_path)) == before + 2 * 2 * 8
    said = capsys.readouterr()
    assert "cout: at most 32 queries, price 0.32" in said.err
    assert "queries of this start: 32 sent" in said.out
    with (tmp_path / "figures" / "counterfactuals.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["folder"], row["image"]) for row in rows] == [(f, i) for f in ("one", "two") for i in ("a", "b")]
    side = read_sides([tmp_path / "two"])[0][str(tmp_path / "two")]["b"]
    pair = (side.image[None], torch.tensor([side.target]), torch.tensor([side.original_decision]))
    box = load_black_box("mine.py:brighter_right")
    wanted = cout(box, side.original[None], *pair, steps=7).item()
    assert float(rows[3]["cout"]) == pytest.approx(wanted, abs=1e-6)
    assert main(["measure", "one", "--cout", "7", "--model", "mine.py:brightness_left"]) == 2
    assert "the counterfactuals in one are of another model than --model; name that one" in capsys.readouterr().err


def spoil(place):
    """Folders that do not fit, and what is said of them."""
    keep(place / "x", "a")
    (place / "empty").mkdir()
    yield ["empty"], "there is no finished counterfactual in empty; name an --out of counterfactual or demo"
    keep(place / "other", "b")
    yield ["x", "other"], "no picture has a counterfactual in each of x, other"
    keep(place / "moved", "a", original=torch.full((1, 4, 6), 0.25))
    yield ["x", "moved"], "a is another picture in moved than in x"
    (place / "maps" / "a").mkdir(parents=True)
    make_attribution().save(place / "maps" / "a" / "result.safetensors")
    yield ["x", "maps"], "maps/a/result.safetensors is no counterfactual of a class that excludes the others"
    yield ["x", "--cout", "25"], "--cout must be in 1..24, the pixels of a picture, got 25"
    (place / "both" / "a").mkdir(parents=True)
    for name in ("result", "counterfactual"):
        make_counterfactual().save(place / "both" / "a" / f"{name}.safetensors")
    yield ["both"], "both/a holds two counterfactuals, counterfactual.safetensors and result.safetensors; move one away"
    (place / "known").mkdir()
    yield ["x", "--references", "known"], "known holds no picture"
    write_image(torch.zeros(1, 3, 3), place / "known" / "0.png")
    (place / "x" / "a" / "result.safetensors").write_bytes(b"gone")
    yield ["x"], "x/a/result.safetensors"


def test_what_does_not_fit_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for words, sentence in spoil(tmp_path):
        assert main(["measure", *words]) == 2
        assert f"freemcg: {sentence}" in capsys.readouterr().err


FAILING_JUDGE = """
from freemcg import BlackBox

calls = []

def first_answers(images):
    calls.append(len(images))
    if len(calls) > 1:
        raise OSError("the line went dead")
    return images.mean(dim=(2, 3)).repeat(1, 3)[:, :2]

judge = BlackBox(first_answers, scores="logits", batch_size=1)
"""


def test_a_measurement_that_breaks_off_says_what_it_spent(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in NAMES:
        keep(tmp_path / "x", name)
    (tmp_path / "dead.py").write_text(FAILING_JUDGE)
    assert main(["measure", "x", "--judge", "dead.py:judge"]) != 0
    said = capsys.readouterr().err
    assert "the line went dead" in said
    assert "queries of the judge: 2 sent, 1 answered, 0 retried, 1 unanswered" in said
