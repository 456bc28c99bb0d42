"""Hugging Face image classifiers as black boxes: the model after the steps of its own image processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from freemcg.blackbox.box import BlackBox
from freemcg.messages.errors import InvalidValue, require

RESAMPLING = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
GREY_LEVELS = 255
ALLOWED_DIFFERENCE = 2.0
TEST_PICTURE = (300, 400)


class HuggingFaceClassifier(nn.Module):
    """A classifier of `transformers` with the steps of its image processor: resize, crop, rescale, normalise.

    The steps are computed in floating point. The processor computes them on 8-bit pictures with Pillow (or
    torchvision). The filters are the same (antialiased, columns before rows, clipped after each). Pillow rounds to 8
    bits after each of the two. This class does not, so no small change of an image is lost. A pixel may therefore
    differ by about a grey level. Nearest, bilinear and bicubic resampling are supported.

    Args:
        network: an image classifier whose answer has `.logits`.
        steps: the image processor's settings, `processor.to_dict()`.

    Raises:
        ValueError: the settings need another kind of resampling or size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, steps: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.edge: int | None = None
        self.size: tuple[int, int] | None = None
        self.crop: tuple[int, int] | None = None
        if steps.get("do_resize"):
            self._read_size(steps["size"], steps.get("crop_pct"))
            if steps["resample"] not in RESAMPLING:
                raise InvalidValue(
                    f"resample is {steps['resample']}; it must be 0 (nearest), 2 (bilinear) or 3 (bicubic)"
                )
            self.resample = RESAMPLING[steps["resample"]]
        if steps.get("do_center_crop"):
            self.crop = (steps["crop_size"]["height"], steps["crop_size"]["width"])
        self.scale = GREY_LEVELS * (steps["rescale_factor"] if steps.get("do_rescale") else 1)
        mean, std = (steps["image_mean"], steps["image_std"]) if steps.get("do_normalize") else ([0.0], [1.0])
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(1, -1, 1, 1))

    def _read_size(self, size: dict[str, int], crop_share: float | None) -> None:
        if set(size) == {"height", "width"}:
            self.size = (size["height"], size["width"])
        elif set(size) == {"shortest_edge"} and crop_share is None:
            self.edge = size["shortest_edge"]
        elif set(size) == {"shortest_edge"} and size["shortest_edge"] < 384:  # as in ConvNeXT's processor
            self.edge = int(size["shortest_edge"] / float(crop_share or 1))
            self.crop = (size["shortest_edge"],) * 2
        elif set(size) == {"shortest_edge"}:
            self.size = (size["shortest_edge"],) * 2
        else:
            raise InvalidValue(f"size is {size}; it must hold height and width, or shortest_edge")

    def prepare(self, images: Tensor) -> Tensor:
        """The network's input for images `(N, C, H, W)` in [0, 1]."""
        size = self.size
        if self.edge is not None:
            short, long = sorted(images.shape[2:])
            longer = int(self.edge * long / short)
            size = (self.edge, longer) if images.shape[2] == short else (longer, self.edge)
        if size is not None:
            images = self._resize(self._resize(images, (images.shape[2], size[1])), size)
        if self.crop is not None:
            top, left = ((have - want) // 2 for have, want in zip(images.shape[2:], self.crop, strict=True))
            images = images[:, :, top : top + self.crop[0], left : left + self.crop[1]]
        return (images * self.scale - self.mean) / self.std

    def _resize(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        if self.resample == "nearest-exact":
            return F.interpolate(images, size=size, mode=self.resample)
        return F.interpolate(images, size=size, mode=self.resample, antialias=True, align_corners=False).clamp(0, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, num_classes)` of images `(N, C, H, W)` in [0, 1]."""
        logits: Tensor = self.network(pixel_values=self.prepare(images)).logits
        return logits


def load_huggingface(
    name: str | Path, *, device: str | torch.device = "cpu", batch_size: int = 64, budget: int | None = None
) -> BlackBox:
    """Make a black box of a Hugging Face image classifier. This costs no query.

    Size, crop, range, mean and std come from its image processor, class names from its `id2label`, and the kind of its
    answers from its `problem_type`. The processor itself runs on one 8-bit picture. The model is refused if the result
    differs from that of `HuggingFaceClassifier`. No code of a repository is run.

    Args:
        name: a folder made by `save_pretrained` that holds model and image processor, or a repository on the hub.
        device: the device that the model is put on.
        batch_size, budget: as `BlackBox` takes them.

    Raises:
        ModuleNotFoundError: transformers is not installed.
        FileNotFoundError: there is no such folder or repository, or it lacks a file.
        ValueError: the head of the model has no weights, or its image processor takes other steps.
    """
    transformers = require("transformers", "Hugging Face classifiers need", "huggingface")
    name = str(name)
    if not Path(name).is_dir() and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise FileNotFoundError(f"there is no folder {name}")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        network, found = transformers.AutoModelForImageClassification.from_pretrained(
            name, trust_remote_code=False, dtype=torch.float32, output_loading_info=True
        )
    except OSError as error:
        raise FileNotFoundError(f"{name} cannot be loaded: {' '.join(str(error).split())}") from error
    if found["missing_keys"]:
        missing = ", ".join(sorted(found["missing_keys"])[:3])
        raise InvalidValue(f"{name} holds no weights for {missing}; is it a classifier, and not only its trunk?")
    config = network.config
    problem = config.problem_type or ("regression" if config.num_labels == 1 else None)  # as transformers reads it
    scores = {"multi_label_classification": "multi_label_logit", "regression": "value"}.get(str(problem), "logits")
    try:
        model = HuggingFaceClassifier(network, processor.to_dict())
    except ValueError as error:
        raise InvalidValue(f"{name} has an image processor that is not known here: {error}") from None
    channels = getattr(config, "num_channels", 3)
    _check_steps(name, model, processor, channels)
    return BlackBox(
        model.eval().requires_grad_(False).to(device),
        scores,
        channels=channels,
        batch_size=batch_size,
        budget=budget,
        class_names=[config.id2label[index] for index in range(config.num_labels)],
    )


def is_huggingface_folder(folder: Path) -> bool:
    """Whether `folder` holds a config that names an architecture `...ForImageClassification`."""
    try:
        named = json.loads((folder / "config.json").read_text())["architectures"]
        return any(str(each).endswith("ForImageClassification") for each in named)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _check_steps(name: str, model: HuggingFaceClassifier, processor: Any, channels: int) -> None:
    """Refuse an image processor whose result differs from the result of our steps."""
    picture = _test_picture(channels)
    array = picture.permute(1, 2, 0).numpy()
    theirs = processor(images=[array], input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    ours = model.prepare(picture[None] / GREY_LEVELS)
    same = ours.shape == theirs.shape
    if not same or ((ours - theirs) * model.std / model.scale * GREY_LEVELS).abs().max() > ALLOWED_DIFFERENCE:
        kind = type(processor).__name__
        raise InvalidValue(
            f"{name} has an image processor, {kind}, that does more than resize, crop, rescale and normalise; "
            "call it in a function of your own, and name that as file.py:function"
        )


def _test_picture(channels: int) -> Tensor:
    """An 8-bit picture of waves, with another slant in each channel. It shows a shift, a flip or swapped channels."""
    rows, columns = torch.meshgrid(*(torch.arange(side) for side in TEST_PICTURE), indexing="ij")
    slants = torch.tensor([0.0, 0.7, 1.9])[:channels, None, None]
    waves = torch.sin((rows * slants.cos() + columns * slants.sin()) / 9 + slants)
    return (127.5 + 120 * waves).round().to(torch.uint8)
