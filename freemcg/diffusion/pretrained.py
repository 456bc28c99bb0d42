"""Read the parts of a pretrained diffusion pipeline, from a folder or from the Hugging Face hub.

A fault of a folder is refused in one sentence before its first use. Faults are a wrong `model_index.json`, weights that
do not fit the network, and files that `diffusers` cannot read.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from freemcg.diffusion.prompt import TextEncoder
from freemcg.diffusion.weights import (
    VARIANT,
    first_line,
    quietly,
    read,
    read_encoder,
    read_mapping,
    read_network,
    variants_in,
)
from freemcg.messages.errors import InvalidValue, require

INDEX = "model_index.json"
USABLE = (
    "take a DDPMPipeline, ScoreSdeVePipeline, ConsistencyModelPipeline, LDMPipeline, StableDiffusionPipeline or "
    "DiTPipeline"
)
UNUSED = ("safety_checker", "feature_extractor", "image_encoder")  # they look at images that were made
AUTOENCODERS = ("AutoencoderKL", "VQModel")
TEXT_ENCODERS, TOKENIZERS = ("CLIPTextModel",), ("CLIPTokenizer", "CLIPTokenizerFast")


@dataclass(frozen=True)
class Layout:
    """The parts that make up one kind of pipeline, beside the scheduler, by their names in `model_index.json`."""

    network: str
    autoencoder: str | None = None
    takes_text: bool = False

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of all parts."""
        beside = ("text_encoder", "tokenizer") if self.takes_text else ()
        return tuple(each for each in (self.network, self.autoencoder, *beside, "scheduler") if each is not None)


LAYOUTS = (
    Layout("unet"),
    Layout("unet", "vqvae"),
    Layout("unet", "vae", takes_text=True),
    Layout("transformer", "vae"),
)
"""The kinds that can be denoisers: on pixels, LDM, Stable Diffusion, DiT."""
OTHERS = {part for layout in LAYOUTS for part in layout.parts} | {"movq"}
"""Parts that a denoiser cannot do without, if its pipeline has them."""


@dataclass(frozen=True)
class Parts:
    """The parts of a pipeline. Models on pixels have no autoencoder, and most models take no text."""

    network: Any
    scheduler: Any
    autoencoder: Any = None
    text: TextEncoder | None = None

    def on(self, device: str | torch.device | None, dtype: torch.dtype | None) -> Parts:
        """The same parts, ready for use on a device, with the network in a dtype.

        The autoencoder stays in float32. Two queried points differ little, and the linear model of the
        decoder is made from such differences.
        """
        for part in (each for each in (self.network, self.autoencoder) if each is not None):
            part.eval().requires_grad_(False).to(memory_format=torch.channels_last)
            if device is not None:
                part.to(device)
        if dtype is not None:
            self.network.to(dtype=dtype)
        return self


def load_pipeline(source: str) -> Parts:
    """The parts of a pipeline. `source` is a folder, or a name on the hub.

    If a part holds only a variant of the weights (`*.fp16.safetensors`), that variant is read.

    Raises:
        FileNotFoundError: the folder is no pipeline, or lacks a file of weights.
        ModuleNotFoundError: the pipeline takes a text, and transformers is not installed.
        ValueError: the pipeline is of an unknown kind or damaged, or cannot be reached.
    """
    import diffusers  # noqa: PLC0415  (takes seconds to import)

    folder, autoencoder, text = _folder(source), None, None
    index, layout = _index(source, folder / INDEX)
    network_class = _class_of(folder / INDEX, index[layout.network], diffusers.ModelMixin)
    scheduler_class = _class_of(folder / INDEX, index["scheduler"], diffusers.SchedulerMixin)
    if layout.autoencoder is not None:
        autoencoder_class = _autoencoder_class(source, folder / INDEX, index[layout.autoencoder])
        autoencoder = read_network(source, part_of(folder, layout.autoencoder), autoencoder_class)
    if layout.takes_text:
        text = _text_encoder(source, folder, index)
    scheduler = read(source, part_of(folder, "scheduler"), "scheduler_config.json", scheduler_class.from_pretrained)
    network = read_network(source, part_of(folder, layout.network), network_class)
    return Parts(network, scheduler, autoencoder, text)


def _folder(source: str) -> Path:
    """The folder that `source` names. If it is a name on the hub, its files are fetched first."""
    if Path(source).exists():
        return Path(source)
    from diffusers import DiffusionPipeline  # noqa: PLC0415
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    import freemcg.diffusion.level_heads  # noqa: F401, PLC0415  (diffusers asks it what to fetch)

    index = _reached(source, lambda: hf_hub_download(source, INDEX))
    _, layout = _index(source, index)
    folder = _reached(source, lambda: DiffusionPipeline.download(source))
    if not variants_in(part_of(folder, layout.network)):
        folder = _reached(source, lambda: DiffusionPipeline.download(source, variant=VARIANT))
    return folder


def _reached(source: str, fetch: Callable[[], Any]) -> Path:
    try:
        return Path(fetch())
    except (OSError, ValueError, ImportError) as error:
        raise InvalidValue(
            f"the denoiser {source!r} is neither a folder made by save_pretrained nor a repository that can be reached "
            f"on the hub: {first_line(error)}"
        ) from error


def part_of(folder: Path, part: str) -> Path:
    """The folder with the files of a part. In the oldest pipelines it is the folder of the index."""
    return folder / part if (folder / part).is_dir() else folder


def _index(source: str, path: Path) -> tuple[dict[str, Any], Layout]:
    """The contents of a `model_index.json`, and the layout of its pipeline, which can be a denoiser."""
    import diffusers  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} holds no {INDEX}; a denoiser is a folder made by save_pretrained")
    index = read_mapping(path)
    named_class = index.get("_class_name")
    base = diffusers.DiffusionPipeline
    with quietly():
        pipeline = _member(diffusers, named_class)
    if not _is_kind(pipeline, base):
        raise InvalidValue(
            f"{path} names the pipeline class {named_class!r:.60}, which is none of diffusers {diffusers.__version__}; "
            "if its network works on pixels and takes no text, write DDPMPipeline"
        )
    arguments = list(inspect.signature(pipeline.__init__).parameters.values())[1:]
    needed = [each.name for each in arguments if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    layout = next((each for each in LAYOUTS if {*needed} - {*UNUSED} <= {*each.parts}), None)
    if layout is None:
        raise InvalidValue(f"the pipeline {source!r} is a {named_class}, made of {', '.join(needed)}; {USABLE}")
    named = {part for part, value in index.items() if value is not None and value != [None, None]}
    for part in sorted(OTHERS & named - {*layout.parts}):
        raise InvalidValue(f"the pipeline {source!r} is a {named_class} with a {part}; {USABLE}")
    for part in layout.parts:
        if part not in named:
            raise InvalidValue(f"{path} names no {part}; {USABLE}")
    return index, layout


def _autoencoder_class(source: str, path: Path, named: Any) -> Any:
    import diffusers  # noqa: PLC0415

    found = _class_of(path, named, diffusers.ModelMixin)
    if found.__name__ not in AUTOENCODERS:
        known = " or ".join(AUTOENCODERS)
        raise InvalidValue(f"the autoencoder of {source!r} is a {found.__name__}; take a pipeline with an {known}")
    return found


def _text_encoder(source: str, folder: Path, index: dict[str, Any]) -> TextEncoder:
    transformers = require("transformers", "diffusion models that take a text need", "huggingface")
    found = []
    for part, known in (("text_encoder", TEXT_ENCODERS), ("tokenizer", TOKENIZERS)):
        named = index[part]
        if not isinstance(named, list) or named[:1] != ["transformers"] or named[1:] not in [[each] for each in known]:
            raise InvalidValue(
                f"{folder / INDEX} names {json.dumps(named):.80} as its {part}, but must name "
                f'["transformers", "{known[0]}"]; take a pipeline with that'
            )
        found.append(getattr(transformers, named[1]))
    network = read_encoder(source, part_of(folder, "text_encoder"), found[0])
    tokenizer = read(source, part_of(folder, "tokenizer"), "tokenizer_config.json", found[1].from_pretrained)
    return TextEncoder(network, tokenizer)


def _class_of(path: Path, named: Any, kind: type) -> Any:
    """The class that an index names for a part: `["diffusers", "UNet2DModel"]`, or the one of `level_heads`."""
    import diffusers  # noqa: PLC0415

    from freemcg.diffusion import level_heads  # noqa: PLC0415

    pair = named if isinstance(named, list) and len(named) == 2 else [None, None]
    module = next((each for each in (diffusers, level_heads) if each.__name__ == pair[0]), None)
    found = _member(module, pair[1])
    if not _is_kind(found, kind):
        raise InvalidValue(
            f"{path} names {json.dumps(named):.80}, but must name a {kind.__name__} of diffusers, such as "
            '["diffusers", "UNet2DModel"] or ["diffusers", "DDPMScheduler"]; parts of your own go to '
            "Denoiser(unet, scheduler)"
        )
    return found


def _member(module: Any, name: Any) -> Any:
    return getattr(module, name, None) if isinstance(name, str) else None


def _is_kind(found: Any, kind: type) -> bool:
    return isinstance(found, type) and issubclass(found, kind)
