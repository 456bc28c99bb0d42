"""Labelled images whose tangent spaces are known exactly (Bordt et al. 2023, arXiv:2206.07387).

There are two kinds: images drawn from the prior and labelled by a classifier, and real images as an autoencoder
reconstructs them. A decoder made both, so its Jacobian spans the tangent space of each image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from freemcg.messages.errors import InvalidValue
from manifolds.tangent import TangentSpace
from manifolds.vae import Decode, decoder_tangent_space

ROUND = 64  # latents drawn at once; it is fixed, since another number would draw other latents
PATIENCE = 1000  # draws per accepted image, after which the labeller is given up


@dataclass(frozen=True)
class KnownManifold:
    """Images with labels, on a known manifold.

    Attributes:
        images: `(N, C, H, W)`, each `decode(latent)`.
        latents: `(N, k)`.
        labels: `(N,)`.
        tangent_spaces: one per image, exact up to the rounding of the decoder's dtype.
    """

    images: Tensor
    latents: Tensor
    labels: Tensor
    tangent_spaces: list[TangentSpace]


def generated(
    decode: Decode, labeller: Callable[[Tensor], Tensor], *, latent: int, count: int, seed: int = 0
) -> KnownManifold:
    """Images drawn from the prior and labelled by a classifier's decision. The latents are from `drawn_latents`."""
    return _known(decode, *drawn_latents(decode, labeller, latent=latent, count=count, seed=seed))


@torch.no_grad()
def drawn_latents(
    decode: Decode, labeller: Callable[[Tensor], Tensor], *, latent: int, count: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Latents drawn from the prior `z ~ N(0, I)`, and the class that `labeller` decides for the image of each.

    A latent is kept with probability `p^2`, where `p` is the largest class probability. So the labeller is sure of most
    images that remain. Latent number `n` is the same for any `count`.

    Args:
        decode: maps latents `(N, latent)`, float32 on the CPU, to images.
        labeller: maps images to logits `(N, classes)`, in eval mode.
        latent: the dimensions of the prior.
        count: the number of latents.
        seed: the seed of the latents and of the acceptance.

    Returns:
        Latents `(count, latent)` and labels `(count,)`.

    Raises:
        ValueError: `count` or `latent` is less than 1, or hardly any image is accepted.
    """
    if count < 1 or latent < 1:
        raise InvalidValue(f"count and latent must be >= 1, got {count} and {latent}")
    generator = torch.Generator().manual_seed(seed)
    latents, labels, kept, drawn = [], [], 0, 0
    while kept < count:
        if drawn >= PATIENCE * max(count, ROUND):
            raise InvalidValue(
                f"only {kept} of {drawn} images drawn were accepted; the labeller is too unsure of what is decoded"
            )
        z = torch.randn(ROUND, latent, generator=generator)
        chance = torch.rand(ROUND, generator=generator)
        sure, decided = labeller(decode(z)).softmax(dim=1).max(dim=1)
        accepted = chance.to(sure) < sure.square()
        latents.append(z[accepted.cpu()])
        labels.append(decided[accepted])
        kept, drawn = kept + len(latents[-1]), drawn + ROUND
    return torch.cat(latents)[:count], torch.cat(labels)[:count]


@torch.no_grad()
def reconstructed(encode: Callable[[Tensor], Tensor], decode: Decode, images: Tensor, labels: Tensor) -> KnownManifold:
    """Real images `(N, C, H, W)` as an autoencoder reconstructs them, `decode(encode(x))`, under their own labels.

    The tangent spaces are exact for the reconstructions, and approximate for the originals.

    Raises:
        ValueError: the numbers of labels and images differ.
    """
    if len(images) != len(labels):
        raise InvalidValue(f"there are {len(images)} images but {len(labels)} labels")
    return _known(decode, encode(images), labels)


@torch.no_grad()
def _known(decode: Decode, latents: Tensor, labels: Tensor) -> KnownManifold:
    images = torch.cat([decode(part) for part in latents.split(ROUND)])
    return KnownManifold(images, latents, labels, decoder_tangent_space(decode, latents))
