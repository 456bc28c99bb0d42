"""Handwritten digits: real scans, drawn at 32x32, with a fixed train / test split.

They are the 1,797 scans of the UCI "Optical Recognition of Handwritten Digits" data set (Alpaydin, Kaynak 1998), which
`sklearn.datasets.load_digits` ships. Each pixel of an 8x8 scan counts the dots of a 4x4 block that were ink (0..16).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from freemcg.messages.errors import require

CLASS_NAMES = tuple(str(digit) for digit in range(10))
TEST_SHARE = 0.25
SPLIT_SEED = 0


def render(scans: Tensor) -> Tensor:
    """Draw 8x8 scans as 32x32 images of handwriting.

    A scan gets one pixel of margin, bicubic interpolation, and then the soft threshold `sigmoid(10 (v - 0.45))`. It is
    rounded to 8 bits, so an image is exactly what its PNG holds.

    Args:
        scans: `(N, 8, 8)`, 0..16.

    Returns:
        `(N, 1, 32, 32)` uint8.
    """
    values = F.pad(scans.double()[:, None] / 16, (1, 1, 1, 1))
    values = F.interpolate(values, size=(32, 32), mode="bicubic", align_corners=False)
    return (torch.sigmoid(10 * (values - 0.45)) * 255).round().to(torch.uint8)


def load_scans(split: str) -> tuple[Tensor, Tensor]:
    """Read the scans of one part of the fixed, stratified split: `"train"` (1,347) or `"test"` (450).

    Returns:
        Scans `(N, 8, 8)` uint8 and labels `(N,)` int64.

    Raises:
        ModuleNotFoundError: scikit-learn, which holds the scans, is not installed.
    """
    datasets, selection = (
        require(name, "the digits' scans need", "digits") for name in ("sklearn.datasets", "sklearn.model_selection")
    )
    data = datasets.load_digits()
    order = selection.train_test_split(
        range(len(data.target)), test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=data.target
    )[0 if split == "train" else 1]
    scans = torch.from_numpy(data.images[order]).to(torch.uint8)
    return scans, torch.from_numpy(data.target[order]).long()
