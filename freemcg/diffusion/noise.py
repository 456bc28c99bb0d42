"""Random numbers that depend on their purpose and on nothing else.

A generator is made from the user's seed and the name and number of the draw. So no draw depends on how many were made
before it, on the batch size, on the number of processes, or on the device.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def generator_for(seed: int, *purpose: int | str) -> torch.Generator:
    """A CPU generator for one purpose, such as `generator_for(seed, "train", step, process)`."""
    words = "/".join(str(word) for word in (seed, *purpose)).encode()
    digest = hashlib.blake2b(words, digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def particle_noise(seed: int, purpose: str, step: int, count: int, shape: tuple[int, ...], *, first: int = 0) -> Tensor:
    """Standard normal noise `(count, *shape)` for the particles from number `first` on, float32 on the CPU.

    Particle `k` has the same noise whatever else is drawn.
    """
    numbers = range(first, first + count)
    rows = [torch.randn(shape, generator=generator_for(seed, purpose, step, index)) for index in numbers]
    return torch.stack(rows) if rows else torch.empty(0, *shape)
