"""The refusal of networks in training mode, whose answers depend on chance or on the batch."""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule

from freemcg.messages.errors import InvalidValue


def refuse_training(network: nn.Module, called: str, written: str | None = None) -> None:
    """Refuse a network that is in training mode, in whole or in part.

    A network from `torch.export` is let through. It always says that it is in training mode and cannot be switched:
    its behaviour was fixed when it was exported.

    Args:
        network: the network.
        called: the user's word for it: model, denoiser.
        written: the network's name in code, if that is not `called`.

    Raises:
        ValueError: a part is in training mode; the message names the first such part.
    """
    if isinstance(network, GraphModule):
        return
    part = next((name for name, each in network.named_modules() if each.training), None)
    if part is not None:
        named = f"the {called}" if part == "" else f"the part {part!r} of the {called}"
        raise InvalidValue(
            f"{named} is in training mode, where answers depend on the batch; call {written or called}.eval() first"
        )
