"""The command `freemcg`: its verbs and its exit statuses.

An error is told in one sentence on the error stream. `freemcg.messages.errors` holds the exit statuses.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Annotated

import typer

from freemcg.commands import attribute, cache, compare, counterfactual, demo, measure, plan, probe, replay, report
from freemcg.commands.convert import convert
from freemcg.commands.help import examples, listed
from freemcg.commands.options import taking_options
from freemcg.commands.termination import leave_processes, terminating
from freemcg.commands.train import train
from freemcg.messages.errors import (
    INTERRUPTED,
    MODEL_FAILED,
    SLIP,
    STATUSES,
    TERMINATED,
    FailedElsewhere,
    InvalidValue,
    sentence_of,
    show_traceback,
    status_of,
)
from freemcg.messages.terminal import say

app = typer.Typer(
    name="freemcg",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    epilog=examples(
        "freemcg demo",
        "freemcg attribute photos/ --model mine.py:predict --scores probabilities \\",
        "    --denoiser google/ddpm-celebahq-256 --out results",
    )
    + "\n\n"
    + listed("Exit status:", *(f"{status:3}  {meaning}" for status, meaning in STATUSES.items())),
)
for verb, module in (
    (demo.demo, demo),
    (attribute.attribute, attribute),
    (counterfactual.counterfactual, counterfactual),
    (plan.plan, plan),
    (probe.probe, probe),
    (cache.cache, cache),
    (compare.compare, compare),
    (measure.measure, measure),
    (replay.replay, replay),
    (report.report, report),
):
    app.command(epilog=examples(*module.EXAMPLES))(taking_options(verb))
app.add_typer(train, name="train")
app.add_typer(convert, name="convert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status. The default is the command line of the process.

    `freemcg.messages.errors` lists the statuses. If `FREEMCG_DEBUG` is `1` in the environment, errors are raised.
    """
    # Without this, torch's idle threads spin, and a busy machine is several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    terminated = threading.Event()
    try:
        _refuse_empty(sys.argv[1:] if arguments is None else arguments)
        with terminating() as terminated:
            status = app(arguments, prog_name="freemcg", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BaseException as error:  # a model may raise any kind
        if os.environ.get("FREEMCG_DEBUG") == "1":
            raise
        status = status_of(error)
        if isinstance(error, SystemExit) and status != MODEL_FAILED:
            pass  # another process has said why
        elif status == SLIP and not isinstance(error, FailedElsewhere):
            show_traceback(error)
        else:
            say(f"freemcg: {sentence_of(error)}{_hint(error)}", err=True)
        leave_processes()
        return status
    if status == INTERRUPTED:
        status = TERMINATED if terminated.is_set() else INTERRUPTED
        what = STATUSES[status]
        say(f"freemcg: {what}; finished results are kept, and the same command goes on from them", err=True)
    else:
        leave_processes()
    return int(status or 0)


def _hint(error: BaseException) -> str:
    """What else to say of an option that a plan need not know. A copied command may hold some."""
    option, context = getattr(error, "option_name", None), getattr(error, "ctx", None)
    if option in plan.CHANGE_NO_PRICE and getattr(context, "info_name", None) == "plan":
        return "; it changes no price, so leave it out of a plan"
    return ""


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse `--out ""`, which an unset variable of a shell leaves. As a path it would be the working folder."""
    for before, argument in zip(("freemcg", *arguments), arguments, strict=False):
        option, equals, value = argument.partition("=")
        empty = argument == "" or (option.startswith("--") and equals and not value)
        if empty and (place := option or before) != "--prompt":  # a text may be empty
            raise InvalidValue(f"what follows {place} is empty; write a value, and look at any $VARIABLE there")


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Explain an image classifier that you can only query.

    Which changes of an image would move its decision, and what does a small realistic change look like that turns it? A
    diffusion model knows what is realistic. The classifier is only queried, and every query is counted.
    """
    if version:
        from freemcg.version import __version__

        say(f"freemcg {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
