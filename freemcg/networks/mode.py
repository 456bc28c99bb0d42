"""A network whose answers depend on chance or on the batch is in training mode, in whole or in part."""

from __future__ import annotations

from torch import nn
from torch.fx import GraphModule

from freemcg.messages.errors import InvalidValue


def refuse_training(network: nn.Module, called: str, written: str | None = None) -> None:
    """Refuse a network that is in training mode, or a part of which is.

    What `torch.export` made says that it is, and cannot be switched: how it behaves was settled when it was exported.

    Args:
        called: what the user calls it: model, denoiser.
        written: how code names the network, where that is not `called`.

    Raises:
        ValueError: it is; the message names the first such part.
    """
    if isinstance(network, GraphModule):
        return
    part = next((name for name, each in network.named_modules() if each.training), None)
    if part is not None:
        where = f"the {called}" if part == "" else f"the part {part!r} of the {called}"
        raise InvalidValue(
            f"{where} is in training mode, where answers depend on the batch; call {written or called}.eval() first"
        )
