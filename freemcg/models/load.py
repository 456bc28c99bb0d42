"""Models as a command line names them: those in the package, a trained folder, a Python file, a hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from freemcg.blackbox import (
    SCORE_KINDS,
    BlackBox,
    EndpointDescription,
    endpoint_black_box,
    inference_black_box,
    load_huggingface,
    load_onnx,
)
from freemcg.blackbox.local.huggingface import is_huggingface_folder
from freemcg.blackbox.remote.environment import refuse_secret
from freemcg.diffusion.denoiser import Denoiser
from freemcg.files.bundles import bundle_folder, bundles_with, denoiser_source
from freemcg.files.config import config_folder, read_config
from freemcg.messages.arguments import whole
from freemcg.messages.errors import InvalidType, InvalidValue
from freemcg.messages.model_call import call_model
from freemcg.models.architectures import ConvVAE, load_network
from freemcg.models.python_file import load_attribute
from freemcg.settings import make

DTYPES = ("float32", "float16", "bfloat16")
BUNDLED_MODELS = {
    "digits": ("digits", "classifier"),
    "digits-judge": ("digits", "judge"),
    "chest-xrays": ("chest-xrays", "classifier"),
    "chest-xrays-judge": ("chest-xrays", "judge"),
}


def load_black_box(
    model: str,
    *,
    scores: str | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
    output: str | None = None,
    layout: str | None = None,
    mean: float | Sequence[float] | None = None,
    std: float | Sequence[float] | None = None,
    device: str | torch.device = "cpu",
) -> BlackBox:
    """Load the classifier under explanation. This costs no query.

    Args:
        model: `file.py:name` of a `BlackBox`, a `Remote`, a `torch.nn.Module` or a callable from images to scores; an
            ONNX file; `hf:` and a Hugging Face classifier's folder or repository (a folder needs no `hf:`); one that
            `freemcg train classifier` wrote; the description of an endpoint, as `load_endpoint` takes it; the address
            of a model behind the Open Inference Protocol v2, such as `http://localhost:8080/v2/models/digits`; or the
            name of a bundled model, one of `BUNDLED_MODELS`.
        scores, num_classes, image_size, mean, std: for a module, callable, ONNX file or address, as `BlackBox` takes
            them. The other kinds of model bring their own; for those leave these out.
        output, layout: for an ONNX file or address that has several outputs, or whose layout cannot be read.
        device: the device that a module is put on. A callable and an ONNX file choose their own.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the file cannot be imported, lacks the name, or an option does not fit the model.
        TypeError: the object of that name in the file cannot be called.
    """
    output_options = _given(output=output, layout=layout)
    given = _given(scores=scores, num_classes=num_classes, image_size=image_size, mean=mean, std=std)
    if "://" in model:
        refuse_secret(model)
    path, colon, name = model.rpartition(":")
    if colon and path.endswith(".py"):
        found = load_attribute(Path(path), name)
        if not isinstance(found, BlackBox):
            if output_options:
                raise InvalidValue(
                    f"{model} gets images (N, C, H, W) and answers only scores; leave out {_named(output_options)}"
                )
            return BlackBox(_on_device(found, device) if isinstance(found, nn.Module) else found, **given)
        black_box = found
    elif model.endswith(".py"):
        raise InvalidValue(f"{model} names a file and nothing in it; write {model}:NAME")
    elif model.endswith(".onnx"):
        return load_onnx(model, **given, **output_options)
    elif model.startswith("hf:") or is_huggingface_folder(Path(model)):
        black_box = load_huggingface(model.removeprefix("hf:"), device=device)
    elif model.startswith(("http://", "https://")):
        if scores is None:
            raise InvalidValue(f"say what {model} answers: --scores is one of {', '.join(SCORE_KINDS)}")
        return inference_black_box(model, **given, **_given(output_name=output, layout=layout))
    elif model.endswith((".yaml", ".yml")) or model in bundled_endpoints():
        black_box = load_endpoint(model)
    else:
        black_box = _trained_classifier(model, device)
    if given or output_options:
        raise InvalidValue(f"{model} says itself what it takes and answers; leave out {_named(given | output_options)}")
    return black_box


def _on_device(network: nn.Module, device: str | torch.device) -> nn.Module:
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_meta:
            raise InvalidValue(
                f"{name!r} of the network has no values, since it is on the device meta; load its weights"
            )
    placed: nn.Module = call_model(network.to, device)
    return placed


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _named(options: dict[str, Any]) -> str:
    return " and ".join("--" + name.replace("_", "-") for name in options)


def load_endpoint(name_or_path: str, *, budget: int | None = None) -> BlackBox:
    """Load an endpoint's description: a YAML file, or one in `configs/endpoints` by name. This costs no query.

    Raises:
        FileNotFoundError: there is neither such a file nor such a description.
        ValueError: a field is unknown, wrong or missing, or an environment variable that it names is not set.
        ModuleNotFoundError: the extra `http` is not installed.
    """
    values, source = read_config(f"endpoints/{name_or_path}" if name_or_path in bundled_endpoints() else name_or_path)
    for name, field in EndpointDescription.model_fields.items():
        if field.is_required() and name not in values:
            raise InvalidValue(f"{source}: {name} must be given: {field.description}")
    try:
        return endpoint_black_box(make(EndpointDescription, values), budget=budget)
    except ValueError as error:
        raise InvalidValue(f"{source}: {error}") from None


def bundled_endpoints() -> list[str]:
    """The names of the endpoint descriptions in the package."""
    return sorted(path.stem for path in (config_folder() / "endpoints").glob("*.yaml"))


def load_denoiser(
    name: str,
    *,
    device: str | torch.device = "cpu",
    condition: int | None = None,
    guidance_scale: float = 1.0,
    null_class: int | None = None,
    prompt: str | None = None,
    dtype: str | None = None,
    batch_size: int | None = None,
) -> Denoiser:
    """Load a diffusion model.

    Args:
        name: that of a bundled one (`digits`, `chest-xrays` or `cifar10`), a folder made by `save_pretrained`, a
            repository on the hub, or `file.py:name` of a `Denoiser`, which chooses its own device.
        condition, guidance_scale, null_class, prompt: what the network is told, as `Denoiser.from_pretrained` takes it.
        dtype: in what the network computes, one of `DTYPES`; `None` is float32.
        batch_size: the noisy points in one call, also of a `Denoiser` in a file.

    Raises:
        FileNotFoundError: `name` can only be a folder and there is none, or the folder lacks weights.
        ValueError: the model cannot be loaded, is of an unknown kind, or is told no class or a wrong one. There is no
            such dtype.
        TypeError: the object of that name in the file is no `Denoiser`.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InvalidValue(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    file, colon, attribute = name.rpartition(":")
    if colon and file.endswith(".py"):
        told = _given(condition=condition, null_class=null_class, prompt=prompt, dtype=dtype)
        if guidance_scale != 1:
            told["guidance_scale"] = guidance_scale
        denoiser = _denoiser_in(Path(file), attribute, told)
        denoiser.batch_size = denoiser.batch_size if batch_size is None else whole("batch_size", batch_size, 1)
        return denoiser
    path, known = Path(denoiser_source(name)), ", ".join(bundles_with("denoiser"))
    if path.is_file():
        hint = f"; of a Denoiser in a Python file write {name}:NAME" if name.endswith(".py") else ""
        raise NotADirectoryError(f"{name} is a file; a denoiser is a folder made by save_pretrained{hint}")
    if not path.exists() and (name.count("/") > 1 or name.startswith((".", "/", "~"))):
        raise FileNotFoundError(f"there is no folder {name}; name another, or a bundled denoiser: {known}")
    return Denoiser.from_pretrained(
        name,
        device=device,
        condition=condition,
        guidance_scale=guidance_scale,
        null_class=null_class,
        prompt=prompt,
        dtype=None if dtype is None else getattr(torch, dtype),
        **_given(batch_size=batch_size),
    )


def _denoiser_in(file: Path, attribute: str, told: dict[str, Any]) -> Denoiser:
    found = load_attribute(file, attribute)
    if not isinstance(found, Denoiser):
        raise InvalidType(
            f"{file}:{attribute} is a {type(found).__name__}; --denoiser needs a freemcg.Denoiser, such as "
            "Denoiser.gaussian(function, sigmas=(0.004, 0.2))"
        )
    own = {} if found.condition is None else found.condition.record
    own["dtype"] = str(found.dtype).removeprefix("torch.")
    if any(own.get(name) != value for name, value in told.items()):
        raise InvalidValue(f"{file}:{attribute} sets up its network itself; leave out {_named(told)}")
    found.name = f"{file}:{attribute}"
    return found


def load_vae(name: str, *, device: str | torch.device = "cpu") -> ConvVAE:
    """Load a VAE: that of the digits by name, or a folder that `freemcg train vae` wrote.

    Raises:
        FileNotFoundError: there is no such folder, or it lacks a file.
        ValueError: the folder holds another kind of network.
    """
    bundled = bundles_with("vae")
    folder = bundle_folder(name) / "vae" if name in bundled else Path(name)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {name}; name another, or a bundled VAE: {', '.join(bundled)}")
    network, _ = load_network(folder)
    if not isinstance(network, ConvVAE):
        raise InvalidValue(f"{folder} holds a {type(network).__name__}, not a VAE; name a folder of freemcg train vae")
    return network.requires_grad_(False).to(device)


def _trained_classifier(model: str, device: str | torch.device) -> BlackBox:
    if model in BUNDLED_MODELS:
        bundle, part = BUNDLED_MODELS[model]
        folder = bundle_folder(bundle) / part
    else:
        folder = Path(model)
        if not folder.exists():
            raise FileNotFoundError(
                f"there is no model {model!r}; name file.py:callable, file.onnx, hf:name, a folder written by "
                f"'freemcg train classifier', or {' or '.join(BUNDLED_MODELS)}"
            )
        if folder.is_file():
            raise NotADirectoryError(f"{model} is a file; a trained classifier is the folder that holds it")
    network, config = load_network(folder)
    if isinstance(network, ConvVAE):
        raise InvalidValue(f"{folder} holds a VAE, not a classifier; name a folder of freemcg train classifier")
    return BlackBox(
        network.requires_grad_(False).to(device),
        image_size=config["arguments"]["image_size"],
        channels=config["arguments"]["channels"],
        class_names=config["class_names"],
    )
