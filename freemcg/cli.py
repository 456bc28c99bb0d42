"""The command line: every command is a few lines over the Python API.

What went wrong is said in one sentence on the error stream; `freemcg.errors` holds the exit statuses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freemcg.errors import (
    INTERRUPTED,
    MODEL_FAILED,
    SLIP,
    STATUSES,
    UNFINISHED,
    FailedElsewhere,
    sentence_of,
    show_traceback,
    status_of,
)
from freemcg.output import say
from freemcg.refusal import InvalidValue

if TYPE_CHECKING:
    from freemcg.blackbox import BlackBox
    from freemcg.jobs import Task


def _listed(title: str, *lines: str) -> str:
    """What help shows below the options, line by line as it stands."""
    return "\b\n" + "\n".join((title, *(f"  {line}" for line in lines)))


def _examples(*lines: str) -> str:
    return _listed("Examples:", *lines)


app = typer.Typer(
    name="freemcg",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=_examples(
        "freemcg demo",
        "freemcg attribute photos/ --model mine.py:predict --scores probabilities \\",
        "    --denoiser google/ddpm-celebahq-256 --out results",
    )
    + "\n\n"
    + _listed("Exit status:", *(f"{status:3}  {meaning}" for status, meaning in STATUSES.items())),
)
train = typer.Typer(
    rich_markup_mode=None,
    epilog=_examples(
        "freemcg train denoiser --config digits-denoiser --out runs/denoiser",
        "freemcg train classifier --config mine.yaml --data pictures/ --out runs/classifier",
    ),
)
app.add_typer(train, name="train")

Images = Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder of the results; what is there is not done again.", show_default=False)]
Model = Annotated[
    str,
    typer.Option(
        help="The classifier: file.py:name (BlackBox, torch module, or callable from images (N, C, H, W) in [0, 1] to "
        "scores), file.onnx, hf:name (Hugging Face repository or folder), endpoint.yaml (how to ask over HTTP), "
        "http://.../v2/models/NAME (Open Inference Protocol), a folder written by 'freemcg train classifier', or the "
        "bundled digits or digits-judge."
    ),
]
Scores = Annotated[
    str | None,
    typer.Option(
        help="What file.py:name or file.onnx answers: logits, probabilities, log_probabilities, top_k (those of some "
        "classes, NaN or not listed for the others), label, binary (the probability of the positive class of two), "
        "binary_logit, multi_label (a probability for each label), multi_label_logit or value (numbers that mean "
        "themselves).  [default: logits, or as the ONNX file shows; to "
        "be said for http://...]"
    ),
]
Classes = Annotated[int | None, typer.Option(help="Number of classes; needed where it answers labels or top_k.")]
Size = Annotated[int | None, typer.Option(help="Side in pixels that file.py:name wants its images resized to.")]
DenoiserName = Annotated[
    str, typer.Option(help="The diffusion model: a folder, a repository on the hub, or the bundled digits.")
]
Target = Annotated[
    str | None,
    typer.Option(
        help="A class, by name or index. A counterfactual of a value: a number to reach, up:1.5 or down:2, after NAME= "
        "if there are several.",
        show_default=False,
    ),
]
Config = Annotated[str | None, typer.Option(help="Settings: a YAML file, or the bundled 'paper'.")]
Seed = Annotated[int | None, typer.Option(help="Seed of all noise.  [default: 0]")]
Budget = Annotated[
    str | None,
    typer.Option(
        help="The most that this start may cost, retries included: queries (500), or money (2.50usd), which needs "
        "--price-per-1000. Where something is left over, the exit status is 1.",
        show_default=False,
    ),
]
Price = Annotated[float | None, typer.Option(min=0, help="Price of 1000 queries; shown beside them.")]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="File that keeps answers, so that nothing is paid for twice.  [default: OUT/answers.sqlite for a model "
        "behind an address]"
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no answers.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.  [default: cuda where there is one]")]
TrainingConfig = Annotated[str, typer.Option("--config", help="A YAML file, or a bundled config.", show_default=False)]
TrainingOut = Annotated[Path, typer.Option("--out", help="Folder of the model.", show_default=False)]
Data = Annotated[str | None, typer.Option(help="Folder of pictures, in place of the config's 'data'.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (that of the process, by default) and return the exit status.

    `freemcg.errors` says which. With `FREEMCG_DEBUG=1` in the environment, errors keep their traceback.
    """
    os.environ.setdefault(
        "OMP_WAIT_POLICY", "PASSIVE"
    )  # torch's idle threads spin, several times slower on a busy machine
    try:
        status = app(arguments, prog_name="freemcg", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except (Exception, SystemExit) as error:
        if os.environ.get("FREEMCG_DEBUG") == "1":
            raise
        status = status_of(error)
        if isinstance(error, SystemExit) and status != MODEL_FAILED:
            return status  # another process says why
        if status == SLIP and not isinstance(error, FailedElsewhere):
            show_traceback(error)
        else:
            say(f"freemcg: {sentence_of(error)}", err=True)
        return status
    if status == INTERRUPTED:
        say("freemcg: interrupted; finished results are kept, and the same command goes on from them", err=True)
    return int(status or 0)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Explain an image classifier that you can only query.

    Where does it look, and what is the smallest realistic change that makes it decide otherwise? A diffusion model
    supplies what a realistic image is; the classifier is only asked, image by image, and every question is counted.
    """
    if version:
        from freemcg.version import __version__  # noqa: PLC0415

        say(f"freemcg {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog=_examples("freemcg demo", "freemcg demo --images 10 --out digits"))
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the pictures and results.")] = Path("freemcg-demo"),
    images: Annotated[int, typer.Option(help="How many digits, 1..10.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the choice and of all noise.")] = 0,
) -> None:
    """Explain digits with the bundled models.

    Handwritten digits, held out in training: where the bundled classifier looks, and a change that flips its decision.
    Each costs about 110 queries and 4 seconds on two CPU cores.
    """
    from freemcg.demo import run_demo  # noqa: PLC0415

    _hush_diffusers()
    run_demo(out, images=images, seed=seed)


@app.command(
    epilog=_examples(
        "freemcg attribute freemcg-demo/inputs --out results",
        "freemcg attribute photos/ --model mine.py:predict --denoiser models/faces --out results",
        "accelerate launch --multi_gpu --num_processes 2 -m freemcg attribute photos/ --out results",
    )
)
def attribute(
    images: Images,
    out: Out,
    model: Model = "digits",
    scores: Scores = None,
    num_classes: Classes = None,
    image_size: Size = None,
    denoiser: DenoiserName = "digits",
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int | None, typer.Option(help="Queries an image, beside one for the image itself.  [default: 64]")
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(help="Ask only until the map's relative standard error is this; --queries is then the most."),
    ] = None,
    seed: Seed = None,
    device: Device = None,
    budget: Budget = None,
    price_per_1000: Price = None,
    cache: Cache = None,
    no_cache: NoCache = False,
) -> None:
    """Show where the classifier looks.

    That is, which pixels speak for its decision, or for --target.

    Costs 65 queries an image (1 + --queries). A model behind an address is asked about the image once more at the end,
    four times where the answer differs, and marked model_changed where it is another model's.
    """
    models = {"model": model, "scores": scores, "num_classes": num_classes, "image_size": image_size}
    settings = _settings(config, queries=queries, tolerance=tolerance, seed=seed)
    money: dict[str, Any] = {"budget": budget, "price_per_1000": price_per_1000, "cache": cache, "no_cache": no_cache}
    _run("attribution", images, out, models, denoiser, target, settings, device, **money)


@app.command(
    epilog=_examples(
        "freemcg counterfactual freemcg-demo/inputs/digit-4.png --target 9 --out changed",
        "freemcg counterfactual photos/ --model mine.py:predict --denoiser models/faces --out changed",
    )
)
def counterfactual(
    images: Images,
    out: Out,
    model: Model = "digits",
    scores: Scores = None,
    num_classes: Classes = None,
    image_size: Size = None,
    denoiser: DenoiserName = "digits",
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int | None, typer.Option(help="Queries an image, at most.  [default: 50; 100 for top_k, 200 for label]")
    ] = None,
    seed: Seed = None,
    device: Device = None,
    budget: Budget = None,
    price_per_1000: Price = None,
    cache: Cache = None,
    no_cache: NoCache = False,
) -> None:
    """Find what flips the decision.

    That is, a realistic image close to yours that the classifier decides as --target, or as its runner-up.

    Costs at most 50 queries an image (--queries): 1 for it, 10 for each of 4 gradients, the rest for candidates.
    --config paper costs 9,902.
    """
    models = {"model": model, "scores": scores, "num_classes": num_classes, "image_size": image_size}
    settings = _search_settings(config, queries, seed=seed)
    money: dict[str, Any] = {"budget": budget, "price_per_1000": price_per_1000, "cache": cache, "no_cache": no_cache}
    _run("counterfactual", images, out, models, denoiser, target, settings, device, **money)


@app.command(
    "plan",
    epilog=_examples(
        "freemcg plan photos/ --model endpoint.yaml --price-per-1000 1.50 --latency 0.2",
        "freemcg plan photos/ --task counterfactual --config paper --price-per-1000 1.50",
    ),
)
def _plan(
    images: Images,
    task: Annotated[str, typer.Option(help="attribution or counterfactual.")] = "attribution",
    model: Model = "digits",
    scores: Scores = None,
    num_classes: Classes = None,
    image_size: Size = None,
    config: Config = None,
    queries: Annotated[
        int | None, typer.Option(help="Queries an image, as 'attribute' and 'counterfactual' take them.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the results; what is done there is left out.")] = None,
    latency: Annotated[float | None, typer.Option(min=0, help="Seconds an answer takes; 'probe' shows it.")] = None,
    price_per_1000: Price = None,
) -> None:
    """Forecast the queries, time and price of a job.

    Costs nothing: the classifier is asked nothing.
    """
    from freemcg.items import list_items  # noqa: PLC0415
    from freemcg.models import load_black_box  # noqa: PLC0415
    from freemcg.plan import describe_forecast, forecast  # noqa: PLC0415
    from freemcg.settings import Settings, for_scores, make  # noqa: PLC0415

    if task not in ("attribution", "counterfactual"):
        raise InvalidValue(f"task must be attribution or counterfactual, got {task!r}")
    items = list_items(images, images.parent / "unwritten" if out is None else out)
    pending = sum(not item.done for item in items)
    black_box = load_black_box(model, scores=scores, num_classes=num_classes, image_size=image_size)
    wanted: Task = "attribution" if task == "attribution" else "counterfactual"
    values = _settings(config, queries=queries) if wanted == "attribution" else _search_settings(config, queries)
    settings = make(Settings, for_scores(values, black_box.scores))
    found = forecast(black_box, settings, wanted, pending, latency=latency, price_per_1000=price_per_1000)
    for line in describe_forecast(found):
        say(line)


@app.command(
    "probe",
    epilog=_examples(
        "freemcg probe photos/ --model endpoint.yaml",
        "freemcg probe photos/ --model http://localhost:8080/v2/models/digits --scores logits",
    ),
)
def _probe(
    images: Images,
    model: Model = "digits",
    scores: Scores = None,
    num_classes: Classes = None,
    image_size: Size = None,
    denoiser: DenoiserName = "digits",
    device: Device = None,
) -> None:
    """Ask a classifier three times, and show how it was understood.

    Twice about the first picture and once about the second, or the first one's mirror image where there is but one.
    They are sent as 'attribute' sends them, with the channels and at the size of the denoiser.

    Costs 3 queries.
    """
    from freemcg.blackbox.probe import describe, probe  # noqa: PLC0415
    from freemcg.images import list_images, read_for  # noqa: PLC0415
    from freemcg.jobs import start_processes  # noqa: PLC0415
    from freemcg.models import load_black_box, load_denoiser  # noqa: PLC0415

    _hush_diffusers()
    paths = [images] if images.is_file() else list_images(images)
    _, place = start_processes(device)
    black_box = load_black_box(model, scores=scores, num_classes=num_classes, image_size=image_size, device=place)
    diffusion = load_denoiser(denoiser, device=place)
    pictures = [read_for(diffusion, path) for path in paths[:2]]
    other = pictures[1] if len(pictures) > 1 else pictures[0].flip(-1)
    for line in describe(black_box, probe(black_box, pictures[0], other), tuple(pictures[0].shape)):
        say(line)


@app.command(
    "cache", epilog=_examples("freemcg cache results/answers.sqlite", "freemcg cache results/answers.sqlite --clear")
)
def _cache(
    file: Annotated[Path, typer.Argument(help="The file, as --cache named it.", show_default=False)],
    clear: Annotated[bool, typer.Option("--clear", help="Forget all answers.")] = False,
) -> None:
    """List the answers that a file keeps, or clear it."""
    from freemcg.blackbox.cache import QueryCache  # noqa: PLC0415

    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    kept = QueryCache(file)
    if clear:
        say(f"forgot {kept.clear()} answers")
    for each in kept.models():
        say(f"{each.answers} answers ({each.scores}) of {each.model}")


@app.command(
    "compare",
    epilog=_examples(
        "freemcg compare",
        "freemcg compare photos/ --methods freemcg,integrated_gradients,rise --model mine.py:network \\",
        "    --denoiser models/faces --out compared",
        "accelerate launch --multi_gpu --num_processes 2 -m freemcg compare photos/ --out compared",
    ),
)
def _compare(
    images: Annotated[
        Path | None,
        typer.Argument(
            help="A picture, or a folder of pictures.  [default: the first of the bundled held-out digits]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the results; what is there is not done again.")] = Path(
        "freemcg-compare"
    ),
    count: Annotated[
        int | None, typer.Option("--images", min=1, help="How many of the bundled digits.  [default: 8]")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Which, separated by commas: freemcg, and those of baselines.available().  [default: freemcg, "
            "gradient, smooth_grad, integrated_gradients, guided_ig, rise, zeroth_order; freemcg, rise, geex, "
            "zeroth_order for a model that can only be asked]"
        ),
    ] = None,
    model: Model = "digits",
    scores: Scores = None,
    num_classes: Classes = None,
    image_size: Size = None,
    denoiser: DenoiserName = "digits",
    vae: Annotated[
        str | None,
        typer.Option(
            help="Whose tangent spaces the maps are measured with: a folder written by 'freemcg train vae', or the "
            "bundled digits.  [default: digits for the denoiser digits, else those of the denoiser's particles]"
        ),
    ] = None,
    target: Target = None,
    config: Config = None,
    queries: Annotated[
        int, typer.Option(min=3, help="The most that a map may cost: queries, or gradients of the model.")
    ] = 256,
    steps: Annotated[int, typer.Option(min=1, help="Steps of insertion and deletion.")] = 32,
    seed: Seed = None,
    device: Device = None,
    budget: Budget = None,
    price_per_1000: Price = None,
    cache: Cache = None,
    no_cache: NoCache = False,
) -> None:
    """Compare methods that show where the classifier looks.

    Each has the same budget for an image, and is measured by alignment with the tangent space, by insertion and by
    deletion. Draws all maps side by side. Where a map is missing at the end, the exit status is 1; the next start
    tries it again.

    Costs at most --queries a map, for measuring it 2 * --steps + 1 queries, and one for an image's decision.
    """
    from freemcg.bundle import load_bundle  # noqa: PLC0415
    from freemcg.evaluation.comparison import compare  # noqa: PLC0415
    from freemcg.evaluation.pictures import bundled_digits, read_pictures  # noqa: PLC0415
    from freemcg.explainer import FreeMCG  # noqa: PLC0415
    from freemcg.jobs import start_processes  # noqa: PLC0415
    from freemcg.models import load_black_box, load_denoiser, load_vae  # noqa: PLC0415

    if images is not None and count is not None:
        raise InvalidValue("give pictures, or --images for the bundled digits, and not both")
    _hush_diffusers()
    settings = _settings(config, queries=queries - 1, seed=seed)
    most = _most(budget, price_per_1000)
    state, place = start_processes(device)
    black_box = load_black_box(model, scores=scores, num_classes=num_classes, image_size=image_size, device=place)
    _pay(black_box, most, out, cache, no_cache=no_cache)
    black_box.may_change = False  # freemcg is not asked to notice, which would cost it more than the others
    diffusion = load_denoiser(denoiser, device=place)
    vae = "digits" if vae is None and denoiser == "digits" else vae
    rows = compare(
        FreeMCG(black_box, diffusion, **settings),
        bundled_digits(count or 8, diffusion) if images is None else read_pictures(images, out, diffusion),
        out,
        methods=None if methods is None else [each.strip() for each in methods.split(",")],
        vae=None if vae is None else load_vae(vae, device=place),
        references=load_bundle("digits").images if images is None else None,
        target=_class(target, black_box.class_names),
        steps=steps,
        price_per_1000=price_per_1000,
    )
    state.destroy_process_group()
    if any(row["error"] for row in rows):
        raise typer.Exit(UNFINISHED)


@app.command(
    "replay", epilog=_examples("freemcg replay results", "freemcg replay results/deep/c --denoiser models/faces")
)
def _replay(
    folder: Annotated[Path, typer.Argument(help="Folder of results, as --out named it.", show_default=False)],
    denoiser: Annotated[
        str | None, typer.Option(help="The diffusion model, where it is not at the place that the results name.")
    ] = None,
    device: Device = None,
) -> None:
    """Explain again from the receipts, and compare.

    Each result is made again from its receipt, which holds all answers; the classifier is not needed and not asked.
    Where one comes out different in any digit, the exit status is 1.

    Costs no query.
    """
    from freemcg.jobs import start_processes  # noqa: PLC0415
    from freemcg.replay import replay_folder  # noqa: PLC0415

    _hush_diffusers()
    _, place = start_processes(device)
    different = False
    for each, fields in replay_folder(folder, denoiser, device=place):
        say(f"{each}: " + (f"DIFFERENT in {', '.join(fields)}" if fields else "equal to the last digit"))
        different |= bool(fields)
    if different:
        raise typer.Exit(UNFINISHED)


@train.callback(invoke_without_command=True)
def _train(context: typer.Context) -> None:
    """Train a denoiser, a classifier, a VAE.

    Asks no black box anything. A run that was stopped goes on from its last checkpoint.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@train.command(
    "denoiser",
    epilog=_examples(
        "freemcg train denoiser --config digits-denoiser --out runs/denoiser",
        "accelerate launch -m freemcg train denoiser --config mine.yaml --data pictures/ --out runs/faces",
    ),
)
def _train_denoiser(config: TrainingConfig, out: TrainingOut, data: Data = None) -> None:
    """Train a diffusion model, for --denoiser."""
    from freemcg.training import DenoiserTraining, train_denoiser  # noqa: PLC0415

    record = train_denoiser(_training(DenoiserTraining, config, data), out)
    _say_trained(out, f"final loss {record['loss_curve'][-1][1]:.4f}")


@train.command(
    "classifier",
    epilog=_examples(
        "freemcg train classifier --config digits-classifier --out runs/classifier",
        "freemcg train classifier --config mine.yaml --data pictures/ --out runs/classifier",
        "freemcg train classifier --config digits-classifier --adversarial --out runs/robust",
    ),
)
def _train_classifier(
    config: TrainingConfig,
    out: TrainingOut,
    data: Data = None,
    adversarial: Annotated[
        bool,
        typer.Option(
            "--adversarial", help="Train on images that are attacked within the config's 'radius' (L2, 1.0 by default)."
        ),
    ] = False,
) -> None:
    """Train a small classifier, for --model."""
    from freemcg.training import ClassifierTraining, train_classifier  # noqa: PLC0415

    settings = _training(ClassifierTraining, config, data)
    if adversarial:
        settings = settings.model_copy(update={"adversarial": True})
    record = train_classifier(settings, out)
    _say_trained(out, f"held-out accuracy {record.get('held_out_accuracy', 0):.4f}")


@train.command("vae", epilog=_examples("freemcg train vae --config digits-vae --out runs/vae"))
def _train_vae(config: TrainingConfig, out: TrainingOut, data: Data = None) -> None:
    """Train a variational autoencoder."""
    from freemcg.training import VaeTraining, train_vae  # noqa: PLC0415

    record = train_vae(_training(VaeTraining, config, data), out)
    _say_trained(out, f"reconstruction RMSE {record.get('reconstruction_rmse', 0):.4f}")


def _run(
    task: Task,
    images: Path,
    out: Path,
    models: dict[str, Any],
    denoiser: str,
    target: str | None,
    settings: dict[str, Any],
    device: str | None,
    *,
    budget: str | None,
    price_per_1000: float | None,
    cache: Path | None,
    no_cache: bool,
) -> None:
    from freemcg.explainer import FreeMCG  # noqa: PLC0415
    from freemcg.items import list_items  # noqa: PLC0415
    from freemcg.jobs import run_job, start_processes  # noqa: PLC0415
    from freemcg.models import load_black_box, load_denoiser  # noqa: PLC0415

    _hush_diffusers()
    items = list_items(images, out)
    most = _most(budget, price_per_1000)
    state, place = start_processes(device)
    black_box = load_black_box(**models, device=place)
    wanted = _class(target, black_box.class_names)
    _pay(black_box, most, out, cache, no_cache=no_cache)
    explainer = FreeMCG(black_box, load_denoiser(denoiser, device=place), **settings)
    run_job(explainer, images, out, task=task, target=wanted, price_per_1000=price_per_1000)
    state.destroy_process_group()
    if not all(item.done for item in items):
        raise typer.Exit(UNFINISHED)


def _most(budget: str | None, price_per_1000: float | None) -> int | None:
    """The queries that --budget allows."""
    from freemcg.plan import budget_in_queries  # noqa: PLC0415

    return None if budget is None else budget_in_queries(budget, price_per_1000)


def _pay(black_box: BlackBox, most: int | None, out: Path, cache: Path | None, *, no_cache: bool) -> None:
    """Give the black box the budget of this start, if its own is not smaller, and a memory of answers."""
    from freemcg.blackbox.box import Remote  # noqa: PLC0415
    from freemcg.blackbox.cache import OWN_FILE, QueryCache  # noqa: PLC0415

    if most is not None:
        own = black_box.budget
        black_box.budget = black_box.queries + most if own is None else min(own, black_box.queries + most)
    if cache is None and isinstance(black_box.predict, Remote):
        cache = out / OWN_FILE
    if cache is not None and not no_cache:
        black_box.cache = QueryCache(cache)


def _hush_diffusers() -> None:
    """No bar over the parts of a pipeline; that over the images is the one to watch."""
    from diffusers.utils.logging import disable_progress_bar  # noqa: PLC0415

    disable_progress_bar()


def _settings(config: str | None, **options: float | None) -> dict[str, Any]:
    """Arguments of `FreeMCG`: those of the config, and over them the options that were given."""
    from freemcg.settings import Settings, make, read_config  # noqa: PLC0415

    values, source = ({}, "") if config is None else read_config(config)
    make(Settings, values, source=source)
    values |= {name: value for name, value in options.items() if value is not None}
    make(Settings, values)
    return values


def _search_settings(config: str | None, budget: int | None, **options: float | None) -> dict[str, Any]:
    """The same with the budget of a search, if one was given."""
    values = _settings(config, **options)
    search = values.get("search", {})
    if budget is not None and search.get("method") == "paper":
        raise InvalidValue(
            f"--queries {budget} bounds the package's own search; the paper's procedure of --config {config} asks as "
            "many as its particles and steps make; leave --queries out, or set search.particles and search.steps in a "
            "YAML file"
        )
    return values if budget is None else {**values, "search": {**search, "budget": budget}}


def _training(settings: type[Any], config: str, data: str | None) -> Any:
    from freemcg.settings import make, read_config  # noqa: PLC0415

    values, source = read_config(config)
    return make(settings, values if data is None else {**values, "data": data}, source=source)


def _say_trained(out: Path, headline: str) -> None:
    from accelerate import PartialState  # noqa: PLC0415

    if PartialState().is_main_process:
        say(f"{headline}; the model and its training.json are in {out}")


def _class(target: str | None, names: Sequence[str] | None) -> int | str | None:
    """A class name where the black box has that name, else an index."""
    if target is None or target in (names or ()):
        return target
    return int(target) if target.removeprefix("-").isdecimal() else target


if __name__ == "__main__":
    sys.exit(main())
