"""Read the network and the scheduler of a pretrained diffusion pipeline, from a folder or from the Hugging Face hub.

A fault of a folder is refused in one sentence before its first use. Faults are a wrong `model_index.json`, weights that
do not fit the network, and files that `diffusers` cannot read.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from freemcg.messages.errors import InvalidValue

INDEX = "model_index.json"
UNUSABLE = ("vae", "vqvae", "movq", "text_encoder", "image_encoder")  # parts of latent pipelines, or those of a text
USABLE = "take a pipeline on pixels, such as DDPMPipeline, ScoreSdeVePipeline or ConsistencyModelPipeline"
VARIANT = "fp16"  # the variant that repositories on the hub offer
_WEIGHTS = re.compile(
    r"diffusion_pytorch_model(-\d{5}-of-\d{5})?(\.(?P<variant>[^.]+?))?(-\d{5}-of-\d{5})?\.(safetensors|bin)"
)


def load_pipeline(source: str) -> tuple[Any, Any]:
    """The network and the scheduler of a pipeline on pixels. `source` is a folder, or a name on the hub.

    If it holds only a variant of the weights (`*.fp16.safetensors`), that variant is read.

    Raises:
        FileNotFoundError: the folder is no pipeline, or lacks a file of weights.
        ValueError: the pipeline is latent, needs a text, is unknown or damaged, or cannot be reached.
    """
    import diffusers  # noqa: PLC0415  (takes seconds to import)

    folder = _folder(source)
    index = _index(source, folder / INDEX)
    unet_class = _class_of(folder / INDEX, index["unet"], diffusers.ModelMixin)
    scheduler_class = _class_of(folder / INDEX, index["scheduler"], diffusers.SchedulerMixin)
    scheduler = _read(source, part_of(folder, "scheduler"), "scheduler_config.json", scheduler_class.from_pretrained)
    return _network(source, part_of(folder, "unet"), unet_class), scheduler


def _folder(source: str) -> Path:
    """The folder that `source` names. If it is a name on the hub, its files are fetched first."""
    if Path(source).exists():
        return Path(source)
    from diffusers import DiffusionPipeline  # noqa: PLC0415
    from huggingface_hub import hf_hub_download  # noqa: PLC0415

    index = _reached(source, lambda: hf_hub_download(source, INDEX))
    _index(source, index)
    folder = _reached(source, lambda: DiffusionPipeline.download(source))
    if not _variants(part_of(folder, "unet")):
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


def _index(source: str, path: Path) -> dict[str, Any]:
    """The contents of a `model_index.json`, after a check that its pipeline can be a denoiser."""
    import diffusers  # noqa: PLC0415

    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} holds no {INDEX}; a denoiser is a folder made by save_pretrained")
    index = _mapping(path)
    named = {part: value for part, value in index.items() if value is not None and value != [None, None]}
    named_class = index.get("_class_name")
    for part in UNUSABLE:
        if part in named:
            raise InvalidValue(f"the pipeline {source!r} is a {named_class!s:.60} with a {part}; {USABLE}")
    for part in ("unet", "scheduler"):
        if part not in named:
            raise InvalidValue(f"{path} names no {part}; {USABLE}")
    pipeline = _member(diffusers, named_class)
    if not _is_kind(pipeline, diffusers.DiffusionPipeline):
        raise InvalidValue(
            f"{path} names the pipeline class {named_class!r:.60}, which is none of diffusers {diffusers.__version__}; "
            "if its network works on pixels and takes no text, write DDPMPipeline"
        )
    arguments = list(inspect.signature(pipeline.__init__).parameters.values())[1:]
    needed = [each.name for each in arguments if each.default is each.empty and each.kind is not each.VAR_KEYWORD]
    if not set(needed) <= {"unet", "scheduler"}:
        raise InvalidValue(f"the pipeline {source!r} is a {named_class}, made of {', '.join(needed)}; {USABLE}")
    return index


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidValue(f"{path} is not JSON: {first_line(error)}") from error
    if not isinstance(found, dict):
        raise InvalidValue(f"{path} must hold a JSON object, got {found!r:.60}; save the pipeline again")
    return found


def _class_of(path: Path, named: Any, kind: type) -> Any:
    """The class that an index names for a part, `["diffusers", "UNet2DModel"]`."""
    import diffusers  # noqa: PLC0415

    pair = named if isinstance(named, list) and len(named) == 2 else [None, None]
    found = _member(diffusers, pair[1]) if pair[0] == "diffusers" else None
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


def _network(source: str, folder: Path, unet_class: Any) -> Any:
    variants = _variants(folder)
    if not variants:
        raise FileNotFoundError(f"{folder} holds no weights (diffusion_pytorch_model.safetensors)")
    if "" not in variants and len(variants) > 1:
        several = ", ".join(sorted(variants))
        raise InvalidValue(f"{folder} holds several variants of the weights ({several}); keep the files of only one")
    unet, report = _read(
        source,
        folder,
        "config.json",
        unet_class.from_pretrained,
        variant=None if "" in variants else variants.pop(),
        output_loading_info=True,
        low_cpu_mem_usage=False,  # else diffusers itself raises an error for a shape that does not fit
        ignore_mismatched_sizes=True,
    )
    _refuse_unfit(folder, report)
    for name, weight in unet.state_dict().items():
        if not weight.isfinite().all():
            raise InvalidValue(f"the weight {name} in {folder} holds NaN or infinity; save the pipeline again")
    return unet


def _variants(folder: Path) -> set[str]:
    """The variants of the weights that a folder holds. The empty name stands for the plain weights."""
    matches = [_WEIGHTS.fullmatch(path.name) for path in folder.iterdir()]
    return {match["variant"] or "" for match in matches if match}


def _read(source: str, folder: Path, config: str, load: Callable[..., Any], **options: Any) -> Any:
    """The object that `load` makes from `folder`. The JSON file `config` in it is checked first."""
    if (folder / config).is_file():
        _mapping(folder / config)
    try:
        with _quietly():
            return load(str(folder), **options)
    except Exception as error:  # a damaged file makes diffusers raise errors of many classes
        raise InvalidValue(f"the denoiser {source!r} cannot be read from {folder}: {first_line(error)}") from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Within the block, diffusers prints no warnings. They would list the name of every weight."""
    from diffusers.utils import logging  # noqa: PLC0415

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its class if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
