"""Small stand-ins for the models that a command line names: an untrained pipeline, and a classifier in a file."""

from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from PIL import Image

SIDE = 8

CONFIG = """\
particles: 12
queries: 9
noise: 0.3
search: {queries: 12, particles: 2, steps: 4, refresh: 2, unpaid: 8, strength: 0.5}
"""

MODEL = '''\
import os
from pathlib import Path

import torch
from neighbour import WEIGHTS

from freemcg import BlackBox

COUNTER = Path(__file__).with_name(f"asked-{os.environ.get('RANK', '0')}.txt")


def count(images):
    asked = int(COUNTER.read_text()) if COUNTER.exists() else 0
    COUNTER.write_text(str(asked + len(images)))


def brighter_right(images):
    """Three classes, by where the light is."""
    count(images)
    light = (images.mean(dim=1) * WEIGHTS).sum(dim=(1, 2))
    return torch.stack([light, -light, torch.zeros_like(light)], dim=1)


def answers_nan(images):
    count(images)
    return torch.full((len(images), 3), float("nan"))


def answers_one_number(images):
    count(images)
    return torch.zeros(1)


def answers_nan_elsewhere(images):
    return answers_nan(images) if os.environ.get("RANK") == "1" else brighter_right(images)


def refuses(images):
    count(images)
    raise ValueError("the lamp is off")


def breaks(images):
    count(images)
    raise KeyError("a slip")


def brightness_left(images):
    """One number an image."""
    count(images)
    return images[:, :, :, :4].mean(dim=(1, 2, 3))


def leaves(images):
    count(images)
    raise SystemExit("bye")


def divides(images):
    count(images)
    return images.reshape(7)


def is_stopped(images):
    count(images)
    raise KeyboardInterrupt


class Model(torch.nn.Module):
    pass


NUMBER = 3
box = BlackBox(brighter_right, class_names=["right", "left", "even"])
poor = BlackBox(brighter_right, class_names=["right", "left", "even"], budget=12)
'''

NEIGHBOUR = """\
import torch

WEIGHTS = torch.linspace(-3, 3, 64).reshape(8, 8)
"""


def make_pipeline(folder: Path) -> Path:
    """Save an untrained 8x8 grey diffusion pipeline with random, fixed weights."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(8, 8),
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
    )
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=20)).save_pretrained(folder)
    return folder


def make_pictures(folder: Path, names: tuple[str, ...], side: int = SIDE) -> Path:
    """Write grey pictures, each with a bright blot of its own."""
    for index, name in enumerate(names):
        values = np.random.default_rng(index).integers(0, 120, (side, side))
        values[:, (index * 3) % side] = 255
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values.astype(np.uint8)).save(folder / name)
    return folder


def make_place(folder: Path, names: tuple[str, ...] = ("a.png", "b.png", "deep/c.png")) -> Path:
    """A user's folder: `pics`, `mine.py`, `tiny.yaml`."""
    make_pictures(folder / "pics", names)
    (folder / "mine.py").write_text(MODEL)
    (folder / "neighbour.py").write_text(NEIGHBOUR)
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


def asked(folder: Path) -> list[int]:
    """How many images each process asked the classifier in `folder` about. It is empty if none asked."""
    return [int(path.read_text()) for path in sorted(folder.glob("asked-*.txt"))]
