"""Explain a folder of pictures on several processes; start it again, and it does only what is missing.

    python examples/folder.py                                                      in one process
    accelerate launch --multi_gpu --num_processes 4 examples/folder.py             in four

Without `--pictures` it writes some digits to explain. `freemcg attribute` does the same from a terminal, with tables,
receipts and a budget. Copy this file if you need a loop of your own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image

from freemcg import BlackBox, FreeMCG, load_bundle


def write_digits(folder: Path, count: int) -> None:
    """Write held-out digits as pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(load_bundle().images[:count]):
        pixels = (image[0] * 255).round().to(torch.uint8).numpy()
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")


def main() -> None:
    """Explain this process's share of the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("folder"))
    given = parser.parse_args()

    state = PartialState(cpu=not torch.cuda.is_available())
    pictures = given.pictures
    if pictures is None:
        pictures = given.out / "pictures"
        if state.is_main_process:
            write_digits(pictures, given.count)
        state.wait_for_everyone()
    digits = load_bundle()
    digits.denoiser.unet.to(state.device)
    box = BlackBox(digits.classifier.to(state.device), class_names=digits.class_names)
    explainer = FreeMCG(box, digits.denoiser, seed=0)

    with state.split_between_processes(sorted(pictures.glob("*.png"))) as mine:
        for picture in mine:
            result_file = given.out / "results" / f"{picture.stem}.safetensors"
            if result_file.exists():  # a result is written whole or not at all
                continue
            image = torch.from_numpy(np.array(Image.open(picture).convert("L")))[None].float() / 255
            result = explainer.explain(image.to(state.device))
            result.save(result_file)
            decided = digits.class_names[result.decision]
            print(f"process {state.process_index}: {picture.name} is decided {decided}, {result.queries} queries")
    state.wait_for_everyone()
    if state.is_main_process:
        print(f"{len(list((given.out / 'results').glob('*.safetensors')))} results in {given.out / 'results'}")
    state.destroy_process_group()


if __name__ == "__main__":
    main()
