"""Pack models that `freemcg train` made into a bundle of the package, the denoiser in half precision.

python docs/bundles.py cifar10 --denoiser runs/cifar10-denoiser
python docs/bundles.py chest-xrays --denoiser runs/xray-denoiser
python docs/bundles.py chest-xrays --classifier runs/xray-classifier --judge runs/xray-judge
python docs/bundles.py chest-xrays --held-out pneumonia.npz
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import typer
from safetensors.torch import load_file, save

from freemcg.files.bundles import bundle_folder

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)


def pack_denoiser(source: Path, out: Path) -> None:
    """Write the pipeline with float16 weights. It computes in float32 once it is loaded."""
    for name in ("model_index.json", "scheduler/scheduler_config.json", "unet/config.json"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes((source / name).read_bytes())
    weights = load_file(source / "unet" / "diffusion_pytorch_model.safetensors")
    half = {name: weight.half() for name, weight in weights.items()}
    (out / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(save(half, {"format": "pt"}))
    copy_record(source, out)


def pack_classifier(source: Path, out: Path) -> None:
    """Copy the files of a classifier, but not its checkpoint."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        (out / name).write_bytes((source / name).read_bytes())
    copy_record(source, out)


def copy_record(source: Path, out: Path) -> None:
    """Copy `training.json`. Where the data lay on the machine that trained is left out of it."""
    record = json.loads((source / "training.json").read_text())
    if Path(record["settings"]["data"]).is_absolute():
        record["settings"]["data"] = Path(record["settings"]["data"]).name
    (out / "training.json").write_text(json.dumps(record, indent=2) + "\n")


def pack_held_out(source: Path, out: Path) -> None:
    """Write the test images of an `.npz` in MedMNIST's layout, `(N, 1, H, W)` uint8, with labels `(N,)`."""
    with np.load(source, allow_pickle=False) as arrays:
        images, labels = arrays["test_images"], np.ravel(arrays["test_labels"])
    held_out = {"images": torch.from_numpy(images)[:, None].contiguous(), "labels": torch.from_numpy(labels).long()}
    out.write_bytes(save(held_out))


@app.command()
def main(
    bundle: str,
    denoiser: Path | None = None,
    classifier: Path | None = None,
    judge: Path | None = None,
    held_out: Path | None = None,
) -> None:
    """Pack the parts that are named."""
    out = bundle_folder(bundle)
    if denoiser is not None:
        pack_denoiser(denoiser, out / "denoiser")
    if classifier is not None:
        pack_classifier(classifier, out / "classifier")
    if judge is not None:
        pack_classifier(judge, out / "judge")
    if held_out is not None:
        pack_held_out(held_out, out / "held_out.safetensors")


if __name__ == "__main__":
    app()
