from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from freemcg import Attribution, Counterfactual, load_bundle
from freemcg.commands.app import main
from freemcg.files.images import read_image
from freemcg.jobs.demo import choose_images, name_images, run_demo


@pytest.fixture(scope="module")
def bundle():
    return load_bundle("digits")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder that a demo of one digit wrote, and the rows of its table."""
    out = tmp_path_factory.mktemp("demo")
    return out, run_demo(out, images=1, seed=1)


def test_digits_are_of_different_classes_and_decided_right(bundle):
    chosen = choose_images(bundle, 10, seed=0)
    assert sorted(bundle.labels[chosen].tolist()) == list(range(10))
    assert bundle.classifier(bundle.images[chosen]).argmax(dim=1).tolist() == bundle.labels[chosen].tolist()


def test_a_digit_that_is_decided_wrong_is_passed_over(bundle):
    right = torch.arange(len(bundle.labels)) % 3 == 0

    def seldom_right(images):
        return torch.nn.functional.one_hot(torch.where(right, bundle.labels, (bundle.labels + 1) % 10), 10)

    chosen = choose_images(replace(bundle, classifier=seldom_right), 10, seed=0)
    assert len(chosen) == 10
    assert right[chosen].all()


def test_the_choice_depends_on_the_seed_alone_and_grows_with_the_count(bundle):
    assert choose_images(bundle, 4, seed=0) == choose_images(bundle, 10, seed=0)[:4]
    assert choose_images(bundle, 4, seed=0) != choose_images(bundle, 4, seed=1)


def test_classes_take_turns_when_there_are_fewer_classes_than_images():
    bundle = load_bundle("chest-xrays")
    chosen = choose_images(bundle, 7, seed=0)
    labels = bundle.labels[chosen].tolist()
    assert len(set(chosen)) == 7
    assert [sorted(labels[start : start + 2]) for start in (0, 2, 4)] == [[0, 1]] * 3
    assert bundle.classifier(bundle.images[chosen]).argmax(dim=1).tolist() == labels


@pytest.mark.parametrize("count", [0, 11])
def test_too_many_images_are_refused(count, capsys, tmp_path):
    assert main(["demo", "--images", str(count), "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == f"freemcg: images must be 1..10, got {count}\n"
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize("data", ["cifar10", "shapes"])
def test_data_without_a_classifier_is_refused(data, capsys, tmp_path):
    assert main(["demo", "--data", data, "--out", str(tmp_path / "demo")]) == 2
    assert capsys.readouterr().err == f"freemcg: data must be digits or chest-xrays, got '{data}'\n"
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


def test_the_counterfactuals_are_measured(shown, capsys):
    out, (row,) = shown
    kept = Counterfactual.load(out / f"digit-{row['decision']}" / "counterfactual.safetensors")
    assert main(["measure", str(out), "--judge", "digits-judge", "--cout", "4"]) == 0
    heads, figures, *rest = capsys.readouterr().out.splitlines()
    found = dict(zip(re.split(r" {2,}", heads), re.split(r" {2,}", figures), strict=True))
    assert found["folder"] == str(out)
    assert found["flipped"].startswith(f"{row['flipped']:.3f}")
    assert found["judged"].startswith(f"{row['judge agrees']:.3f}")
    assert float(found["l1"]) == pytest.approx(row["L1"], abs=5e-4)  # one picture tells no interval
    assert found["queries"] == str(kept.queries)
    assert rest[0] == "one picture: no means"
    assert [line.split(",")[0] for line in rest[1:]] == [
        "queries of the judge: 1 sent",
        "queries of this start: 5 sent",
    ]


def test_x_rays_are_shown_with_their_own_models_and_names(tmp_path, capsys):
    (row,) = run_demo(tmp_path, data="chest-xrays", images=1, seed=1)
    bundle = load_bundle("chest-xrays")
    assert {row["decision"], row["target"]} == {"normal", "pneumonia"}
    image = read_image(tmp_path / row["image"], channels=1)
    assert image.shape == (1, 28, 28)
    assert any(torch.equal(image, each) for each in bundle.images)
    name = f"x-ray-{row['decision']}"
    assert row["image"] == f"inputs/{name}.png"
    changed = read_image(tmp_path / name / "counterfactual.png", channels=1)
    for network, agrees in ((bundle.classifier, row["flipped"]), (bundle.judge, row["judge agrees"])):
        assert agrees == (bundle.class_names[network(changed[None]).argmax()] == row["target"])
    assert row["queries"] <= 115
    assert name in (tmp_path / "report.html").read_text()
    proposed = f"freemcg counterfactual {tmp_path / row['image']} --model chest-xrays --denoiser chest-xrays"
    assert f"Next: {proposed} --target {row['target']} --out changed" in capsys.readouterr().out


def test_pictures_of_one_class_have_names_of_their_own(bundle):
    chosen = torch.nonzero(bundle.labels == 3).flatten().tolist()[:3]
    assert name_images(bundle, chosen, "digit") == ["digit-3", "digit-3-2", "digit-3-3"]


def test_a_demo_is_replayed_from_its_receipts(shown, capsys):
    out, _ = shown
    assert main(["replay", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.rsplit("/", 1)[1] for line in said] == [
        "attribution.safetensors: equal to the last digit",
        "counterfactual.safetensors: equal to the last digit",
    ]
