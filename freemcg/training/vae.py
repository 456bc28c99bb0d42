"""Training of a variational autoencoder (Kingma, Welling 2014; beta: Higgins et al. 2017)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from freemcg.files.images import write_image
from freemcg.files.whole import write_text
from freemcg.models.architectures import ConvVAE, save_network
from freemcg.training.data import load_training_images
from freemcg.training.loop import start_accelerator, train
from freemcg.training.settings import Training


class VaeTraining(Training):
    """Config of `freemcg train vae`."""

    latent: int = Field(16, ge=1)
    width: int = Field(32, ge=4)
    beta: float = Field(1.0, ge=0, description="weight of the KL divergence")


def train_vae(settings: VaeTraining, out: Path) -> dict[str, Any]:
    """Train, and write `model.safetensors`, `config.json`, `training.json` and `reconstructions.png` to `out`.

    The loss is the negative evidence lower bound of a Bernoulli decoder, summed over pixels and averaged over images.
    """
    accelerator = start_accelerator()
    images = load_training_images(
        settings.data,
        channels=settings.channels,
        image_size=settings.image_size,
        progress=accelerator.is_main_process,
    )
    arguments = {
        "channels": settings.channels,
        "image_size": settings.image_size,
        "latent": settings.latent,
        "width": settings.width,
    }
    torch.manual_seed(settings.seed)
    network = _Autoencoder(ConvVAE(**arguments))

    def loss(model: nn.Module, batch: Tensor, labels: Tensor | None, generator: torch.Generator) -> Tensor:
        noise = torch.randn(len(batch), settings.latent, generator=generator).to(batch.device)
        logits, mean, log_variance = model(batch, noise)
        misfit = F.binary_cross_entropy_with_logits(logits, batch, reduction="sum")
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        negative_bound: Tensor = (misfit + settings.beta * divergence) / len(batch)
        return negative_bound

    trained, record = train(network, loss, images, settings, out, accelerator)
    if accelerator.is_main_process:
        vae = trained.vae
        assert isinstance(vae, ConvVAE)
        save_network(vae, out, "conv_vae", arguments)
        shown, _ = images.batch(torch.arange(min(32, len(images))))
        with torch.no_grad():
            answers = vae(shown.to(accelerator.device)).cpu()
        record["reconstruction_rmse"] = (answers - shown).square().mean().sqrt().item()
        strip = torch.cat([shown, answers], dim=2)
        write_image(torch.cat(list(strip), dim=2), out / "reconstructions.png")
        write_text(out / "training.json", json.dumps(record, indent=2) + "\n")
    return record


class _Autoencoder(nn.Module):
    """A VAE whose forward pass gives all that the loss needs. So training can run on several processes."""

    def __init__(self, vae: ConvVAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self.vae.posterior(images)
        latents = mean + (log_variance / 2).exp() * noise
        return self.vae.decoder(latents), mean, log_variance
