"""A classifier that is linear in the pixels of 8x8 grey images, for comparisons."""

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Logits `(w . x, -w . x)` of 8x8 grey images. It counts the images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(3)) / 8)
        self.asked = 0

    def forward(self, images: Tensor) -> Tensor:
        self.asked += len(images)
        score = (images * self.weight).sum(dim=(1, 2, 3))
        return torch.stack([score, -score], dim=1)
