"""A pretrained diffusion model seen as the map `(x_t, t) -> E[x_0 | x_t]`.

Images are in [0, 1]. Noisy images `x_t = sqrt(abar_t) (2 x - 1) + sqrt(1 - abar_t) eps` are in the model's own range.
The schedule `abar_t` is read from the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.condition import Condition, condition_for
from freemcg.diffusion.kinds.choose import prediction_for
from freemcg.diffusion.kinds.gaussian import Function, GaussianNoise
from freemcg.diffusion.kinds.prediction import Prediction
from freemcg.diffusion.network import Network, read_config
from freemcg.diffusion.pretrained import first_line, load_pipeline
from freemcg.identity.mode import refuse_training
from freemcg.messages.arguments import real, whole
from freemcg.messages.errors import InvalidType, InvalidValue


class Denoiser:
    """A pixel-space diffusion model as a denoiser.

    Args:
        unet: called with noisy images and a time, as a `diffusers.UNet2DModel` is (`freemcg.diffusion.network`).
        scheduler: says what the network takes and predicts. It is one with `alphas_cumprod` and perhaps a
            `config.prediction_type` (`epsilon` by default), or one of `freemcg.diffusion.kinds.choose`.
        condition: for a network with classes, the number of the class that it is told, the same for every image.
            `None` is the null class. A class of the diffusion model is not a target of the classifier: told the target,
            the denoiser would decide what the classifier should.
        guidance_scale: `w` of the guidance `eps_null + w (eps_c - eps_null)`. With 1, the null class is not needed.
            With any other, each image costs two passes.
        null_class: the number of the class that stands for images of any class, if the network was trained with one.
        batch_size: the noisy images in one call. It changes memory, not results.
        name: the name that a result records.

    Attributes:
        channels, image_size: the channels and the size that the network was made for; `None` if it does not say.
        timesteps: the length `T` of the schedule.
        condition: the class that the network is told, as a `Condition`, or `None`.

    Raises:
        TypeError: the scheduler has no `alphas_cumprod` and is of an unknown class.
        ValueError: the prediction type is unknown, the condition is missing or wrong, or the network needs a text
            besides the image. Every use raises it if a part of the network is in training mode.
    """

    def __init__(
        self,
        unet: nn.Module,
        scheduler: Any,
        *,
        condition: int | None = None,
        guidance_scale: float = 1.0,
        null_class: int | None = None,
        batch_size: int = 64,
        name: str | None = None,
    ) -> None:
        batch_size = whole("batch_size", batch_size, 1)
        classes = read_config(unet, "num_class_embeds", None) or None
        self.condition: Condition | None = condition_for(classes, condition, guidance_scale, null_class)
        self.prediction: Prediction = prediction_for(Network(unet, self.condition), scheduler)
        self.unet = unet
        self.batch_size = batch_size
        self.alphas_cumprod = self.prediction.alphas_cumprod
        self.timesteps = len(self.alphas_cumprod)
        self.channels, self.image_size = self.prediction.network.channels, self.prediction.network.image_size
        self.name = str(name or type(unet).__name__)
        self._tried: set[tuple[int, ...]] = set()

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        condition: int | None = None,
        guidance_scale: float = 1.0,
        null_class: int | None = None,
        batch_size: int = 64,
    ) -> Denoiser:
        """Load a pipeline on pixels that `save_pretrained` wrote (`DDPMPipeline`, `DDIMPipeline`, ...).

        Args:
            path_or_hub_id: a folder with `model_index.json`, or the name of a repository on the Hugging Face hub.
                If it holds only a variant of the weights (`*.fp16.safetensors`), that variant is read.
            dtype: the dtype in which the network computes. `None` means float32, whatever the files hold.
            condition, guidance_scale, null_class: for a network with classes, as `Denoiser` takes them.

        Raises:
            FileNotFoundError: the folder is no pipeline, or lacks a file of weights.
            ValueError: the pipeline is latent, could not be loaded, or holds another network's weights. Its network
                needs a text, or is told no class or a wrong one.
        """
        unet, scheduler = load_pipeline(str(path_or_hub_id))
        unet = unet.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        if dtype is not None:
            unet = unet.to(dtype=dtype)
        if device is not None:
            unet = unet.to(device)
        return cls(
            unet,
            scheduler,
            condition=condition,
            guidance_scale=guidance_scale,
            null_class=null_class,
            batch_size=batch_size,
            name=str(path_or_hub_id),
        )

    @classmethod
    def gaussian(
        cls,
        function: Callable[[Tensor, float], Any],
        *,
        sigmas: tuple[float, float],
        batch_size: int = 64,
        name: str | None = None,
    ) -> Denoiser:
        """Any denoiser of Gaussian noise: `function(y + s eps, s)` answers the mean of the images `y` in [0, 1].

        Args:
            function: called with noisy images `(N, C, H, W)` and the deviation `s` of their noise, a float. Both are in
                units of images in [0, 1], and not clipped. It answers images of the same shape, in the same units. A
                `torch.nn.Module` is known by its weights, and any other callable by its name and its file.
            sigmas: the lowest and the highest `s` for which the function is good, such as `(0.004, 0.2)`. A noise level
                is a fraction of the levels in between. `sigma` and `timestep` speak of [-1, 1], where it is `2 s`.

        Raises:
            TypeError: the function cannot be called, or a sigma is no number.
            ValueError: there is no range of noise between the sigmas.
        """
        if not callable(function):
            raise InvalidType(f"function must take noisy images and their sigma, got {function!r:.60}")
        noise = GaussianNoise(*(real("sigmas", each, 0, math.inf) for each in sigmas))
        known = name or getattr(function, "__name__", type(function).__name__)
        return cls(Function(function), noise, batch_size=batch_size, name=known)

    @cached_property
    def identity(self) -> str:
        """The identity that a result records: the network's, what it predicts, its schedule, and its condition."""
        return self.prediction.identity

    @property
    def device(self) -> torch.device:
        """The device that holds the network."""
        return self.prediction.network.device

    @property
    def dtype(self) -> torch.dtype:
        """The network's dtype. Noisy images are converted to it, and answers back to float32 or better."""
        return self.prediction.network.dtype

    def check_size(self, images: Tensor) -> None:
        """Refuse images `(N, C, H, W)` that the network does not take, and a network that cannot be used as it is.

        Each new size costs one pass of one image through the network.

        Raises:
            ValueError: the network was made for other channels or another size, or fails at this size. Its answer may
                also be wrong for a denoiser, or a part of it may be in training mode.
        """
        refuse_training(self.unet, "denoiser", "denoiser.unet")
        if self.channels is not None and images.shape[1] != self.channels:
            raise InvalidValue(
                f"images have {images.shape[1]} channels but the denoiser {self.name} makes {self.channels}"
            )
        if self.image_size is not None and tuple(images.shape[2:]) != self.image_size:
            made = f"{self.image_size[0]}x{self.image_size[1]}"
            raise InvalidValue(
                f"images are {images.shape[2]}x{images.shape[3]} but the denoiser {self.name} makes {made}; "
                f"resize them to {made}"
            )
        if images.shape[1:] not in self._tried:
            self._try(images[:1])
            self._tried.add(tuple(images.shape[1:]))

    def _try(self, image: Tensor) -> None:
        """Denoise one image, so that a network that fails on it shows this before the first query."""
        try:
            self.denoise(image.to(self.device), self.timesteps // 2)
        except (RuntimeError, ValueError) as error:
            raise InvalidValue(
                f"the denoiser {self.name} fails on images of {image.shape[2]}x{image.shape[3]} "
                f"({first_line(error)}){self._sizes_that_fit(image)}"
            ) from error

    def _sizes_that_fit(self, image: Tensor) -> str:
        """The end of a refusal: the nearest sizes that suit a network that halves its input several times."""
        for multiple in (2**halvings for halvings in range(1, 9)):
            below = [max(side // multiple, 1) * multiple for side in image.shape[2:]]
            above = [side + multiple for side in below]
            if self._takes(image, below) and self._takes(image, above):
                sizes = " or ".join(f"{height}x{width}" for height, width in (below, above))
                whose = "resize them to" if self.image_size is None else "sample_size in its configuration must be"
                return f"; {whose} a multiple of {multiple}, such as {sizes}"
        return ""

    def _takes(self, image: Tensor, size: list[int]) -> bool:
        try:
            self.denoise(image.new_zeros(1, image.shape[1], *size, device=self.device), self.timesteps // 2)
        except (RuntimeError, ValueError):
            return False
        return True

    def sigma(self, t: int) -> float:
        """Noise-to-signal ratio `sqrt((1 - abar_t) / abar_t)` at timestep `t`, for images in [-1, 1]."""
        abar = self.alphas_cumprod[t].item()
        return math.sqrt((1 - abar) / abar)

    def timestep(self, fraction: float | None = None, *, sigma: float | None = None) -> int:
        """The timestep of a noise level, given as a fraction of the schedule in (0, 1], or as `sigma`.

        Raises:
            ValueError: not exactly one of the two is given, or it is out of range.
        """
        if (fraction is None) == (sigma is None):
            raise InvalidValue(
                f"give the noise level as a fraction or as sigma, not both; got fraction={fraction}, sigma={sigma}"
            )
        if sigma is not None:
            ratios = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
            if not ratios[0] <= sigma <= ratios[-1]:
                raise InvalidValue(f"sigma must lie in [{ratios[0]:.4g}, {ratios[-1]:.4g}], got {sigma}")
            return int((ratios.log() - torch.tensor(sigma).log()).abs().argmin())
        assert fraction is not None
        if not 0 < fraction <= 1:
            raise InvalidValue(f"a noise level is a fraction of the schedule in (0, 1], got {fraction}")
        return min(self.timesteps - 1, max(1, round(fraction * self.timesteps)))

    def add_noise(self, images: Tensor, t: int, noise: Tensor) -> Tensor:
        """`x_t` of images `(N, C, H, W)` in [0, 1] with `noise` of unit variance, in the model's range."""
        abar = self.alphas_cumprod[t].item()
        return math.sqrt(abar) * (2 * images - 1) + math.sqrt(1 - abar) * noise

    def denoise(self, x_t: Tensor, t: int) -> Tensor:
        """`E[x_0 | x_t]` (Tweedie's formula) of noisy images `(N, C, H, W)`, as images clipped to [0, 1]."""
        return self.separate(x_t, t)[0]

    def differentiable(self, t: int) -> Callable[[Tensor], Tensor]:
        """The differentiable function `x_t -> E[x_0 | x_t]` at timestep `t`, from `(N, C, H, W)` to images.

        Unlike `denoise` it does not clip to [0, 1], since that would stop gradients.
        """
        return lambda x_t: torch.cat([self._predict_clean(part, t) for part in x_t.split(self.batch_size)]) / 2 + 0.5

    @torch.no_grad()
    def separate(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Noisy images `(N, C, H, W)` as images clipped to [0, 1], and the noise that the network sees in them.

        The noise is the network's own, from before the clipping. So `add_noise` of the two gives `x_t` only where
        nothing was clipped. The next step of a reverse diffusion thus forgets what left the range of an image.

        Raises:
            ValueError: the network answered with another shape, or with NaN or infinity.
        """
        abar = self.alphas_cumprod[t].item()
        clean = torch.cat([self._predict_clean(part, t) for part in x_t.split(self.batch_size)])
        noise = (x_t - math.sqrt(abar) * clean) / math.sqrt(1 - abar)
        return (clean / 2 + 0.5).clamp(0, 1), noise

    def pull_back(self, x_t: Tensor, t: int, slopes: Tensor) -> Tensor:
        """The gradient with respect to `x_t`, from `slopes` `(N, C, H, W)` with respect to the denoised images.

        It is the vector-Jacobian product through the denoiser, before clipping. For the exact denoiser of the data it
        is `2 sqrt(abar) / (1 - abar) Cov[image | x_t] slopes`. Each image costs a forward and a backward pass.
        """
        parts = []
        for noisy, wanted in zip(x_t.split(self.batch_size), slopes.split(self.batch_size), strict=True):
            leaf = noisy.detach().requires_grad_(True)
            with torch.enable_grad():
                images = self.differentiable(t)(leaf)
            parts.append(torch.autograd.grad(images, leaf, wanted)[0])
        return torch.cat(parts)

    def _predict_clean(self, x_t: Tensor, t: int) -> Tensor:
        refuse_training(self.unet, "denoiser", "denoiser.unet")
        clean = self.prediction.clean(x_t, t)
        if not clean.isfinite().all():
            raise InvalidValue(f"the denoiser answered NaN or infinity at timestep {t}; try it in float32")
        return clean
