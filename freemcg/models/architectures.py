"""The small networks that `freemcg train` makes: three kinds of classifier and a variational autoencoder.

All take images `(N, C, H, W)` in [0, 1]. Each is stored as a folder of `model.safetensors` and `config.json`.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from freemcg.messages.errors import InvalidValue


class ConvClassifier(nn.Module):
    """Three stages of 3x3 convolution and pooling, then two dense layers. Sides are 8 pixels or more."""

    def __init__(self, channels: int, classes: int, image_size: int, width: int = 16) -> None:
        super().__init__()
        widths = [channels, width, 2 * width, 2 * width]
        stages: list[nn.Module] = []
        for before, after in pairwise(widths):
            stages += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*stages, nn.Flatten())
        self.head = nn.Sequential(
            nn.Dropout(0.25),
            nn.Linear(widths[-1] * (image_size // 8) ** 2, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, C, H, W)` in [0, 1]."""
        logits: Tensor = self.head(self.features(2 * images - 1))
        return logits


class ShallowClassifier(nn.Module):
    """Two 3x3 convolutions, a pooling and two dense layers, as for MNIST32 in Bordt et al. 2023. Sides must be even."""

    def __init__(self, channels: int, classes: int, image_size: int, width: int = 32) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 3),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Dropout(0.25),
            nn.Linear(2 * width * (image_size // 2 - 2) ** 2, 128),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(128, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, C, H, W)` in [0, 1]."""
        logits: Tensor = self.head(self.features(2 * images - 1))
        return logits


class _ResidualBlock(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(4, after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        out: Tensor = self.shortcut(x) + hidden
        return out


class ResidualClassifier(nn.Module):
    """Pre-activation residual blocks with group normalisation (He et al. 2016), pooled to logits `(N, classes)`."""

    def __init__(self, channels: int, classes: int, image_size: int, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 5, padding=2)
        self.blocks = nn.Sequential(
            _ResidualBlock(width, 2 * width),
            _ResidualBlock(2 * width, 4 * width),
            _ResidualBlock(4 * width, 4 * width),
        )
        self.norm = nn.GroupNorm(4, 4 * width)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(8 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(N, classes)` of images `(N, C, H, W)` in [0, 1]."""
        hidden = F.silu(self.norm(self.blocks(self.stem(2 * images - 1))))
        pooled = torch.cat([hidden.mean(dim=(2, 3)), hidden.amax(dim=(2, 3))], dim=1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits


class ConvVAE(nn.Module):
    """Convolutional VAE (Kingma, Welling 2014), layers as in Burgess et al. 2018.

    If the side is not divisible by 8, the last row and column are repeated up to the next side that is, and what is
    decoded there is cut off.
    """

    def __init__(self, channels: int, image_size: int, latent: int = 16, width: int = 32) -> None:
        super().__init__()
        side = math.ceil(image_size / 8)
        added = 8 * side - image_size
        self.encoder = nn.Sequential(
            *([nn.ReplicationPad2d((0, added, 0, added))] if added else []),
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(width * side * side, 256),
            nn.SiLU(),
            nn.Linear(256, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, 256),
            nn.SiLU(),
            nn.Linear(256, width * side * side),
            nn.SiLU(),
            nn.Unflatten(1, (width, side, side)),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, width, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            *([_Cut(image_size)] if added else []),
        )

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, each `(N, latent)`, of `q(z | image)`."""
        mean, log_variance = self.encoder(2 * images - 1).chunk(2, dim=1)
        return mean, log_variance

    def encode(self, images: Tensor) -> Tensor:
        """The posterior mean `(N, latent)`."""
        return self.posterior(images)[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Images `(N, C, H, W)` in [0, 1] of latents `(N, latent)`."""
        return torch.sigmoid(self.decoder(latents))

    def forward(self, images: Tensor) -> Tensor:
        """The reconstruction of the images, in [0, 1]."""
        return self.decode(self.encode(images))


class _Cut(nn.Module):
    """The first rows and columns of each image, `side` of them."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        return images[..., : self.side, : self.side]


NETWORKS: dict[str, type[nn.Module]] = {
    "conv_classifier": ConvClassifier,
    "residual_classifier": ResidualClassifier,
    "shallow_classifier": ShallowClassifier,
    "conv_vae": ConvVAE,
}


def save_network(network: nn.Module, folder: Path, name: str, arguments: dict[str, Any], **record: Any) -> None:
    """Write `model.safetensors` and `config.json`. The latter says how to build the network, and holds any `record`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"network": name, "arguments": arguments, **record}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    save_file(
        {key: value.contiguous().cpu() for key, value in network.state_dict().items()},
        folder / "model.safetensors",
    )


def load_network(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read the files of `save_network`: the network in eval mode, and its `config.json`.

    Raises:
        FileNotFoundError: the folder lacks one of the two files.
        ValueError: `save_network` did not write the config, it names an unknown network, or the weights do not fit it.
    """
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no {name}; a trained network is a folder with config.json and model.safetensors"
            )
    try:
        config = json.loads((folder / "config.json").read_text())
        kind, arguments = config["network"], config["arguments"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidValue(f"{folder / 'config.json'} is not what training writes: {error}") from error
    if kind not in NETWORKS:
        raise InvalidValue(f"{folder} names the network {kind!r}; known are {', '.join(NETWORKS)}")
    try:
        network = NETWORKS[kind](**arguments)
        network.load_state_dict(load_file(folder / "model.safetensors"))
    except (TypeError, RuntimeError, SafetensorError) as error:
        raise InvalidValue(f"{folder} cannot be loaded as a {kind}: {str(error).splitlines()[0]}") from error
    return network.eval(), config
