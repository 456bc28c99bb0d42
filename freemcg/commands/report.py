"""`freemcg report`: results as a page for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freemcg.messages.terminal import say

EXAMPLES = ("freemcg report freemcg-demo", "freemcg report results", "freemcg report freemcg-compare")


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of results that --out named.", show_default=False)],
) -> None:
    """Write the page of a folder of results.

    It is report.html, which opens in any browser. The other commands write it too. It needs no network and no server,
    and can be sent as it is. If there are too many images for one file, the rest is in the folder 'report_files'
    beside it. Send both then.

    It costs no query.
    """
    from freemcg.comparison.page import TABLE, write_comparison_page
    from freemcg.jobs.page import write_page

    page = write_comparison_page(folder) if (folder / TABLE).is_file() else write_page(folder)
    say(f"the page for a browser is {page}")
