"""Can a map be changed by the owner of the model, while the answers stay? Fooling by weights (Heo et al. 2019)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from freemcg.diffusion.noise import generator_for
from freemcg.evaluation.fooling import attacked_map, gradient_shares
from freemcg.identity.mode import refuse_training
from freemcg.messages.errors import InvalidValue


def fool_weights(
    model: nn.Module,
    images: Tensor,
    wanted: Tensor,
    *,
    steps: int = 500,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    keep: float = 1.0,
    seed: int = 0,
) -> nn.Module:
    """A copy of `model` that answers `images` as `model` does, but whose gradient maps are all like `wanted`.

    Adam moves the weights to minimise `|h - wanted|^2 / |wanted|^2 + keep * mean (f - f_0)^2` over batches of the
    images (Heo, Joo, Moon 2019, arXiv:1902.02041). Here `f` are the logits, and `h` is the absolute gradient of the
    logit that `model` decides, summed over channels and divided by its sum. Images like these hold few of all
    directions of pixel space, so the answers say nothing of the gradient in the other ones. There the owner of a model
    can hide what he likes (Anders et al. 2020, arXiv:2007.09969).

    Args:
        model: maps images `(N, C, H, W)` in [0, 1] to logits, in eval mode; it is left as it was found.
        images: images of the kind that will be explained, `(N, C, H, W)`.
        wanted: one map for all, `(C, H, W)`, in any scale. It is summed and divided as `h` is.
        steps: the number of batches; 0 returns a copy.
        keep: the weight of the change of the logits.
        seed: the seed of the batches.

    A step costs a second derivative for each image of the batch.

    Raises:
        ValueError: a part of the model is in training mode, there are no images, the wanted map differs from them in
            shape, or it is zero or not finite.
    """
    refuse_training(model, "model")
    if wanted.shape != images.shape[1:]:
        raise InvalidValue(f"for images {tuple(images.shape)} give one map of an image, got {tuple(wanted.shape)}")
    if len(images) == 0:
        raise InvalidValue("there are no images; give those of the kind that will be explained")
    if not wanted.isfinite().all() or not wanted.any():
        raise InvalidValue("the wanted map must be finite and not zero everywhere")
    with torch.no_grad():
        answers = torch.cat([model(part) for part in images.split(batch_size)])
    fooled, shares = copy.deepcopy(model).requires_grad_(True), gradient_shares(wanted[None])
    optimiser = torch.optim.Adam(fooled.parameters(), lr=learning_rate)
    with torch.enable_grad():
        for step in range(steps):
            drawn = torch.randint(len(images), (batch_size,), generator=generator_for(seed, "fool", step))
            batch, before = images[drawn].requires_grad_(True), answers[drawn]
            found = gradient_shares(attacked_map(fooled, batch, before.argmax(dim=1), 0))
            missed = (found - shares).square().flatten(1).sum(dim=1) / shares.square().sum()
            moved = (fooled(batch) - before).square().mean(dim=1)
            optimiser.zero_grad()
            (missed + keep * moved).mean().backward()
            optimiser.step()
    return fooled.requires_grad_(False)
