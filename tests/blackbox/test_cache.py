from __future__ import annotations

import errno
import math
import re
import sqlite3
import struct
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from freemcg import BlackBox, QueryBudgetExceeded
from freemcg.blackbox import QueryCache, cache_renewal
from freemcg.blackbox.cache import CachedModel, image_key
from freemcg.messages.errors import REFUSED, sentence_of, status_of


class Spy:
    """A classifier of three classes that remembers what it was asked."""

    identity = "spy-1"

    def __init__(self):
        self.asked = []

    def __call__(self, images):
        self.asked += list(images)
        level = images.flatten(1).double().mean(dim=1)
        return torch.stack([level, 4 * level - 1, -level], dim=1).float()


def raises(kind, message):
    return pytest.raises(kind, match=f"^{re.escape(message)}$")


@pytest.fixture
def cache(tmp_path):
    return QueryCache(tmp_path / "answers.sqlite")


def spent(black_box):
    return black_box.queries, black_box.answered, black_box.cached


def test_what_is_known_is_not_asked_again(cache, images):
    spy = Spy()
    black_box = BlackBox(spy, cache=cache, batch_size=2)
    first = black_box(images)
    assert torch.equal(first, BlackBox(Spy())(images))
    assert spent(black_box) == (5, 5, 0)
    assert torch.equal(black_box(images.flip(0)), first.flip(0))
    assert spent(black_box) == (5, 5, 5)
    assert len(spy.asked) == 5


def test_answers_outlive_the_process_that_asked(cache, images, tmp_path):
    first = BlackBox(Spy(), cache=cache)(images[:3])
    spy = Spy()
    black_box = BlackBox(spy, cache=QueryCache(tmp_path / "answers.sqlite"), budget=2)
    answered = black_box(images)
    assert torch.equal(answered[:3], first)
    assert torch.equal(torch.stack(spy.asked), images[3:])
    assert spent(black_box) == (2, 2, 3)
    assert black_box.num_classes == 3


def test_an_image_that_comes_twice_is_asked_once(cache, images):
    spy = Spy()
    black_box = BlackBox(spy, cache=cache)
    order = [0, 1, 0, 2, 1, 0]
    assert torch.equal(black_box(images[order]), BlackBox(Spy())(images[order]))
    assert spent(black_box) == (3, 3, 3)
    assert torch.equal(torch.stack(spy.asked), images[:3])


def test_the_budget_is_for_what_is_not_known(cache, images):
    black_box = BlackBox(Spy(), cache=cache, budget=4)
    black_box(images[:3])
    with raises(QueryBudgetExceeded, "2 more queries would pass the budget of 4; 1 are left"):
        black_box(images)
    black_box(images[:4])
    assert black_box.remaining == 0
    assert torch.equal(black_box(images[:4]), BlackBox(Spy())(images[:4]))


def test_what_was_answered_before_an_error_is_kept(cache, images):
    class Failing(Spy):
        def __call__(self, images):
            if len(self.asked) == 4:
                raise OSError
            return super().__call__(images)

    black_box = BlackBox(Failing(), cache=cache, batch_size=2)
    with pytest.raises(OSError):
        black_box(images)
    black_box = BlackBox(Spy(), cache=cache)
    black_box(images)
    assert spent(black_box) == (1, 1, 4)


def test_a_bad_answer_is_not_kept(cache, images):
    spy = Spy()
    spy.__class__ = type("Wrong", (Spy,), {"__call__": lambda self, images: torch.full((len(images), 3), float("nan"))})
    with pytest.raises(ValueError):
        BlackBox(spy, cache=cache)(images)
    assert cache.models() == []


def test_answers_are_told_apart_by_model_kind_and_every_bit(cache, images):
    other = Spy()
    other.identity = "spy-2"
    almost = images.clone()
    almost[0, 0, 0, 0] = torch.nextafter(almost[0, 0, 0, 0], torch.tensor(1.0))
    options = {"channels": 3}
    boxes = [
        (BlackBox(Spy(), cache=cache), images),
        (BlackBox(other, cache=cache), images),
        (BlackBox(Spy(), "label", num_classes=3, cache=cache), images),
        (BlackBox(Spy(), cache=cache, eight_bit=True), images),
        (BlackBox(Spy(), cache=cache, image_size=4), images),
        (BlackBox(Spy(), cache=cache, mean=[0.5] * 3, std=[0.5] * 3, **options), images),
    ]
    boxes[2][0].predict.__class__ = type("L", (Spy,), {"__call__": lambda self, images: torch.zeros(len(images))})
    for black_box, asked in boxes:
        black_box(asked)
        assert (black_box.queries, black_box.cached) == (5, 0)
    black_box = BlackBox(Spy(), cache=cache)
    black_box(almost)
    assert spent(black_box) == (1, 1, 4)


def test_a_module_is_known_by_its_weights(cache, images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3)).eval().requires_grad_(False)
    black_box = BlackBox(model, cache=cache)
    first = black_box(images)
    assert torch.equal(black_box(images), first)
    model[1].bias[0] += 1
    assert not torch.equal(black_box(images), first)
    assert spent(black_box) == (10, 10, 5)


FACTOR = {"now": 1.0}


class Helped(nn.Sequential):
    """A network whose answers depend on what its state and structure do not tell."""

    def forward(self, images):
        return super().forward(images) * FACTOR["now"]


@pytest.fixture
def helped():
    torch.manual_seed(0)
    return Helped(nn.Flatten(), nn.Linear(72, 3)).eval().requires_grad_(False)


def test_answers_of_a_module_whose_identity_is_not_whole_are_proven_by_one_query(cache, images, helped, monkeypatch):
    BlackBox(helped, cache=cache)(images)
    black_box = BlackBox(helped, cache=cache)
    torch.testing.assert_close(black_box(images), BlackBox(helped)(images))
    assert spent(black_box) == (1, 1, 4)
    black_box(images)
    assert spent(black_box) == (1, 1, 9)

    monkeypatch.setitem(FACTOR, "now", -1.0)
    assert BlackBox(helped).identity == black_box.identity
    changed = BlackBox(helped, cache=cache)
    with pytest.raises(
        ValueError, match=r"holds other answers of Helped:\w+:\w+ than the model gives now \(they differ"
    ) as e:
        changed(images[1:])
    assert str(e.value).startswith(f"the cache {cache.path} ")
    assert spent(changed) == (1, 1, 3)
    assert cache.models()[0].answers == 5


def test_answers_are_proven_only_where_a_query_is_left_and_no_change_is_told_or_declared(cache, images, helped):
    BlackBox(helped, cache=cache)(images)
    for options in ({"budget": 0}, {"may_change": True}):
        black_box = BlackBox(helped, cache=cache, **options)
        black_box(images)
        assert spent(black_box) == (0, 0, 5)
    helped.identity = "weights of Monday"
    BlackBox(helped, cache=cache)(images)
    named = BlackBox(helped, cache=cache)
    named(images)
    assert spent(named) == (0, 0, 5)


def test_a_callable_without_an_identity_is_refused(cache):
    with raises(
        ValueError,
        "a cache keeps answers by the model's identity; give predict an attribute identity, a text that changes when "
        "the model changes",
    ):
        BlackBox(lambda images: images.flatten(1), cache=cache)


def test_another_number_of_classes_in_the_cache_is_refused(cache, images):
    BlackBox(Spy(), cache=cache)(images)
    with raises(ValueError, "the black box answered 3 classes; it has 4"):
        BlackBox(Spy(), cache=cache, num_classes=4)(images)


def test_listing_and_clearing(cache, images):
    other = Spy()
    other.identity = "spy-0"
    BlackBox(Spy(), cache=cache)(images)
    BlackBox(other, cache=cache)(images[:2])
    assert cache.models() == [CachedModel("spy-0", "logits", 2), CachedModel("spy-1", "logits", 5)]
    assert cache.clear("spy-1") == 5
    assert cache.models() == [CachedModel("spy-0", "logits", 2)]
    assert cache.clear() == 2
    assert cache.models() == []


def test_more_rows_than_one_statement_takes(cache):
    keys = [index.to_bytes(4, "big") for index in range(1300)]
    rows = torch.arange(2600, dtype=torch.float32).reshape(1300, 2)
    cache.put("m", "logits", keys, rows)
    found = cache.get("m", "logits", keys)
    assert torch.equal(torch.stack([found[key] for key in keys]), rows)


def test_an_answer_that_is_there_stays(cache):
    cache.put("m", "logits", [b"a"], torch.tensor([[1.0, 2.0]]))
    cache.put("m", "logits", [b"a", b"b"], torch.tensor([[3.0, 4.0], [5.0, 6.0]]))
    assert cache.get("m", "logits", [b"a"])[b"a"].tolist() == [1, 2]
    assert cache.get("m", "logits", [b"b"])[b"b"].tolist() == [5, 6]


def test_many_write_at_once(cache, tmp_path):
    """Each thread has its own connection. To sqlite, processes look the same."""
    errors = []

    def write(worker):
        try:
            own = QueryCache(tmp_path / "answers.sqlite")
            for index in range(40):
                own.put("m", "logits", [f"{index}".encode(), f"{worker}-{index}".encode()], torch.full((2, 2), index))
            own.close()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert cache.models() == [CachedModel("m", "logits", 40 + 4 * 40)]


def test_what_is_half_written_is_not_there(cache, tmp_path):
    """A process that is killed within a put leaves an open transaction. No reader sees any of it."""
    killed = sqlite3.connect(tmp_path / "answers.sqlite", isolation_level=None)
    killed.execute("BEGIN IMMEDIATE")
    killed.execute("INSERT INTO answers VALUES ('m', 'logits', x'00', x'00000000')")
    assert cache.get("m", "logits", [b"\0"]) == {}
    killed.close()
    cache.put("m", "logits", [b"\0"], torch.tensor([[7.0, 8.0]]))
    assert cache.get("m", "logits", [b"\0"])[b"\0"].tolist() == [7, 8]


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be read as one" * 20)
    with raises(
        ValueError,
        f"{path} is no query cache (file is not a database); name another file with --cache, or move this one away",
    ):
        QueryCache(path)
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    with raises(
        ValueError,
        f"{path} is no query cache (another program's database); name another file with --cache, or move this one away",
    ):
        QueryCache(path)


def damage(path, kind):
    """Damage a cache that has no open connection."""
    content = path.read_bytes()
    if kind == "header":
        path.write_bytes(b"\0" * 40 + content[40:])
    elif kind == "text":
        path.write_bytes(content.replace(b"CREATE TABLE", b"CREATE TA\xc2LE"))
    elif kind == "pages":
        path.write_bytes(content[:100] + bytes(byte ^ 0x5A for byte in content[100:]))
    elif kind == "schema":
        with sqlite3.connect(path) as file:
            file.execute("DROP TABLE answers")
            file.execute("CREATE TABLE answers (question TEXT, reply TEXT)")
        file.close()
    else:
        path.write_bytes(b"garbage, and nothing that a cache bears" * 100)


@pytest.mark.parametrize(("kind", "kept"), [("header", 5), ("text", 5), ("pages", 0), ("schema", 0), ("garbage", 0)])
def test_a_cache_that_cannot_be_read_is_set_aside_and_begun_anew(images, tmp_path, kind, kept, capsys):
    path = tmp_path / "answers.sqlite"
    cache = QueryCache(path)
    expected = BlackBox(Spy(), cache=cache)(images)
    cache.close()
    damage(path, kind)
    black_box = BlackBox(Spy(), cache=QueryCache(path))
    assert torch.equal(black_box(images), expected)
    assert spent(black_box) == (5 - kept, 5 - kept, kept)
    said = capsys.readouterr().err
    aside = f"it is kept as {path}.damaged, and a new one begins with {kept} of its answers"
    assert re.fullmatch(f"the cache {path} cannot be read \\(.+\\); {aside}\n", said)
    assert (tmp_path / "answers.sqlite.damaged").is_file()
    again = BlackBox(Spy(), cache=QueryCache(path))
    assert torch.equal(again(images), expected)
    assert spent(again) == (0, 0, 5)


def test_a_cache_that_is_damaged_while_it_is_in_use_is_set_aside_too(images, tmp_path, capsys):
    path = tmp_path / "mine.sqlite"
    black_box = BlackBox(Spy(), cache=QueryCache(path))
    other = BlackBox(Spy(), cache=QueryCache(path))
    expected = black_box(images)
    with sqlite3.connect(path) as file:
        file.execute("DROP TABLE answers")
    file.close()
    assert torch.equal(black_box(images), expected)
    assert torch.equal(other(images), expected)
    assert spent(black_box) == (10, 10, 0)
    assert spent(other) == (0, 0, 5)
    assert capsys.readouterr().err.count("a new one begins") == 1


@pytest.mark.parametrize("place", [18, 19, 20, 31, 47, 59, 71, 95])
def test_a_flipped_bit_of_the_header_stops_no_start(tmp_path, place):
    """One in byte 18 has sqlite take the file as one that it may only read."""
    path = tmp_path / "answers.sqlite"
    whole = QueryCache(path)
    whole.put("mine", "logits", [b"old"], torch.zeros(1, 1))
    whole.close()
    data = bytearray(path.read_bytes())
    for bit in range(8):
        damaged = data.copy()
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        found = QueryCache(path)
        found.put("mine", "logits", [b"new"], torch.ones(1, 1))
        rows = found.get("mine", "logits", [b"old", b"new"])
        assert torch.equal(rows[b"new"], torch.ones(1, dtype=torch.double))
        assert place != 18 or b"old" in rows
        found.close()


def test_a_full_disk_on_which_a_damaged_cache_cannot_be_moved_is_named(tmp_path, monkeypatch):
    path = tmp_path / "answers.sqlite"
    path.write_bytes(b"damaged")

    def full(*paths):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="free space on its disk") as caught:
        QueryCache(path)
    assert status_of(caught.value) == REFUSED
    assert sentence_of(caught.value).startswith(str(path))
    assert path.read_bytes() == b"damaged"


def test_what_can_still_be_read_of_a_damaged_cache_goes_into_the_new_one(tmp_path, capsys):
    path = tmp_path / "answers.sqlite"
    keys, rows = [index.to_bytes(20, "big") for index in range(2000)], torch.rand(2000, 4, dtype=torch.double)
    cache = QueryCache(path)
    cache.put("m", "logits", keys, rows)
    cache.close()
    content = path.read_bytes()
    middle = len(content) // 4096 // 2 * 4096
    path.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    cache = QueryCache(path)
    known = cache.get("m", "logits", keys)
    said = capsys.readouterr().err
    assert 500 < len(known) < 2000
    assert said.endswith(f"it is kept as {path}.damaged, and a new one begins with {len(known)} of its answers\n")
    assert all(torch.equal(known[key], row) for key, row in zip(keys, rows, strict=True) if key in known)


def test_a_flipped_bit_of_an_image_hides_no_other_answer(tmp_path):
    """The rows are sorted by image, so a search that meets the damaged one would take a wrong turn."""
    path = tmp_path / "answers.sqlite"
    keys = [image_key(torch.full((1, 2, 2), each / 64)) for each in range(40)]
    whole = QueryCache(path)
    whole.put("mine", "logits", keys, torch.arange(40.0)[:, None])
    whole.close()
    data = path.read_bytes()
    for damaged in keys:
        place = data.index(damaged)
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :])
        found = QueryCache(path)
        rows = found.get("mine", "logits", keys)
        assert {key: row.item() for key, row in rows.items()} == {k: n for n, k in enumerate(keys) if k != damaged}
        found.close()


@pytest.mark.parametrize("point", range(1, 4))
def test_a_kill_while_a_damaged_cache_is_made_anew_loses_no_answer(tmp_path, monkeypatch, capsys, point):
    path, keys = tmp_path / "mine.sqlite", [bytes([each]) * 20 for each in range(9)]
    whole = QueryCache(path)
    whole.put("mine", "logits", keys, torch.arange(9.0)[:, None])
    whole.close()
    data = path.read_bytes()
    path.write_bytes(data.replace(keys[4], bytes(20)))
    moves, reached = Path.replace, []

    def replace(file, place):
        reached.append(place)
        if len(reached) == point:
            raise KeyboardInterrupt
        return moves(file, place)

    with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
        patched.setattr(Path, "replace", replace)
        QueryCache(path)
    assert len(reached) == point
    rows = QueryCache(path).get("mine", "logits", keys)
    assert sorted(rows) == keys[:4] + keys[5:]
    assert (tmp_path / "mine.sqlite.damaged").is_file()
    assert not list(tmp_path.glob("*.renewed*"))


def test_a_disk_that_fills_up_while_a_damaged_cache_is_made_anew_keeps_it_and_leaves_nothing_else(
    tmp_path, monkeypatch, capsys
):
    path, keys = tmp_path / "mine.sqlite", [bytes([each]) * 20 for each in range(9)]
    whole = QueryCache(path)
    whole.put("mine", "logits", keys, torch.arange(9.0)[:, None])
    whole.close()
    path.write_bytes(path.read_bytes().replace(keys[4], bytes(20)))

    def full(damaged):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(cache_renewal, "sound_rows", full)
        with raises(
            ValueError,
            f"the cache {path} cannot be written (database or disk is full); free space on its disk, allow writing to "
            "its folder, or name another file with --cache",
        ):
            QueryCache(path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["mine.sqlite"]
    assert sorted(QueryCache(path).get("mine", "logits", keys)) == keys[:4] + keys[5:]


@pytest.mark.parametrize("answer", [struct.pack("<3d", 1.0, math.nan, 2.0), b"", b"short", None, "text"])
def test_an_answer_that_was_damaged_is_asked_for_again(cache, images, answer):
    expected = BlackBox(Spy(), cache=cache)(images)
    with sqlite3.connect(cache.path) as file:
        file.execute("UPDATE answers SET answer = ? WHERE image = (SELECT MIN(image) FROM answers)", (answer,))
    file.close()
    for asked, known in ((1, 4), (0, 5)):
        black_box = BlackBox(Spy(), cache=cache)
        assert torch.equal(black_box(images), expected)
        assert spent(black_box) == (asked, asked, known)


def test_a_flipped_byte_within_an_answer_is_noticed(cache, images):
    expected = BlackBox(Spy(), cache=cache)(images)
    with sqlite3.connect(cache.path) as file:
        rows = file.execute("SELECT image, answer FROM answers").fetchall()
        for position, (key, row) in enumerate(rows):
            flipped = bytearray(row)
            flipped[5 * position] ^= 1
            file.execute("UPDATE answers SET answer = ? WHERE image = ?", (bytes(flipped), key))
    file.close()
    black_box = BlackBox(Spy(), cache=cache)
    assert torch.equal(black_box(images), expected)
    assert spent(black_box) == (5, 5, 0)


def test_answers_of_a_file_without_checksums_are_used(cache, images):
    expected = BlackBox(Spy(), cache=cache)(images)
    with sqlite3.connect(cache.path) as file:
        file.execute("UPDATE answers SET answer = substr(answer, 1, 24)")
        file.execute("PRAGMA user_version = 0")
    file.close()
    black_box = BlackBox(Spy(), cache=QueryCache(cache.path))
    assert torch.equal(black_box(images), expected)
    assert spent(black_box) == (0, 0, 5)


def test_a_put_that_is_interrupted_leaves_the_cache_in_use(cache):
    key = [b"\0"]
    with pytest.raises(KeyboardInterrupt):
        cache._write("INSERT INTO answers VALUES (?, ?, ?, ?)", interrupted())
    cache.put("m", "logits", key, torch.tensor([[7.0, 8.0]]))
    assert cache.get("m", "logits", key)[b"\0"].tolist() == [7, 8]


def interrupted():
    yield ("m", "logits", b"\1", b"")
    raise KeyboardInterrupt


def test_a_folder_in_the_place_of_the_cache_of_a_job_is_set_aside(tmp_path, capsys):
    path = tmp_path / "answers.sqlite"
    path.mkdir()
    (tmp_path / "answers.sqlite-wal").mkdir()
    QueryCache(path).put("m", "logits", [b"\0"], torch.tensor([[7.0, 8.0]]))
    assert path.is_file()
    why = "is a folder where a file of the cache belongs; it is kept as"
    said = [f"{each} {why} {each}.damaged" for each in (path, f"{path}-wal")]
    assert capsys.readouterr().err.splitlines() == said


def test_a_folder_is_no_cache(tmp_path):
    with raises(ValueError, f"{tmp_path} is a folder; a cache is a file, such as {tmp_path}/answers.sqlite"):
        QueryCache(tmp_path)


def test_a_cache_that_another_program_holds_is_refused_by_name(cache, images, monkeypatch):
    monkeypatch.setattr("freemcg.blackbox.cache.LONGEST_WAIT", 0.1)
    held = sqlite3.connect(cache.path, isolation_level=None)
    held.execute("BEGIN EXCLUSIVE")
    with raises(
        ValueError,
        f"{cache.path} was in use by another program for 0.1 s (database is locked); end that program, or name another "
        "file with --cache",
    ):
        BlackBox(Spy(), cache=QueryCache(cache.path))(images)
    held.close()
    assert spent(BlackBox(Spy(), cache=cache)) == (0, 0, 0)


def test_a_full_disk_is_said_and_what_was_kept_stays(cache, images):
    BlackBox(Spy(), cache=cache)(images[:2])
    (pages,) = cache._connection.execute("PRAGMA page_count").fetchone()
    cache._connection.execute(f"PRAGMA max_page_count = {pages}")
    keys = [index.to_bytes(4, "big") for index in range(1000)]
    with raises(
        ValueError,
        f"the cache {cache.path} cannot be written (database or disk is full); free space on its disk, allow writing "
        "to its folder, or name another file with --cache",
    ):
        cache.put("m", "logits", keys, torch.zeros(1000, 3))
    cache._connection.execute("PRAGMA max_page_count = 1000000")
    assert cache.models() == [CachedModel("spy-1", "logits", 2)]
    cache.put("m", "logits", keys, torch.zeros(1000, 3))


def test_a_key_depends_on_shape_and_type_too():
    zeros = torch.zeros(1, 2, 6)
    keys = {image_key(each) for each in (zeros, zeros.reshape(1, 3, 4), zeros.half(), zeros + 1, zeros.clone())}
    assert len(keys) == 4
