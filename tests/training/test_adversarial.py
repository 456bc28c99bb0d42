from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from freemcg.commands.app import main
from freemcg.files.images import write_image
from freemcg.models.architectures import ConvClassifier
from freemcg.training.adversarial import _in_unit_ball, attack
from freemcg.training.data import ImageSet


@pytest.fixture
def linear(rng):
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.randn(2, 48, generator=rng))
    return model.eval()


@pytest.fixture
def images(rng):
    return 0.5 + 0.1 * torch.rand(6, 3, 4, 4, generator=rng, dtype=torch.double)


LABELS = torch.tensor([0, 1, 0, 1, 1, 0])


def test_on_a_linear_model_the_attack_reaches_the_closed_form(linear, images, rng):
    """With two classes the loss rises with the margin of the other one, so the optimum is `radius w / |w|`.

    The part of the random start across `w` does not vanish: each step on the sphere shrinks it by 1 / (1 + 2.5 / 40).
    """
    found = attack(linear, images, LABELS, radius=0.3, steps=40, generator=rng) - images
    w = (linear[1].weight[1] - linear[1].weight[0]).detach()
    along = torch.where(LABELS == 0, 1, -1) * (found.flatten(1) @ w) / w.norm()
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.full((6,), 0.3).double())
    assert along.min() > 0.97 * 0.3


def test_on_a_line_the_attack_ends_at_the_closed_form(rng):
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 2)).double()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[0.3], [1.2]]))
    points = torch.full((6, 1, 1, 1), 0.5).double()
    found = attack(model, points, LABELS, radius=0.2, steps=5, generator=rng)
    wanted = torch.where(LABELS == 0, 0.7, 0.3).double()
    torch.testing.assert_close(found.flatten(), wanted)


def test_every_example_has_the_ball_to_itself_and_the_loss_rises(rng):
    torch.manual_seed(0)
    model = ConvClassifier(channels=3, classes=4, image_size=16, width=4)
    pictures = torch.rand(20, 3, 16, 16, generator=rng)
    labels = torch.randint(4, (20,), generator=rng)
    model.eval()
    for radius in (0.1, 1.0):
        attacked = attack(model, pictures, labels, radius=radius, steps=10, generator=rng)
        moved = (attacked - pictures).flatten(1).norm(dim=1)
        assert moved.max() <= radius * (1 + 1e-5)
        assert moved.min() > 0.5 * radius  # the batch does not share one ball
        assert attacked.min() >= 0
        assert attacked.max() <= 1
        with torch.no_grad():
            before, after = (F.cross_entropy(model(x), labels, reduction="none") for x in (pictures, attacked))
        assert (after > before).all()


def test_the_model_is_left_as_it_was(linear, images, rng):
    linear.train()
    linear.append(nn.Dropout(0.9))  # the attack is in eval mode, so this makes no difference
    found = attack(linear, images, LABELS, radius=0.3, steps=40, generator=rng)
    assert linear.training
    assert linear[2].training
    assert not found.requires_grad
    assert all(parameter.grad is None for parameter in linear.parameters())
    w = (linear[1].weight[1] - linear[1].weight[0]).detach()
    assert ((found - images).flatten(1) @ w).abs().min() > 0.97 * 0.3 * w.norm()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        attack(linear, images[:, :, :2], LABELS, radius=0.3, steps=1, generator=rng)
    assert linear.training


def test_where_the_model_is_flat_nothing_is_nan(linear, images, rng):
    nn.init.zeros_(linear[1].weight)
    found = attack(linear, images, LABELS, radius=0.2, steps=3, generator=rng)
    assert found.isfinite().all()
    assert (found - images).flatten(1).norm(dim=1).max() <= 0.2 + 1e-12


def test_the_start_is_uniform_in_the_ball(rng):
    """In 4 dimensions a share `r^4` lies within r, and all orthants are equally likely."""
    points = _in_unit_ball(torch.zeros(20000, 1, 2, 2, dtype=torch.double), rng)
    distances = points.flatten(1).norm(dim=1)
    for r in (0.5, 0.8, 1.0):
        assert (distances <= r).double().mean().item() == pytest.approx(r**4, abs=0.012)
    assert (points > 0).double().mean(dim=0).sub(0.5).abs().max() < 0.015


@pytest.mark.parametrize(("radius", "steps"), [(0.0, 3), (-1, 3), (1.0, 0)])
def test_refusals(radius, steps, linear, images, rng):
    with pytest.raises(ValueError) as caught:
        attack(linear, images, LABELS, radius=radius, steps=steps, generator=rng)
    assert str(caught.value) == f"radius must be > 0 and steps >= 1, got {radius} and {steps}"


def test_the_command_trains_on_attacked_images_or_on_shuffled_labels_and_records_it(tmp_path, rng, capsys):
    for name, level in (("bright", 0.7), ("dark", 0.3)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(10):
            write_image(
                (level + 0.1 * torch.randn(1, 8, 8, generator=rng)).clamp(0, 1), tmp_path / f"data/{name}/{index}.png"
            )
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "image_size: 8\nwidth: 4\nsteps: 30\nwarmup: 3\nlearning_rate: 0.003\nbatch_size: 8\n"
        "radius: 0.5\nattack_steps: 2\n"
    )
    losses = {}
    for flag in ("", "--adversarial", "--shuffled-labels"):
        out = tmp_path / f"out{flag}"
        command = ["train", "classifier", "--config", str(config), "--data", str(tmp_path / "data"), "--out", str(out)]
        assert main([*command, flag] if flag else command) == 0
        record = json.loads((out / "training.json").read_text())
        assert record["settings"]["adversarial"] is (flag == "--adversarial")
        assert record["settings"]["shuffled_labels"] is (flag == "--shuffled-labels")
        assert record["settings"]["radius"] == 0.5
        losses[flag] = record["loss_curve"][-1][1]
    assert losses["--adversarial"] > losses[""]  # the same batches, made harder
    assert losses["--shuffled-labels"] > losses[""] + 0.02  # the mean since the start; nothing can be learnt


def test_shuffled_labels_are_the_same_in_another_order():
    """Of 10,000 labels of ten classes in random order, each class has a tenth right, give or take 0.012 (4 sigma)."""
    labels = torch.arange(10_000) % 10
    images = ImageSet(torch.arange(10_000)[:, None, None, None].byte(), labels, tuple("0123456789"))
    found = images.shuffled(1)
    assert torch.equal(found.images, images.images)
    assert torch.equal(found.labels.sort().values, labels.sort().values)
    assert (found.labels == labels).double().mean().item() == pytest.approx(0.1, abs=0.012)
    assert torch.equal(found.labels, images.shuffled(1).labels)
    assert not torch.equal(found.labels, images.shuffled(2).labels)
