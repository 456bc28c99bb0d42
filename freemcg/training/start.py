"""Training from the weights of another denoiser, for users with few pictures of their own."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffusers import DDPMScheduler, UNet2DModel

from freemcg.diffusion.denoiser import Denoiser
from freemcg.diffusion.pretrained import load_pipeline, part_of
from freemcg.messages.errors import InvalidValue

if TYPE_CHECKING:
    from freemcg.training.settings import DenoiserTraining

OWN_SIZE = ("sample_size", "in_channels", "out_channels")  # the config gives these as image_size and channels


def load_start(folder: Path) -> Denoiser:
    """Load the denoiser to start from, a folder made by `save_pretrained`.

    Raises:
        FileNotFoundError: there is no such folder, or it is no pipeline.
        ValueError: its network is of a kind that freemcg does not train.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder} to start from")
    parts = load_pipeline(str(folder))
    unet, scheduler = parts.network, parts.scheduler
    if parts.autoencoder is not None:
        raise InvalidValue(f"the denoiser {folder} works on latents; start from one on pixels")
    if type(unet) is not UNet2DModel:
        raise InvalidValue(f"the network of {folder} is a {type(unet).__name__}; a UNet2DModel is trained here")
    if unet.config.num_class_embeds:
        raise InvalidValue(f"the denoiser {folder} learnt classes; start from one that did not")
    if not hasattr(scheduler, "alphas_cumprod"):
        raise InvalidValue(
            f"the scheduler of {folder} is a {type(scheduler).__name__}; start from a denoiser with a schedule in "
            "discrete time, such as DDPMScheduler"
        )
    start = Denoiser(unet.eval().requires_grad_(False), scheduler, name=str(folder))
    if unet.config.out_channels != start.channels:
        raise InvalidValue(f"the denoiser {folder} learnt variances too; start from one that did not")
    return start


def as_start(settings: DenoiserTraining, start: Denoiser) -> DenoiserTraining:
    """The settings, completed from the start: the network, its channels and its schedule are those of the start.

    Images may have another size than those of the start, since the same network takes them.

    Raises:
        ValueError: the settings name another network, other channels or another schedule.
    """
    folder = start.name
    network = _public(start.unet.config)
    size, channels = network["sample_size"], network["in_channels"]
    if "channels" in settings.model_fields_set and settings.channels != channels:
        raise InvalidValue(_refusal("channels", settings.channels, channels, folder))
    arguments = {key: value for key, value in network.items() if key not in OWN_SIZE}
    known = inspect.signature(DDPMScheduler.__init__).parameters
    found = _public(DDPMScheduler.from_pretrained(part_of(Path(folder), "scheduler")).config)
    schedule = {key: value for key, value in found.items() if key in known}  # the scheduler may be another one
    for name, said, has in (("network", settings.network, arguments), ("scheduler", settings.scheduler, schedule)):
        for key, value in said.items():
            if key not in has or has[key] != value:
                raise InvalidValue(_refusal(f"{name}.{key}", value, has.get(key, "not there"), folder))
    update = {"network": arguments, "scheduler": schedule, "channels": channels}
    if "image_size" not in settings.model_fields_set and isinstance(size, int):
        update["image_size"] = size
    return settings.model_copy(update=update)


def _public(config: Any) -> dict[str, Any]:
    """The public entries of a diffusers config, as a YAML file would hold them."""
    public: dict[str, Any] = json.loads(json.dumps({k: v for k, v in config.items() if not k.startswith("_")}))
    return public


def _refusal(name: str, said: Any, has: Any, folder: str) -> str:
    return f"{name} is {said!r}, but {has!r} in {folder}, where training starts; leave it out of the config"
