"""The UNet of guided-diffusion, written from Dhariwal, Nichol 2021 (section 3, appendix) with its names of weights.

It is written for clearness, without regard to speed: attention goes head by head, in the words of its definition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """The arguments of a network. Attention is given by level, counted from the finest."""

    image_channels: int = 3
    width: int = 32
    multipliers: tuple[int, ...] = (1, 2)
    blocks: int = 1
    attention: tuple[int, ...] = (1,)
    learned_variance: bool = True
    resblock_updown: bool = True
    scale_shift: bool = True
    classes: int | None = None
    heads: int | None = None
    head_channels: int = 16
    new_order: bool = False

    def heads_of(self, channels: int) -> int:
        return channels // self.head_channels if self.heads is None else self.heads


def norm(channels: int) -> nn.Module:
    return nn.GroupNorm(32, channels)


class Residual(nn.Module):
    """A residual block. `resample` is applied before the first convolution, and to the shortcut."""

    def __init__(self, shape: Shape, before: int, after: int, resample=lambda h: h) -> None:
        super().__init__()
        self.scale_shift, self.resample = shape.scale_shift, resample
        time = after * (2 if shape.scale_shift else 1)
        self.in_layers = nn.Sequential(norm(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(4 * shape.width, time))
        self.out_layers = nn.Sequential(norm(after), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(after, after, 3, padding=1))
        self.skip_connection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        normalise, activate, convolve = self.in_layers
        h = convolve(self.resample(activate(normalise(x))))
        time = self.emb_layers(emb)[:, :, None, None]
        normalise, *rest = self.out_layers
        if self.scale_shift:
            channels = h.shape[1]
            h = normalise(h) * (1 + time[:, :channels]) + time[:, channels:]
        else:
            h = normalise(h + time)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resample(x)) + h


class Attention(nn.Module):
    """Attention of every pixel to every pixel, with a residual connection."""

    def __init__(self, shape: Shape, channels: int) -> None:
        super().__init__()
        self.heads, self.new_order = shape.heads_of(channels), shape.new_order
        self.norm, self.qkv = norm(channels), nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        pixels = x.flatten(2)
        rows = self.qkv(self.norm(pixels))
        width = pixels.shape[1] // self.heads
        found = []
        for head in range(self.heads):
            if self.new_order:  # all queries, all keys, all values
                starts = [part * self.heads * width + head * width for part in range(3)]
            else:  # the queries, keys and values of one head after another
                starts = [head * 3 * width + part * width for part in range(3)]
            q, k, v = (rows[:, start : start + width] for start in starts)
            weights = (q.transpose(1, 2) @ k / math.sqrt(width)).softmax(dim=-1)  # from each pixel, to each pixel
            found.append(v @ weights.transpose(1, 2))
        return x + self.proj_out(torch.cat(found, dim=1)).reshape(x.shape)


class Down(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.conv(double(x))


def halve(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


class GuidedUNet(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        levels = [shape.width * each for each in shape.multipliers]
        self.time_embed = nn.Sequential(
            nn.Linear(shape.width, 4 * shape.width), nn.SiLU(), nn.Linear(4 * shape.width, 4 * shape.width)
        )
        if shape.classes is not None:
            self.label_emb = nn.Embedding(shape.classes, 4 * shape.width)
        first = nn.Conv2d(shape.image_channels, levels[0], 3, padding=1)
        blocks, kept, now = [[first]], [levels[0]], levels[0]
        for level, channels in enumerate(levels):
            for _ in range(shape.blocks):
                blocks.append([Residual(shape, now, channels)])
                if level in shape.attention:
                    blocks[-1].append(Attention(shape, channels))
                now = channels
                kept.append(now)
            if level < len(levels) - 1:
                blocks.append([Residual(shape, now, now, halve) if shape.resblock_updown else Down(now)])
                kept.append(now)
        self.input_blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        self.middle_block = nn.ModuleList([Residual(shape, now, now), Attention(shape, now), Residual(shape, now, now)])
        blocks = []
        for level, channels in reversed(list(enumerate(levels))):
            for _ in range(shape.blocks + 1):
                blocks.append([Residual(shape, now + kept.pop(), channels)])
                if level in shape.attention:
                    blocks[-1].append(Attention(shape, channels))
                now = channels
            if level > 0:
                blocks[-1].append(Residual(shape, now, now, double) if shape.resblock_updown else Up(now))
        self.output_blocks = nn.ModuleList(nn.ModuleList(block) for block in blocks)
        answers = shape.image_channels * (2 if shape.learned_variance else 1)
        self.out = nn.Sequential(norm(now), nn.SiLU(), nn.Conv2d(now, answers, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, classes: Tensor | None = None) -> Tensor:
        half = self.shape.width // 2
        frequencies = torch.tensor([10000 ** (-i / half) for i in range(half)])
        angles = t[:, None].float() * frequencies
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if classes is not None:
            emb = emb + self.label_emb(classes)
        h = self.input_blocks[0][0](x)
        kept = [h]
        for block in self.input_blocks[1:]:
            for layer in block:
                h = layer(h, emb)
            kept.append(h)
        for layer in self.middle_block:
            h = layer(h, emb)
        for block in self.output_blocks:
            h = torch.cat([h, kept.pop()], dim=1)
            for layer in block:
                h = layer(h, emb)
        return self.out(h)


def random_unet(shape: Shape, seed: int = 0) -> GuidedUNet:
    """A network with random weights, biases and normalisations. No layer is zero, so that each one shows."""
    network = GuidedUNet(shape).eval()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        spread = torch.randn(weight.shape, generator=generator)
        scale = 0.2 if weight.ndim == 1 else 1 / math.sqrt(weight[0].numel())
        mean = 1 if name.endswith("weight") and weight.ndim == 1 else 0
        weight.data = mean + scale * spread
    for weight in network.input_blocks[0].parameters():
        weight.data *= 0.01  # the first normalisation sees small features, so its epsilon shows
    return network
