"""The page of a comparison is made from what lies in its folder."""

from __future__ import annotations

import re

import pytest
import torch

from freemcg.commands.app import main
from freemcg.comparison.cells import Cell, cell_path, picture_path
from freemcg.comparison.page import SHOWN_IMAGES, keep_pictures, try_to_write_comparison_page, write_comparison_page
from freemcg.show.tables import write_csv

IMAGES = [f"deep/{number}.png" for number in range(10)]


@pytest.fixture
def compared(tmp_path):
    """A folder with 10 images and two methods. The second reads weights, and fails on the first image."""
    rows = []
    for name, unit, offset in (("freemcg", "queries", 0.5), ("smooth_grad", "gradients", 0.2)):
        for number, image in enumerate(IMAGES):
            failed = name == "smooth_grad" and number == 0
            values = None if failed else torch.full((1, 4, 4), 1.0 - 2 * (number % 2))
            figures = {} if failed else {"alignment": offset + number / 100, "insertion": 0.9, "deletion": 0.1}
            error = "no =room" if failed else None
            cell = Cell(name, image, 0, values, None, None, None, None, 64, unit, 0.1, error)
            cell.save(cell_path(tmp_path, image, name))
            columns = {key: figures.get(key) for key in ("alignment", "insertion", "deletion")}
            rows.append({"method": name, "image": image, "target": "cat", **columns, "cost": 64, "unit": unit})
            rows[-1] |= {"seconds": 0.1, "error": error or ""}
    write_csv(rows, tmp_path / "comparison.csv")
    keep_pictures({image: torch.full((1, 4, 4), 0.5) for image in IMAGES}, tmp_path)
    return tmp_path


def test_the_page_shows_the_first_images_and_means_over_all(compared):
    page = write_comparison_page(compared).read_text()
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.split("<body>")[1]))
    assert "How 2 methods explain 10 pictures" in shown
    assert "FreeMCG 64 queries asks only" in shown
    assert "Smooth grad 64 gradients reads weights failed on 1 picture: no =room" in shown
    assert page.count('alt="Map of FreeMCG') == SHOWN_IMAGES
    assert page.count('alt="Map of Smooth grad') == SHOWN_IMAGES - 1
    assert page.count('alt="deep/') == SHOWN_IMAGES
    values = [float(value) for value in re.findall(r'data-value="([\d.]+)"', page)]
    assert values == pytest.approx([0.545, 0.9, 0.1, 0.25, 0.9, 0.1])


def test_ranks_and_tests_are_shown_if_they_were_written(compared):
    """Deletion is better lower: a difference of +.05 is a loss of .05."""
    assert 'id="standing"' not in write_comparison_page(compared).read_text()
    places = {"alignment": 1.0, "insertion": 1.5, "deletion": 1.0}
    write_csv(
        [
            {"method": "freemcg", **places, "mean rank": 3.5 / 3},
            {"method": "smooth_grad", **dict.fromkeys(places, 2.0), "insertion": None, "mean rank": 2.0},
        ],
        compared / "ranks.csv",
    )
    test = {"method": "smooth_grad", "against": "freemcg", "images": 10, "p": 0.001, "p, corrected": 0.003}
    ends = {"difference": 0.05, "low": 0.02, "high": 0.09}
    write_csv([{**test, "measure": each, **ends} for each in ("alignment", "deletion")], compared / "significance.csv")
    page = write_comparison_page(compared).read_text().split('id="standing"')[1].split("</section>")[0]
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "correction for 2 tests" in shown
    assert "FreeMCG the others are tested against it 1.2 1 1.5 1 Smooth grad 2.0 2 better +0.05 (0.02 to 0.09)" in shown
    minus = "\N{MINUS SIGN}"
    assert f"none 2 worse {minus}0.05 ({minus}0.09 to {minus}0.02), p = 0.003" in shown


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"method,image\n",
        b"\xff\xfe",
        b"method,image\nfreemcg,a.png,7\n",
        b"method,image\nfreemcg\n",
        b"a,b\n1,2\n",
    ],
)
@pytest.mark.parametrize("name", ["comparison.csv", "ranks.csv"])
def test_a_damaged_table_is_refused_by_name(compared, capsys, name, content):
    (compared / name).write_bytes(content)
    assert main(["report", str(compared)]) == 2
    assert capsys.readouterr().err == (
        f"freemcg: {compared / name} is not what a comparison writes; run the comparison again, which writes it anew\n"
    )


def test_a_damaged_picture_is_not_shown(compared):
    picture_path(compared, IMAGES[0]).write_bytes(b"no picture")
    assert write_comparison_page(compared).read_text().count('alt="deep/') == SHOWN_IMAGES - 1


def test_the_verb_makes_it_again(compared, capsys):
    assert main(["report", str(compared)]) == 0
    assert capsys.readouterr().out == f"the page for a browser is {compared / 'report.html'}\n"


def test_a_page_that_cannot_be_made_loses_nothing(compared, capsys):
    (compared / "comparison.csv").write_text("method,image\n")
    try_to_write_comparison_page(compared)
    assert capsys.readouterr().err == (
        f"the page could not be written ({compared / 'comparison.csv'} is not what a comparison writes; run the "
        f"comparison again, which writes it anew); the results are kept, and freemcg report {compared} tries again\n"
    )
