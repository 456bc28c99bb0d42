"""How much faster is a job with two processes of one thread than with one? The bars are 1.8 and 1.7.

python tests/benchmarks/processes.py
python tests/benchmarks/processes.py --images 2 --repeats 1 --width 8   # whether it works

`images`: 16 digits are explained and drawn, each by one process. `particles`: the processes share the particles of one
image of 64x64 pixels. The clock runs from where all processes have loaded their models until the main one is done, so
the start of Python and the loading of models, which no process saves another, are left out. Both numbers of processes
take turns. The machine must have two cores that do nothing else.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import typer
from accelerate import PartialState
from diffusers import DDPMScheduler
from memory import SIDE, left_and_right, unet

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from launched import launched

from freemcg import BlackBox, Denoiser, FreeMCG, load_bundle
from freemcg.evaluation.intervals import ratio_interval
from freemcg.files.images import write_image
from freemcg.jobs.listing import list_pictures
from freemcg.jobs.run import run_job

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
BARS = {"images": 1.8, "particles": 1.7}
Job = Callable[[], object]


def digits(place: Path, images: int, width: int) -> Job:
    """Explain bundled digits, and write their results, figures and page."""
    bundle = load_bundle("digits")
    explainer = FreeMCG(BlackBox(bundle.classifier), bundle.denoiser)
    if PartialState().is_main_process:
        (place / "pictures").mkdir()
        for number, image in enumerate(bundle.images[:images]):
            write_image(image, place / "pictures" / f"{number:03d}.png")
    PartialState().wait_for_everyone()
    return lambda: run_job(explainer, list_pictures(place / "pictures", place), place / "out", task="attribution")


def one_image(place: Path, images: int, width: int) -> Job:
    """Explain one image whose particles the processes share."""
    denoiser = Denoiser(unet(SIDE, width), DDPMScheduler())
    explainer = FreeMCG(BlackBox(left_and_right), denoiser)
    image = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))

    def explain() -> None:
        with denoiser.shared() as leads:
            if leads:
                explainer.explain(image)

    return explain


JOBS = {"images": digits, "particles": one_image}


def be_one(what: str, place: Path, images: int, width: int) -> None:
    """Do the job as one of the processes. The main one writes the seconds that it took."""
    state = PartialState(cpu=True)
    work = JOBS[what](place, images, width)
    state.wait_for_everyone()
    began = time.perf_counter()
    work()
    if state.is_main_process:
        (place / "seconds.json").write_text(json.dumps(time.perf_counter() - began))
    state.destroy_process_group()


def seconds(what: str, processes: int, images: int, width: int) -> float:
    """The time of a job by so many processes."""
    with TemporaryDirectory() as folder:
        words = [__file__, "--alone", what, "--place", folder, "--images", str(images), "--width", str(width)]
        statuses, said = launched(processes, words, Path.cwd())
        if any(statuses):
            raise SystemExit("\n".join(said))
        return float(json.loads((Path(folder) / "seconds.json").read_text()))


@app.command()
def main(images: int = 16, repeats: int = 5, width: int = 32, alone: str = "", place: Path = Path()) -> None:
    """Print both ratios. With `--alone`, be one of the processes that are timed."""
    if alone:
        be_one(alone, place, images, width)
        return
    for what, bar in BARS.items():
        pairs = [[seconds(what, processes, images, width) for processes in (1, 2)] for _ in range(repeats)]
        one, two = torch.tensor(pairs).T
        found = ratio_interval(one, two)
        print(f"{what}: {one.mean():.2f} s by one process; two are {found:.2f} times as fast; the bar is {bar}")


if __name__ == "__main__":
    app()
