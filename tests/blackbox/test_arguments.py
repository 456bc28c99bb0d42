"""What a user passes as a number, a name or a target is made plain when it is passed, whichever library made it."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import tiny
import torch
from folders import run_job
from torch import nn

import baselines
from freemcg import BlackBox, Denoiser, FreeMCG

IMAGES = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(3))
NAMES = ["a", "b", "c"]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3)).eval()


@pytest.fixture
def denoiser(pipeline):
    return Denoiser.from_pretrained(pipeline, batch_size=np.int64(64))


def test_a_job_of_numpys_numbers_keeps_its_results(tmp_path, denoiser):
    tiny.make_pictures(tmp_path / "pics", ("a.png",))
    black_box = BlackBox(
        network(),
        image_size=np.array([8, 8]),
        channels=np.int64(1),
        mean=np.float32(0.5),
        std=np.float64(0.25),
        eight_bit=np.bool_(True),
        batch_size=np.int32(4),
        budget=np.int64(500),
        num_classes=np.int64(3),
        class_names=np.array([3, 4, 5]),
        may_change=np.bool_(False),
    )
    explainer = FreeMCG(
        black_box, denoiser, particles=np.int64(12), queries=np.int64(9), noise=np.float32(0.3), seed=np.int64(1)
    )
    rows = run_job(explainer, tmp_path / "pics", tmp_path / "out", task="attribution", target=np.int64(2))
    assert black_box.remaining == 491
    assert [row["target"] for row in rows] == ["5"]
    assert (tmp_path / "out" / "a" / "result.safetensors").is_file()
    plain = BlackBox(
        network(), image_size=8, channels=1, mean=0.5, std=0.25, eight_bit=True, class_names=["3", "4", "5"]
    )
    assert json.dumps(black_box.described) == json.dumps(plain.described)


REFUSED = {
    "budget": [(2.5, "budget must be a whole number, got 2.5"), (True, "budget must be a whole number, got True")],
    "batch_size": [("4", "batch_size must be a whole number, got '4'"), (0, "batch_size must be >= 1, got 0")],
    "num_classes": [(np.float64(2.5), "num_classes must be a whole number, got np.float64(2.5)")],
    "channels": [("1", "channels must be a whole number, got '1'"), (2, "channels must be 1 (grey) or 3 (RGB), got 2")],
    "eight_bit": [("no", "eight_bit must be True or False, got 'no'")],
    "may_change": [(1, "may_change must be True or False, got 1")],
    "mean": [("x", "mean and std must be numbers, one for all or one for each channel, got 'x'")],
    "class_names": [
        ("abc", "class_names must be a list of names in the order of the scores, got 'abc'"),
        ({"a"}, "class_names must be a list of names in the order of the scores, got {'a'}"),
        (7, "class_names must be a list of names in the order of the scores, got 7"),
        ({"a": 0}, "class_names must map each index to its name, got the index 'a'"),
        ({0: "a", 0.5: "b"}, "class_names must map each index to its name, got the index 0.5"),
        (["a", None], "class_names must be texts, got None"),
    ],
}


@pytest.mark.parametrize(
    ("name", "value", "message"), [(name, *case) for name, cases in REFUSED.items() for case in cases]
)
def test_what_is_no_number_or_name_is_refused_when_it_is_passed(name, value, message):
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(message)}$"):
        BlackBox(network(), **{name: value})


ONE_EACH = {
    "list": [2, 0, 1],
    "tuple": (2, 0, 1),
    "tensor": torch.tensor([2, 0, 1]),
    "column": torch.tensor([[2], [0], [1]]),
    "array": np.array([2, 0, 1]),
    "tuples": [(2,), (0,), (1,)],
    "names": np.array(["c", "a", "b"]),
    "mixed": [np.int64(2), "a", torch.tensor(1)],
}
ONE_FOR_ALL = {
    "int": 2,
    "name": "c",
    "scalar tensor": torch.tensor(2),
    "tensor": torch.tensor([2]),
    "scalar array": np.array(2),
    "array": np.array([2]),
    "number": np.int64(2),
    "list": [2],
    "tuple": (2,),
}


@pytest.mark.parametrize("kind", ONE_EACH)
def test_a_target_for_each_image_may_come_in_any_form(kind):
    assert BlackBox(network(), class_names=NAMES).class_indices(ONE_EACH[kind], 3) == [2, 0, 1]


@pytest.mark.parametrize("kind", ONE_FOR_ALL)
def test_a_target_for_all_images_may_come_in_any_form(kind, denoiser):
    black_box = BlackBox(network(), class_names=NAMES)
    assert black_box.class_indices(ONE_FOR_ALL[kind], 3) == [2, 2, 2]
    assert FreeMCG(black_box, denoiser, particles=12, queries=9).explain(IMAGES[0], ONE_FOR_ALL[kind]).target == 2


@pytest.mark.parametrize("target", [torch.tensor(2), (2,), [(1,), (2,), (0,)], np.array([0, 1, 2])])
def test_all_methods_take_the_same_targets(target, denoiser):
    explainer = FreeMCG(network(), denoiser, particles=12, queries=9)
    each = [2, 2, 2] if len(np.shape(target)) == 0 or len(target) == 1 else np.reshape(target, -1).tolist()
    for method in (
        explainer,
        baselines.create("rise", network(), queries=9),
        baselines.create("gradient", network()),
    ):
        assert torch.equal(method.attribute(IMAGES, target), method.attribute(IMAGES, each))


@pytest.mark.parametrize("method", ["rise", "gradient"])
@pytest.mark.parametrize("target", [2.7, [0, 1, 2.7], np.array([0.5]), (1, 2)])
def test_a_target_that_is_no_class_is_refused(method, target):
    options = {"queries": 9} if method == "rise" else {}
    with pytest.raises(
        (TypeError, ValueError), match=r"a class is named by its index|there are 3 images but 2 targets"
    ):
        baselines.create(method, network(), **options).attribute(IMAGES, target)
