"""The options that verbs share, each written once. This file imports nothing that is slow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from freemcg.messages.errors import InvalidValue

if TYPE_CHECKING:
    from freemcg.blackbox import BlackBox
    from freemcg.diffusion.denoiser import Denoiser


DIGITS = "digits"
"""The bundled model and denoiser that are taken if none is named."""


def _price(price_per_1000: float | None) -> float | None:
    from freemcg.jobs.plan import check_price

    check_price(price_per_1000)
    return price_per_1000


Images = Annotated[Path, typer.Argument(help="A picture, or a folder of pictures.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder of the results. Finished ones are not made again.", show_default=False)]
DenoiserName = Annotated[
    str | None,
    typer.Option(
        help="The diffusion model: a folder, a repository on the hub, a Denoiser file.py:name, or the bundled digits, "
        "chest-xrays or cifar10.  [default: digits]",
        show_default=False,
    ),
]
ConditionNumber = Annotated[
    int | None,
    typer.Option(
        "--condition",
        help="The class that a diffusion model with classes is told, by number. It is none of the classifier's.",
        show_default=False,
    ),
]
GuidanceScale = Annotated[
    float,
    typer.Option(
        help="The weight w of guidance, null + w (told - null): what the model sees told --condition or --prompt, and "
        "told --null-class or the empty text. Any but 1 doubles its time."
    ),
]
NullClass = Annotated[
    int | None,
    typer.Option(
        help="The class of the diffusion model that stands for images of any class, by number. --guidance-scale leads "
        "away from it. Without --condition, the model is told this one.  [default: DiT names its own]",
        show_default=False,
    ),
]
PromptText = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        help="The text that a diffusion model with a text encoder is told, such as 'a photo of a face'.  [default: the "
        "empty text]",
        show_default=False,
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="In what the diffusion model computes: float32, float16 or bfloat16. The last two save memory, and time "
        "on a GPU.",
    ),
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
Model = Annotated[
    str,
    typer.Option(
        help="The classifier: file.py:name (BlackBox, torch module, or callable from images (N, C, H, W) in [0, 1] to "
        "scores), file.onnx, hf:name (Hugging Face repository or folder), endpoint.yaml (how to ask over HTTP), "
        "http://.../v2/models/NAME (Open Inference Protocol), a folder written by 'freemcg train classifier', or the "
        "bundled digits, digits-judge, chest-xrays or chest-xrays-judge."
    ),
]
Scores = Annotated[
    str | None,
    typer.Option(
        help="What file.py:name or file.onnx answers: logits, probabilities, percent (they sum to 100), "
        "log_probabilities, top_k (probabilities of some classes, NaN or not listed for the others), label, binary "
        "(the probability of the positive class of two), binary_logit, multi_label (a probability for each label), "
        "multi_label_logit or value (numbers that mean themselves).  [default: logits, or as the ONNX file shows; "
        "required for http://...]"
    ),
]
Classes = Annotated[int | None, typer.Option(help="Number of classes; needed if the model answers labels or top_k.")]
Size = Annotated[int | None, typer.Option(help="Side in pixels to which images are resized for file.py:name.")]
Output = Annotated[
    str | None,
    typer.Option(help="Name of the output that holds the scores, if file.onnx or http://... has several."),
]
Layout = Annotated[
    str | None,
    typer.Option(help="NCHW or NHWC: how file.onnx or http://... takes images, if that cannot be read from it."),
]
Mean = Annotated[
    str | None,
    typer.Option(
        help="file.py:name, file.onnx or http://... gets (image - mean) / std. Give one number, or one per channel "
        "with commas, and --std too."
    ),
]
Std = Annotated[str | None, typer.Option(help="See --mean. For pixels 0..255: --mean 0 --std 0.0039215686")]
Budget = Annotated[
    str | None,
    typer.Option(
        help="The most that this start may cost, retries included: queries (500), or money (2.50usd), which needs "
        "--price-per-1000. If some results are still missing then, the exit status is 1.",
        show_default=False,
    ),
]
Price = Annotated[float | None, typer.Option(min=0, help="Price of 1000 queries, shown with them.", callback=_price)]
Cache = Annotated[
    Path | None,
    typer.Option(
        help="File that stores answers, so that nothing is paid for twice.  [default: OUT/answers.sqlite for a model "
        "behind an address]"
    ),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Store no answers.")]
BatchSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="The most images in one call of the diffusion model, and of a classifier that runs here. Fewer need less "
        "memory, and a result then differs by rounding.  [default: 64, or what a Python file says]",
    ),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.  [default: cuda if there is one]")]


def _numbers(option: str, text: str | None) -> float | list[float] | None:
    """The value of an option: one number, or one per channel."""
    if text is None:
        return None
    try:
        found = [float(each) for each in text.split(",")]
    except ValueError:
        raise InvalidValue(f"{option} is one number, or one per channel (0.485,0.456,0.406), got {text!r}") from None
    return found if len(found) > 1 else found[0]


@dataclass(frozen=True)
class Classifier:
    """The options that name the classifier and say what it answers."""

    model: Model = DIGITS
    scores: Scores = None
    num_classes: Classes = None
    image_size: Size = None
    output: Output = None
    layout: Layout = None
    mean: Mean = None
    std: Std = None
    batch_size: BatchSize = None

    def load(self, device: Any = "cpu") -> BlackBox:
        """The black box. Loading it costs no query. How many images an endpoint gets, its description says."""
        from freemcg.blackbox.asking import Remote
        from freemcg.models.load import load_black_box

        named = {**vars(self), "mean": _numbers("--mean", self.mean), "std": _numbers("--std", self.std)}
        batch_size = named.pop("batch_size")
        black_box = load_black_box(**named, device=device)
        if batch_size is not None and not isinstance(black_box.predict, Remote):
            black_box.batch_size = batch_size
        return black_box


@dataclass(frozen=True)
class Prior:
    """The options that name the diffusion model and what it is told."""

    denoiser: DenoiserName = None
    condition: ConditionNumber = None
    null_class: NullClass = None
    prompt: PromptText = None
    guidance_scale: GuidanceScale = 1.0
    dtype: Precision = "float32"
    batch_size: BatchSize = None

    def load(self, device: Any = "cpu") -> Denoiser:
        """The denoiser."""
        from freemcg.models.load import load_denoiser

        dtype = None if self.dtype == "float32" else self.dtype
        told = {name: value for name, value in vars(self).items() if name not in ("denoiser", "dtype")}
        return load_denoiser(self.denoiser or DIGITS, **told, dtype=dtype, device=device)


@dataclass(frozen=True)
class Payment:
    """The options that bound the cost of one start and say where its answers are stored."""

    budget: Budget = None
    price_per_1000: Price = None
    cache: Cache = None
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        """Refuse a malformed budget and contradicting options, before a model is loaded."""
        _ = self.most
        if self.no_cache and self.cache is not None:
            raise InvalidValue(
                f"--no-cache stores no answers, and --cache {self.cache} names a file for them; give one"
            )

    @property
    def most(self) -> int | None:
        """The queries that the budget allows; `None` without one."""
        from freemcg.jobs.plan import budget_in_queries

        return None if self.budget is None else budget_in_queries(self.budget, self.price_per_1000)

    def give(self, black_box: BlackBox, out: Path, *, spent: int = 0) -> None:
        """Give the black box this budget, less what was `spent`, unless its own is smaller, and a cache."""
        from freemcg.blackbox.asking import Remote
        from freemcg.blackbox.cache import QueryCache
        from freemcg.blackbox.cache_file import OWN_FILE

        own, most, cache = black_box.budget, self.most, self.cache
        if most is not None:
            most = black_box.queries + max(0, most - spent)
            black_box.budget = most if own is None else min(own, most)
        if cache is None and isinstance(black_box.predict, Remote):
            cache = out / OWN_FILE
        if cache is not None and not self.no_cache:
            black_box.cache = QueryCache(cache)


def taking_options(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose dataclass parameters become options, one for each of their fields. Groups may share a field."""
    groups: dict[str, Any] = {name: kind for name, kind in get_type_hints(verb).items() if is_dataclass(kind)}
    hints, options = get_type_hints(verb, include_extras=True), dict[str, tuple[Any, Any]]()
    for name, parameter in inspect.signature(verb).parameters.items():
        if name in groups:
            kinds = get_type_hints(groups[name], include_extras=True)
            options |= {field.name: (field.default, kinds[field.name]) for field in fields(groups[name])}
        else:
            options[name] = parameter.default, hints[name]

    @wraps(verb)
    def run(**values: Any) -> None:
        made = {
            name: kind(**{field.name: values[field.name] for field in fields(kind)}) for name, kind in groups.items()
        }
        verb(**made, **{name: values[name] for name in hints if name in values})

    keyword = inspect.Parameter.KEYWORD_ONLY
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, keyword, default=given, annotation=kind) for name, (given, kind) in options.items()]
    )
    run.__annotations__ = {name: kind for name, (_, kind) in options.items()}
    del run.__wrapped__
    return run
