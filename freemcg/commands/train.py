"""`freemcg train`: the training of a denoiser, a classifier or a VAE."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from freemcg.commands.help import examples
from freemcg.messages.terminal import say

train = typer.Typer(
    rich_markup_mode=None,
    epilog=examples(
        "freemcg train denoiser --config digits-denoiser --out runs/denoiser",
        "freemcg train classifier --config mine.yaml --data pictures/ --out runs/classifier",
    ),
)
Config = Annotated[str, typer.Option("--config", help="A YAML file, or a bundled config.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder of the model.", show_default=False)]
Data = Annotated[
    str | None, typer.Option(help="Folder of pictures, .parquet or .npz file, instead of the config's 'data'.")
]


@train.callback(invoke_without_command=True)
def _train(context: typer.Context) -> None:
    """Train a denoiser, a classifier or a VAE.

    Training costs no query. A run that was stopped goes on from its last checkpoint.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@train.command(
    "denoiser",
    epilog=examples(
        "freemcg train denoiser --config digits-denoiser --out runs/denoiser",
        "freemcg train denoiser --config mine.yaml --data pictures/ --start-from models/faces --out runs/mine",
        "accelerate launch -m freemcg train denoiser --config mine.yaml --data pictures/ --out runs/faces",
    ),
)
def _train_denoiser(
    config: Config,
    out: Out,
    data: Data = None,
    start_from: Annotated[
        str | None,
        typer.Option(help="Folder of a denoiser from whose weights training starts.", show_default=False),
    ] = None,
) -> None:
    """Train a diffusion model, for --denoiser."""
    from freemcg.training import DenoiserTraining, train_denoiser

    record = train_denoiser(_training(DenoiserTraining, config, data=data, start_from=start_from), out)
    best = min((check["mean"] for check in record["checks"]), default=None)
    final = f"final loss {record['loss_curve'][-1][1]:.4f}"
    _say_trained(out, final if best is None else f"held-out loss {best:.4f} at step {record['kept_step']}")


@train.command(
    "classifier",
    epilog=examples(
        "freemcg train classifier --config digits-classifier --out runs/classifier",
        "freemcg train classifier --config mine.yaml --data pictures/ --out runs/classifier",
        "freemcg train classifier --config digits-classifier --adversarial --out runs/robust",
    ),
)
def _train_classifier(
    config: Config,
    out: Out,
    data: Data = None,
    adversarial: Annotated[
        bool,
        typer.Option(
            "--adversarial", help="Train on images attacked within the config's 'radius' (L2, 1.0 by default)."
        ),
    ] = False,
    shuffled_labels: Annotated[
        bool,
        typer.Option(
            "--shuffled-labels", help="Train on labels in random order: a classifier that has learnt nothing of images."
        ),
    ] = False,
) -> None:
    """Train a small classifier, for --model."""
    from freemcg.training import ClassifierTraining, train_classifier

    settings = _training(ClassifierTraining, config, data=data)
    given = {"adversarial": adversarial, "shuffled_labels": shuffled_labels}
    settings = settings.model_copy(update={name: True for name, chosen in given.items() if chosen})
    record = train_classifier(settings, out)
    _say_trained(out, f"held-out accuracy {record.get('held_out_accuracy', 0):.4f}")


@train.command("vae", epilog=examples("freemcg train vae --config digits-vae --out runs/vae"))
def _train_vae(config: Config, out: Out, data: Data = None) -> None:
    """Train a variational autoencoder."""
    from freemcg.training import VaeTraining, train_vae

    record = train_vae(_training(VaeTraining, config, data=data), out)
    _say_trained(out, f"reconstruction RMSE {record.get('reconstruction_rmse', 0):.4f}")


def _training(settings: type[Any], config: str, **options: str | None) -> Any:
    from freemcg.files.config import read_config
    from freemcg.settings import make

    values, source = read_config(config)
    values |= {name: value for name, value in options.items() if value is not None}
    return make(settings, values, source=source)


def _say_trained(out: Path, headline: str) -> None:
    from accelerate import PartialState

    if PartialState().is_main_process:
        say(f"{headline}; the model and its training.json are in {out}")
