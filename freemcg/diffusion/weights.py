"""Read the weights of a part of a pipeline. Weights that do not fit the network are refused in one sentence."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from freemcg.messages.errors import InvalidValue

VARIANT = "fp16"  # the variant that repositories on the hub offer
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|pytorch_model|model)(-\d{5}-of-\d{5})?(\.(?P<variant>[^.]+?))?(-\d{5}-of-\d{5})?\.(?P<kind>safetensors|bin)"
)


def read_network(source: str, folder: Path, network_class: Any) -> Any:
    """The network of a class of diffusers that `folder` holds, a part of the pipeline `source`.

    If the folder holds only a variant of the weights (`*.fp16.safetensors`), that variant is read.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are damaged, those of another network, or no numbers.
    """
    network, report = _read_part(
        source,
        folder,
        network_class,
        "diffusion_pytorch_model.safetensors",
        low_cpu_mem_usage=False,  # else diffusers itself raises an error for a shape that does not fit
    )
    _refuse_unfit(folder, report)
    return _finite(folder, network)


def read_encoder(source: str, folder: Path, encoder_class: Any) -> Any:
    """The text encoder of a class of transformers that `folder` holds, a part of the pipeline `source`, in float32.

    Weights that it does not use are left out, since old files hold some.

    Raises:
        FileNotFoundError: there are no weights.
        ValueError: they are damaged, those of another network, or no numbers.
    """
    network, report = _read_part(source, folder, encoder_class, "model.safetensors", dtype=torch.float32)
    _refuse_unfit(folder, {**report, "unexpected_keys": ()})
    return _finite(folder, network.eval().requires_grad_(False))


def _read_part(source: str, folder: Path, part_class: Any, usual: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The part with its weights, and the report of the weights that do not fit it, which is not refused yet.

    Of a file in the older format, `.bin`, only tensors are read (`weights_only`), and no code is run.
    """
    variant = _variant(folder, usual)
    part, report = read(
        source,
        folder,
        "config.json",
        part_class.from_pretrained,
        variant=variant,
        use_safetensors=None if "safetensors" in _found(folder)[variant or ""] else False,  # else diffusers tries both
        output_loading_info=True,
        ignore_mismatched_sizes=True,
        **options,
    )
    return part, report


def _finite(folder: Path, network: Any) -> Any:
    for name, weight in network.state_dict().items():
        if not weight.isfinite().all():
            raise InvalidValue(f"the weight {name} in {folder} holds NaN or infinity; save the pipeline again")
    return network


def _variant(folder: Path, usual: str) -> str | None:
    """The variant of the weights to read from a folder. `None` stands for the plain weights, in the `usual` file."""
    variants = variants_in(folder)
    if not variants:
        raise FileNotFoundError(f"{folder} holds no weights ({usual})")
    if "" not in variants and len(variants) > 1:
        several = ", ".join(sorted(variants))
        raise InvalidValue(f"{folder} holds several variants of the weights ({several}); keep the files of only one")
    return None if "" in variants else variants.pop()


def variants_in(folder: Path) -> set[str]:
    """The variants of the weights that a folder holds. The empty name stands for the plain weights."""
    return {*_found(folder)}


def _found(folder: Path) -> dict[str, set[str]]:
    """The kinds of the files of weights in a folder, `safetensors` or `bin`, by the variant."""
    found = dict[str, set[str]]()
    for match in (_WEIGHTS.fullmatch(path.name) for path in folder.iterdir()):
        if match:
            found.setdefault(match["variant"] or "", set()).add(match["kind"])
    return found


def read(source: str, folder: Path, config: str, load: Callable[..., Any], **options: Any) -> Any:
    """The object that `load` makes from `folder`. The JSON file `config` in it is checked first."""
    if (folder / config).is_file():
        read_mapping(folder / config)
    try:
        with quietly():
            return load(str(folder), **options)
    except Exception as error:  # a damaged file makes diffusers raise errors of many classes
        raise InvalidValue(f"the denoiser {source!r} cannot be read from {folder}: {first_line(error)}") from error


@contextmanager
def quietly() -> Iterator[None]:
    """Within the block, neither diffusers nor transformers prints warnings or bars over the weights."""
    from diffusers.utils import logging  # noqa: PLC0415

    theirs = sys.modules.get("transformers.utils.logging")  # diffusers imports it, if it is there
    before = [(each, each.get_verbosity()) for each in (logging, theirs) if each is not None]
    bar = theirs is not None and theirs.is_progress_bar_enabled()
    for each, _ in before:
        each.set_verbosity_error()
    if theirs is not None and bar:
        theirs.disable_progress_bar()
    try:
        yield
    finally:
        for each, verbosity in before:
            each.set_verbosity(verbosity)
        if theirs is not None and bar:
            theirs.enable_progress_bar()


def _refuse_unfit(folder: Path, report: dict[str, Any]) -> None:
    """Refuse weights if some are missing, unknown to the network, or of another shape."""
    missing, unexpected = report["missing_keys"], report["unexpected_keys"]
    shapes = [f"{name} {tuple(found)} for {tuple(wanted)}" for name, found, wanted in report["mismatched_keys"]]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    unfit = ", ".join(f"{kind} {_some(names)}" for kind, names in kinds.items() if names)
    if unfit:
        raise InvalidValue(
            f"the weights in {folder} are not those of the network in its config.json ({unfit}); "
            "save the network again with save_pretrained, out of any wrapper"
        )


def _some(names: Iterable[str], most: int = 3) -> str:
    listed = sorted(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def read_mapping(path: Path) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{path} is not JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise InvalidValue(f"{path} must hold a JSON object, got {found!r:.60}; save the pipeline again")
    return found


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
