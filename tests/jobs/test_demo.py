from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from freemcg import Attribution, Counterfactual, load_bundle
from freemcg.commands.app import main
from freemcg.files.images import read_image
from freemcg.jobs.demo import choose_digits, run_demo


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("digits")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder that a demo of one digit wrote, and the rows of its table."""
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, images=1, seed=1)


def test_digits_are_of_different_classes_and_decided_right(bundle):
    chosen = choose_digits(bundle, 10, seed=0)
    assert sorted(bundle.labels[chosen].tolist()) == list(range(10))
    assert bundle.classifier(bundle.images[chosen]).argmax(dim=1).tolist() == bundle.labels[chosen].tolist()


def test_a_digit_that_is_decided_wrong_is_passed_over(bundle):
    right = torch.arange(len(bundle.labels)) % 3 == 0

    def seldom_right(images):
        return torch.nn.functional.one_hot(torch.where(right, bundle.labels, (bundle.labels + 1) % 10), 10)

    chosen = choose_digits(replace(bundle, classifier=seldom_right), 10, seed=0)
    assert len(chosen) == 10
    assert right[chosen].all()


def test_the_choice_depends_on_the_seed_alone_and_grows_with_the_count(bundle):
    assert choose_digits(bundle, 4, seed=0) == choose_digits(bundle, 10, seed=0)[:4]
    assert choose_digits(bundle, 4, seed=0) != choose_digits(bundle, 4, seed=1)


@pytest.mark.parametrize("count", [0, 11])
def test_more_digits_than_classes_are_refused(bundle, count, capsys, tmp_path):
    assert main(["demo", "--images", str(count), "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == f"freemcg: images must be 1..10, one a class, got {count}\n"
    assert not (tmp_path / "demo").exists()


def test_the_table_says_what_the_classifier_and_the_judge_decide(shown, bundle):
    out, rows = shown
    assert len(rows) == 1
    for row in rows:
        label = row["image"].removeprefix("inputs/digit-").removesuffix(".png")
        image = read_image(out / "inputs" / f"digit-{label}.png", channels=1)
        changed = read_image(out / f"digit-{label}" / "counterfactual.png", channels=1)
        answers = bundle.classifier(image[None])[0]
        assert row["decision"] == label == str(answers.argmax().item())
        assert row["target"] == str(answers.topk(2).indices[1].item())
        assert row["flipped"] == (str(bundle.classifier(changed[None]).argmax().item()) == row["target"])
        assert row["judge agrees"] == (str(bundle.judge(changed[None]).argmax().item()) == row["target"])
        assert row["L1"] == pytest.approx((changed - image).abs().mean().item(), abs=1e-6)


def test_results_and_pictures_are_kept(shown, bundle):
    out, rows = shown
    for row in rows:
        folder = out / f"digit-{row['decision']}"
        attribution = Attribution.load(folder / "attribution.safetensors")
        counterfactual = Counterfactual.load(folder / "counterfactual.safetensors")
        assert any(torch.equal(attribution.image, image) for image in bundle.images)
        assert row["queries"] == attribution.queries + counterfactual.queries
        assert attribution.record["settings"]["seed"] == counterfactual.record["settings"]["seed"] == 1
        for name in ("attribution-figure.png", "counterfactual-figure.png"):
            assert read_image(folder / name, channels=3).std() > 0.1
    assert read_image(out / "demo.png", channels=3).std() > 0.1
