"""The gradient of an objective of a differentiable classifier. Every image is counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from freemcg.blackbox import BlackBox
from freemcg.gradient.objective import Objective
from freemcg.messages.errors import InvalidType
from freemcg.messages.model_call import call_model


def wrap_model(model: nn.Module, method: str) -> BlackBox:
    """A black box around `model`, which `method` must be able to differentiate: images in [0, 1] in, logits out.

    Raises:
        TypeError: `model` can only be queried.
    """
    if isinstance(model, BlackBox) or not isinstance(model, nn.Module):
        raise InvalidType(
            f"{method} differentiates the model and needs a torch.nn.Module, got {type(model).__name__}; "
            "a model that can only be queried is explained by freemcg.FreeMCG or PixelSearch"
        )
    return BlackBox(model)


def counted_gradient(
    black_box: BlackBox, objective: Objective, images: Tensor, target: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities `(N, num_classes)`, the objective `(N,)` and its gradient, for images `(N, C, H, W)`.

    This differentiates the module in `black_box`, which a black box itself never allows. Each image counts as one of
    its queries. Nothing is stored in the module's parameters.
    """
    model = black_box.predict
    assert isinstance(model, nn.Module)
    answers, values, gradients = [], [], []
    for batch in images.split(black_box.batch_size):
        leaf = batch.detach().requires_grad_(True)
        first = next(model.parameters(), leaf)
        with torch.enable_grad():
            log_probabilities = call_model(model, leaf.to(first.device, first.dtype)).to(leaf).log_softmax(dim=1)
            value = objective(log_probabilities, target)
        black_box.queries += len(batch)
        black_box.answered += len(batch)
        gradients.append(torch.autograd.grad(value.sum(), leaf)[0])
        answers.append(log_probabilities.detach())
        values.append(value.detach())
    return torch.cat(answers), torch.cat(values), torch.cat(gradients)
