"""How soon can a page be used? Its size, and the time in a browser without a window.

    python tests/benchmarks/page_speed.py --repeats 9

The pages: one bundled digit with map, contribution and counterfactual, the same in colour at 512 pixels with noise, and
a gallery of 1,000 such digits. Each load has a context of its own, so nothing is cached. Two times are measured, from
the start of the navigation: until the page says that it is ready, and until a key was pressed and the map drawn anew.
Chromium must be installed (Debian: `apt-get install chromium`).
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import interpolate

from freemcg import BlackBox, FreeMCG
from freemcg.models.bundle import load_bundle
from freemcg.show.page.explained import Explained
from freemcg.show.page.gallery import BESIDE, Source, write_gallery
from freemcg.show.tables import print_table

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__, rich_markup_mode=None)
LARGE, SPECKLE = 512, 0.05
MANY = 1000
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@app.command()
def run(
    repeats: Annotated[int, typer.Option(min=2, help="How often each page is opened.")] = 9,
    out: Annotated[Path | None, typer.Option(help="Folder of the pages.  [default: one that is removed]")] = None,
) -> None:
    """Write the pages, open them, and print a row for each."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        digit = explained()
        pages = {
            "one digit": written([digit], folder / "one"),
            f"one photograph of {LARGE} pixels": written([enlarged(digit)], folder / "large"),
            f"{MANY:,} digits": written([digit] * MANY, folder / "many"),
        }
        print_table([{"page": name, **sizes(page), **opened(page, repeats)} for name, page in pages.items()])


def explained() -> Explained:
    """A bundled digit with its map, contribution and counterfactual."""
    bundle = load_bundle("digits")
    explainer = FreeMCG(BlackBox(bundle.classifier), bundle.denoiser)
    attribution = explainer.explain(bundle.images[0])
    found = explainer.counterfactual(bundle.images[0])
    return Explained("digit", "digit.png", attribution, found, attribution.contribution())


def enlarged(small: Explained) -> Explained:
    """The same in colour at 512 pixels, with speckle, so that no picture of it is packed well."""
    results = (small.attribution, small.counterfactual, small.contribution)
    return Explained("photo", "photo.png", *(with_large_pictures(each, small.image) for each in results))


def with_large_pictures(result: Any, image: Tensor) -> Any:
    found = {each.name: getattr(result, each.name) for each in fields(result)}
    pictures = {name: value for name, value in found.items() if isinstance(value, Tensor) and value.ndim >= 3}
    return replace(
        result, **{name: large(value) for name, value in pictures.items() if value.shape[-2:] == image.shape[-2:]}
    )


def large(pictures: Tensor) -> Tensor:
    """`(C, 32, 32)` or `(S, C, 32, 32)` in colour at 512 pixels."""
    batch = pictures if pictures.ndim == 4 else pictures[None]
    big = interpolate(batch, size=(LARGE, LARGE), mode="bilinear").expand(-1, 3, -1, -1)
    speckle = SPECKLE * batch.std() * torch.randn(big.shape, generator=torch.Generator().manual_seed(0))
    found = (big + speckle).clamp(min(0.0, batch.min().item()), batch.max().item())
    return found if pictures.ndim == 4 else found[0]


def written(images: Sequence[Explained], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    sources = [
        Source(
            f"{number}.png",
            "1",
            lambda each=each, number=number: replace(each, anchor=str(number), name=f"{number}.png"),
        )
        for number, each in enumerate(images)
    ]
    page = write_gallery(sources, folder)
    assert page is not None
    return page


def sizes(page: Path) -> dict[str, str]:
    beside = sum(file.stat().st_size for file in (page.parent / BESIDE).rglob("*") if file.is_file())
    return {"page, MB": f"{page.stat().st_size / 1e6:.2f}", "beside it, MB": f"{beside / 1e6:.2f}"}


def opened(page: Path, repeats: int) -> dict[str, str]:
    """The times of `repeats` loads after a first one, median and longest."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        raise typer.BadParameter(f"none of {', '.join(BROWSERS)} was found; install one")
    times: list[tuple[float, float]] = []
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(repeats + 1):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            tab, began = context.new_page(), time.monotonic()
            tab.goto(page.absolute().as_uri())
            tab.wait_for_selector("html[data-ready]")
            ready = time.monotonic() - began
            tab.keyboard.press("s")
            tab.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            times.append((ready, time.monotonic() - began))
            context.close()
        browser.close()
    columns = zip(*times[1:], strict=True)
    named = zip(("ready, s", "a key answered, s"), columns, strict=True)
    return {name: f"{statistics.median(each):.2f} (at most {max(each):.2f})" for name, each in named}


if __name__ == "__main__":
    app()
