"""A pretrained diffusion model seen as the map `(x_t, t) -> E[x_0 | x_t]`.

Images are in [0, 1]. A point of the model's space stands for an image: for a model on pixels it is the image itself,
and for a latent model it is the latent (`freemcg.diffusion.space`). Noisy points are in the model's own range: `x_t =
sqrt(abar_t) (2 x - 1) + sqrt(1 - abar_t) eps` of an image `x`, and `sqrt(abar_t) z + sqrt(1 - abar_t) eps` of a latent
`z`. The schedule `abar_t` is read from the scheduler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from freemcg.diffusion.batches import in_batches
from freemcg.diffusion.condition import Condition
from freemcg.diffusion.kinds.choose import prediction_for
from freemcg.diffusion.kinds.gaussian import Function, GaussianNoise
from freemcg.diffusion.kinds.prediction import Prediction
from freemcg.diffusion.levels import Levels
from freemcg.diffusion.network import Network, condition_of
from freemcg.diffusion.pretrained import load_pipeline
from freemcg.diffusion.prompt import Prompt
from freemcg.diffusion.sizes import check_declared, try_size
from freemcg.diffusion.space import Latents, Pixels, Space
from freemcg.diffusion.workers import Sharing
from freemcg.files.bundles import denoiser_source
from freemcg.identity.mode import refuse_training
from freemcg.messages.arguments import real, whole
from freemcg.messages.errors import InvalidType, InvalidValue

BATCH_SIZE = 64
"""The noisy points in one call, if no other number is named."""


class Denoiser(Levels, Sharing):
    """A diffusion model on pixels or latents as a denoiser.

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
        text: for a network that takes a text, what it is told, in the place of a class.
        autoencoder: for a latent model, the `diffusers.AutoencoderKL` or `VQModel` whose latents it denoises.
        batch_size: the noisy points in one call. It changes memory, not results. It is halved if memory runs out.
        name: the name that a result records.

    Attributes:
        space: how images become points, and points images.
        channels, image_size: those of the images that the model was made for; `None` if it does not say.
        condition: the class or the text that the network is told, or `None`.

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
        text: Prompt | None = None,
        autoencoder: nn.Module | None = None,
        batch_size: int = BATCH_SIZE,
        name: str | None = None,
    ) -> None:
        batch_size = whole("batch_size", batch_size, 1)
        self.name = str(name or type(unet).__name__)
        told = condition_of(unet, condition, guidance_scale, null_class, text, self.name)
        self.condition: Condition | Prompt | None = told
        self.prediction: Prediction = prediction_for(Network(unet, self.condition), scheduler)
        self.unet = unet
        self.batch_size = batch_size
        super().__init__(self.prediction.alphas_cumprod)
        self.channels, self.image_size = self.prediction.network.channels, self.prediction.network.image_size
        self.space: Space = Pixels()
        if autoencoder is not None:
            self.space = Latents(autoencoder)
            self.channels, self.image_size = self.space.images_of(self.channels, self.image_size)
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
        prompt: str | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Denoiser:
        """Load a pipeline that `save_pretrained` wrote (`DDPMPipeline`, `StableDiffusionPipeline`, ...).

        Args:
            path_or_hub_id: a folder with `model_index.json`, the name of a repository on the Hugging Face hub, or that
                of a bundled denoiser: `"digits"`, `"chest-xrays"` or `"cifar10"`. A folder of such a name is
                `"./cifar10"`, or a `Path`. If there is only a variant of the weights (`*.fp16.safetensors`), that is
                read.
            dtype: the dtype in which the network computes. `None` means float32, whatever the files hold. An
                autoencoder always computes in float32.
            condition, guidance_scale, null_class: for a network with classes, as `Denoiser` takes them.
            prompt: for a network that takes a text. `None` is the empty text, from which guidance leads away.

        Raises:
            FileNotFoundError: the folder is no pipeline, or lacks a file of weights.
            ValueError: the pipeline is of an unknown kind, could not be loaded, or holds another network's weights.
                Its network is told a text or a class that it does not take, or none.
        """
        parts = load_pipeline(denoiser_source(path_or_hub_id)).on(device, dtype)
        if parts.text is None and prompt is not None:
            raise InvalidValue(f"the denoiser {path_or_hub_id} takes no text; leave out prompt={prompt!r:.60}")
        return cls(
            parts.network,
            parts.scheduler,
            condition=condition,
            guidance_scale=guidance_scale if parts.text is None else 1.0,
            null_class=null_class,
            text=None if parts.text is None else parts.text.read(prompt, guidance_scale),
            autoencoder=parts.autoencoder,
            batch_size=batch_size,
            name=str(path_or_hub_id),
        )

    @classmethod
    def gaussian(
        cls,
        function: Callable[[Tensor, float], Any],
        *,
        sigmas: tuple[float, float],
        batch_size: int = BATCH_SIZE,
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
        """What a result records: the identity of the prediction, and of a latent model also the autoencoder's."""
        return ":".join(each for each in (self.prediction.identity, self.space.identity) if each)

    @property
    def device(self) -> torch.device:
        """The device that holds the network."""
        return self.prediction.network.device

    @property
    def dtype(self) -> torch.dtype:
        """The network's dtype. Noisy images are converted to it, and answers back to float32 or better."""
        return self.prediction.network.dtype

    def check_size(self, images: Tensor) -> None:
        """Refuse images `(N, C, H, W)` that the model does not take, and a model that cannot be used as it is.

        Each new size costs one pass of one image through the model.

        Raises:
            ValueError: the model was made for other channels or another size, or fails at this size. Its answer may
                also be wrong for a denoiser, or a part of it may be in training mode.
        """
        refuse_training(self.unet, "denoiser", "denoiser.unet")
        check_declared(images, self.name, self.channels, self.image_size)
        if images.shape[1:] not in self._tried:
            try_size(images[:1].to(self.device), self.name, self.image_size, self._restored)
            self._tried.add(tuple(images.shape[1:]))

    def _restored(self, image: Tensor) -> Tensor:
        return self.decode(self.denoise(self.encode(image), self.timesteps // 2))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """The points of images `(N, C, H, W)` in [0, 1]: the images themselves, or their latents."""
        return self.space.encode(images, self.batch_size)

    @torch.no_grad()
    def decode(self, points: Tensor) -> Tensor:
        """The images `(N, C, H, W)` in [0, 1] of points. Of latents, each costs one pass of the decoder."""
        return points if self.space.of_pixels else self.computed(points, None)

    def add_noise(self, points: Tensor, t: int, noise: Tensor) -> Tensor:
        """`x_t` of points with `noise` of unit variance, in the model's range. All three have the same shape."""
        abar = self.alphas_cumprod[t].item()
        return math.sqrt(abar) * self.space.to_model(points) + math.sqrt(1 - abar) * noise

    def denoise(self, x_t: Tensor, t: int) -> Tensor:
        """`E[x_0 | x_t]` (Tweedie's formula) of noisy points, as points. Images are clipped to [0, 1]."""
        return self.separate(x_t, t)[0]

    def differentiable(self, t: int) -> Callable[[Tensor], Tensor]:
        """The differentiable function from `x_t` to the images of `E[x_0 | x_t]` at timestep `t`.

        Unlike `denoise` it does not clip points to [0, 1], since that would stop gradients.
        """

        def images(part: Tensor) -> Tensor:
            return self.space.decode(self.space.from_model(self._predict_clean(part, t)), self.batch_size)

        return lambda x_t: in_batches(images, x_t, self.batch_size)[0]

    @torch.no_grad()
    def separate(self, x_t: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Noisy points `(N, C, H, W)` denoised, as `denoise` does, and the noise that the network sees in them.

        The noise is the network's own, from before the clipping. So `add_noise` of the two gives `x_t` only where
        nothing was clipped. The next step of a reverse diffusion thus forgets what left the range of an image.

        Raises:
            ValueError: the network answered with another shape, or with NaN or infinity.
        """
        abar = self.alphas_cumprod[t].item()
        clean = self.computed(x_t, t)
        noise = (x_t - math.sqrt(abar) * clean) / math.sqrt(1 - abar)
        return self.space.within(self.space.from_model(clean)), noise

    def pull_back(self, x_t: Tensor, t: int, slopes: Tensor) -> Tensor:
        """The gradient with respect to `x_t`, from `slopes` `(N, C, H, W)` with respect to the denoised images.

        It is the vector-Jacobian product through `differentiable`. For the exact denoiser of the pixels of the data it
        is `2 sqrt(abar) / (1 - abar) Cov[image | x_t] slopes`. Each image costs a forward and a backward pass.
        """
        parts = []
        for noisy, wanted in zip(x_t.split(self.batch_size), slopes.split(self.batch_size), strict=True):
            leaf = noisy.detach().requires_grad_(True)
            with torch.enable_grad():
                images = self.differentiable(t)(leaf)
            parts.append(torch.autograd.grad(images, leaf, wanted)[0])
        return torch.cat(parts)

    @torch.no_grad()
    def compute(self, rows: Tensor, t: int | None) -> Tensor:
        """The network's `x_0` of `x_t` at timestep `t`, or, without a timestep, the images of points."""
        if t is None:
            return self.space.decode(rows, self.batch_size)
        found, self.batch_size = in_batches(lambda part: self._predict_clean(part, t), rows, self.batch_size)
        return found

    def _predict_clean(self, x_t: Tensor, t: int) -> Tensor:
        refuse_training(self.unet, "denoiser", "denoiser.unet")
        clean = self.prediction.clean(x_t, t)
        if not clean.isfinite().all():
            raise InvalidValue(f"the denoiser answered NaN or infinity at timestep {t}; try it in float32")
        return clean
