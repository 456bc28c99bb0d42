"""A classifier that is linear in the pixels of 4x4 images near a plane. Its answers are known in closed form."""

import torch
from torch import Tensor, nn

from freemcg import BlackBox, FreeMCG, SharedSearch

SHAPE = (1, 4, 4)
FIXED = {"particles": 3, "steps": 8, "refresh": 4, "unpaid": 16, "strength": 0.4, "spread": 1.8, "momentum": 0.0}
SEARCH = SharedSearch(queries=12, guidance=0.3, **FIXED)
SEARCH_COST = 4 * 2  # ceil((8 - 1) / 4) gradients of 4 queries; beside them come 1 for the image and 3 for checks


class Linear(nn.Module):
    """Three classes with logits linear in the pixels. It remembers what it was asked."""

    def __init__(self, scale: float = 6.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(scale * torch.randn(16, 3, generator=generator))
        self.asked: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.asked.extend(images)
        return (images - 0.5).flatten(1) @ self.weights


def make(classifier, denoiser, budget=None, **settings) -> FreeMCG:
    """An explainer with small settings."""
    box = classifier if isinstance(classifier, BlackBox) else BlackBox(classifier, budget=budget)
    return FreeMCG(box, denoiser, **{"particles": 64, "queries": 17, "search": SEARCH, **settings})
