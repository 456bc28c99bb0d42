from __future__ import annotations

from dataclasses import replace

import pytest

from freemcg.show.page.methods import Measure, Measured, Method, Pictured, finding, method_title, write_methods
from freemcg.show.tables import read_csv, write_csv

MEASURES = (Measure("Alignment", True, "more of it"), Measure("Deletion", False, "less of it"))
DOT = "data:image/png;base64,AAAA"
PICTURES = [Pictured("a.png", "cat", DOT), Pictured("b.png", "dog", DOT)]


def method(name, alignment, deletion, **changes):
    measured = [Measured(mean, mean - 0.05, mean + 0.05, [mean - 0.1, mean + 0.1]) for mean in (alignment, deletion)]
    made = Method(name, "64 queries", False, [DOT, DOT], measured, 0, "")
    return replace(made, **changes)


METHODS = (method("freemcg", 0.9, 0.3), method("guided_ig", 0.4, 0.06), method("rise", 0.5, 0.08))


def test_the_finding_names_who_leads_and_who_is_near():
    assert finding(METHODS, MEASURES).striptags() == (
        "In alignment, FreeMCG leads. In deletion, Guided IG leads, with RISE within its interval."
    )


def test_a_method_without_figures_leads_in_nothing():
    none = method("rise", 0.0, 0.0, measured=[Measured(None, None, None, [])] * 2)
    assert "RISE" not in finding((METHODS[0], none), MEASURES)
    assert finding((none,), MEASURES) == ""


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("integrated_gradients", "Integrated gradients"),
        ("guided_ig", "Guided IG"),
        ("rise", "RISE"),
        ("freemcg", "FreeMCG"),
    ],
)
def test_methods_are_named_as_people_write_them(name, title):
    assert method_title(name) == title


def test_failures_are_told_and_names_escaped(tmp_path):
    failed = method("rise", 0.5, 0.1, maps=[None, DOT], failed=1, why="<b>no</b> & none")
    pictures = [Pictured("<i>.png", "<u>", DOT), Pictured("b.png", "dog", None)]
    page = write_methods(
        (METHODS[0], failed), MEASURES, pictures, 2, tmp_path, lede=finding((METHODS[0], failed), MEASURES)
    ).read_text()
    assert "failed on 1 picture: &lt;b&gt;no&lt;/b&gt; &amp; none" in page
    assert "<i>.png" not in page
    assert "<u>" not in page
    assert 'alt="&lt;i&gt;.png"' in page
    assert page.count("<script") == 1


def test_figures_lie_on_one_scale_from_nought_to_one_or_wider(tmp_path):
    wide = method("rise", 0.5, 1.95)
    page = write_methods(
        (METHODS[0], wide), MEASURES, PICTURES, 2, tmp_path, lede=finding((METHODS[0], wide), MEASURES)
    ).read_text()
    assert 'class="mean" x1="90.0%"' in page  # alignment .9 of 1
    assert f'class="mean" x1="{round(100 * 0.3 / 2.05, 2)}%"' in page  # deletion .3 of 2.05, the largest dot
    assert "<b>0.90</b>" in page
    assert "0.85 to 0.95" in page


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = [{"image": "=1+1.png", "figure": "-0.5"}, {"image": '@x, "y"\nz.png', "figure": ""}]
    write_csv(rows, tmp_path / "table.csv")
    assert read_csv(tmp_path / "table.csv") == rows
