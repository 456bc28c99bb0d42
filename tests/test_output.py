"""Tables and lines that are shown or written."""

import csv

import pytest

from freemcg.output import printable, write_csv


def test_control_characters_are_escaped_and_letters_are_not():
    assert printable("naïve 日本 \x1b[2J\n\u202e") == "naïve 日本 \\x1b[2J\\n\\u202e"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum(a)", "\tx"])
def test_no_cell_is_a_formula(tmp_path, text):
    write_csv([{"name": text, "target": "-1", "l1": -0.5}], tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"name": "'" + text, "target": "-1", "l1": "-0.5"}]
