"""Tables and lines that a command shows or writes."""

import csv

import pytest

from freemcg.files.whole import write_text
from freemcg.messages.errors import sentence_of
from freemcg.messages.terminal import printable
from freemcg.show.tables import write_csv


def test_control_characters_are_escaped_and_letters_are_not():
    assert printable("naïve 日本 \x1b[2J\n\u202e") == "naïve 日本 \\x1b[2J\\n\\u202e"


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@sum(a)", "\tx"])
def test_no_cell_is_a_formula(tmp_path, text):
    write_csv([{"name": text, "target": "-1", "l1": -0.5}], tmp_path / "table.csv")
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"name": "'" + text, "target": "-1", "l1": "-0.5"}]


def test_a_full_disk_is_said_with_the_file_and_what_was_there_stays(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    (tmp_path / "a.txt.partial").symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write_text(path, "new")
    assert sentence_of(caught.value) == (
        f"{path}: cannot be written (No space left on device); free space on its disk, or allow writing to its folder"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_a_folder_in_the_place_of_a_file_is_kept_under_another_name(tmp_path, capsys):
    path = tmp_path / "a.txt"
    for place in (path, tmp_path / "a.txt.partial"):
        place.mkdir()
        (place / "mine").touch()
    write_text(path, "text")
    assert path.read_text() == "text"
    assert (tmp_path / "a.txt.damaged" / "mine").is_file()
    assert capsys.readouterr().err.splitlines() == [
        f"{each} is a folder where a file belongs; it is kept as {each}.damaged" for each in (f"{path}.partial", path)
    ]
    path.unlink()
    path.mkdir()
    write_text(path, "text")
    assert (tmp_path / "a.txt.damaged-2").is_dir()
