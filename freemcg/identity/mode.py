"""The refusal of networks in training mode, whose answers depend on chance or on the batch."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.fx import GraphModule, Node

from freemcg.messages.errors import InvalidValue

FLAGS = ("training", "train")
"""The arguments of operations such as dropout and batch normalisation that say the mode."""
SCRIPTED = ("aten::dropout", "aten::feature_dropout", "aten::alpha_dropout", "aten::batch_norm", "aten::rrelu")


_READ = WeakKeyDictionary[nn.Module, bool]()


def refuse_training(network: nn.Module, called: str, written: str | None = None) -> None:
    """Refuse a network that is in training mode, in whole or in part, or was traced or exported in it.

    A network from `torch.export` always says that it is in training mode, and cannot be switched: its behaviour was
    fixed when it was exported. So its operations are looked at.

    Args:
        network: the network.
        called: the user's word for it: model, denoiser.
        written: the network's name in code, if that is not `called`.

    Raises:
        ValueError: a part is in training mode; the message names the first such part and what to do.
    """
    written = written or called
    fixed = [name for name, each in network.named_modules() if _is_exported(each)]
    for name, part in network.named_modules():
        named = f"the {called}" if name == "" else f"the part {name!r} of the {called}"
        if _keeps_training(part):
            raise InvalidValue(
                f"{named} was traced or exported in training mode, where answers depend on chance or on the batch; "
                "call eval() on the network before you trace or export it"
            )
        if getattr(part, "training", False) and not any(
            f"{name}.".startswith(f"{each}." if each else "") for each in fixed
        ):
            # a frozen script has no mode
            mend = f"for part in {written}.modules(): part.training = False" if fixed else f"{written}.eval()"
            verb = "run" if fixed else "call"
            raise InvalidValue(f"{named} is in training mode, where answers depend on the batch; {verb} {mend} first")


def _is_exported(part: nn.Module) -> bool:
    """Whether a network comes from `torch.export`, which replaces the method `eval` of each by one that raises."""
    return isinstance(part, GraphModule) and "eval" in vars(part)


def _keeps_training(part: nn.Module) -> bool:
    """Whether the program of a traced, scripted or exported network holds an operation in training mode.

    The program of a network does not change. It is read once, since this is slow.
    """
    if not isinstance(part, GraphModule | torch.jit.ScriptModule):
        return False
    if part not in _READ:
        _READ[part] = _program_trains(part)
    return _READ[part]


def _program_trains(part: nn.Module) -> bool:
    if isinstance(part, GraphModule):
        return any(value is True for node in part.graph.nodes for value in _flags(node))
    if hasattr(part, "inlined_graph"):
        graph: Any = part.inlined_graph  # held, since its nodes are gone with it
        return any(_trains(node) for kind in SCRIPTED for node in graph.findAllNodes(kind))
    return False


def _flags(node: Node) -> Iterator[Any]:
    """The values of the arguments that say the mode."""
    if node.op != "call_function":
        return
    if isinstance(node.target, torch._ops.OpOverload):
        names = [each.name for each in node.target._schema.arguments]
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    else:
        try:
            bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
        except (TypeError, ValueError):  # a builtin has no signature, and no mode
            return
        bound.apply_defaults()
        given = bound.arguments
    yield from (given[name] for name in FLAGS if name in given)


def _trains(node: Any) -> bool:
    names = [each.name for each in torch._C.parse_schema(node.schema()).arguments]
    flags = [given for name, given in zip(names, node.inputs(), strict=True) if name in FLAGS]
    return any(each.node().kind() == "prim::Constant" and each.toIValue() is True for each in flags)
