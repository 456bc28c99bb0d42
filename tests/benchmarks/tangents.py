"""Time the tangent bases of a decoder's images against one backward pass per pixel.

    python tests/benchmarks/tangents.py
    python tests/benchmarks/tangents.py --images 64 --channels 3

The decoder is that of the bundled VAE (32x32, grey, 16 latent dimensions), or an untrained one of the same layers for
three channels. Both ways end with the same singular value decomposition; the best of --repeats is printed.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import typer
from torch import Tensor

from freemcg.files.bundles import bundle_folder
from freemcg.models.architectures import ConvVAE, load_network
from manifolds import TangentSpace, decoder_tangent_space, tangent_space_of


def backward_per_pixel(decode: Callable[[Tensor], Tensor], latent: Tensor) -> TangentSpace:
    """The Jacobian row by row, as the published program of Bordt et al. computes it."""
    leaf = latent.clone().requires_grad_(True)
    pixels = decode(leaf[None]).flatten()
    rows = [torch.autograd.grad(pixel, leaf, retain_graph=True)[0] for pixel in pixels]
    return tangent_space_of(torch.stack(rows).T)


def best(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Milliseconds of the fastest of `repeats` calls, by the clock and by the processor."""
    walls, works = [], []
    for _ in range(repeats):
        wall, work = time.perf_counter(), time.process_time()
        function()
        walls.append(1000 * (time.perf_counter() - wall))
        works.append(1000 * (time.process_time() - work))
    return min(walls), min(works)


def main(images: int = 32, channels: int = 1, repeats: int = 3, threads: int = 2, seed: int = 0) -> None:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    if channels == 1:
        vae = load_network(bundle_folder("digits") / "vae")[0]
    else:
        torch.manual_seed(seed)
        vae = ConvVAE(channels, 32)
    assert isinstance(vae, ConvVAE)
    vae.eval().requires_grad_(False)
    latents = torch.randn(images, 16, generator=generator)
    fast = decoder_tangent_space(vae.decode, latents)
    slow = backward_per_pixel(vae.decode, latents[0])
    agreement = fast[0].alignment(slow.basis).min().item()
    wall, work = best(lambda: decoder_tangent_space(vae.decode, latents), repeats)
    slow_wall, slow_work = best(lambda: backward_per_pixel(vae.decode, latents[0]), repeats)
    print(f"{images} images of {channels}x32x32, 16 latent dimensions, {threads} threads, best of {repeats}")
    print("ms an image                  clock  processor")
    print(f"batched forward mode      {wall / images:8.1f} {work / images:10.1f}")
    print(f"one backward pass a pixel {slow_wall:8.1f} {slow_work:10.1f}")
    print(f"ratio                     {slow_wall * images / wall:8.1f} {slow_work * images / work:10.1f}")
    print(f"least alignment of the two bases {agreement:.6f}")


if __name__ == "__main__":
    typer.run(main)
