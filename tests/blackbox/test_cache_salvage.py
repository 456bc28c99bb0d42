"""What a damaged cache still holds is found, wherever the damage is, and nothing else is."""

from __future__ import annotations

import random
import shutil

import pytest
import torch
from faults import answers_in

from freemcg.blackbox import QueryCache
from freemcg.blackbox.cache_salvage import PAGE, sound_rows

KEYS = [index.to_bytes(20, "big") for index in range(300)]


def rows(width):
    return torch.rand(len(KEYS), width, dtype=torch.double, generator=torch.Generator().manual_seed(width))


def filled(path, width=10):
    cache = QueryCache(path)
    cache.put("mine", "logits", KEYS, rows(width))
    return cache


def found(path):
    return {image for model, scores, image, _ in sound_rows(path) if (model, scores) == ("mine", "logits")}


@pytest.mark.parametrize("width", [1, 10, 120, 130, 1000, 1200])
def test_rows_of_any_length_are_found_as_they_were_put(tmp_path, width):
    """Rows above a thousand bytes go on in other pages."""
    filled(tmp_path / "a.sqlite", width).close()
    (tmp_path / "a.sqlite").write_bytes(b"?" + (tmp_path / "a.sqlite").read_bytes()[1:])
    cache = QueryCache(tmp_path / "a.sqlite")
    known = cache.get("mine", "logits", KEYS)
    assert all(torch.equal(known[key], row) for key, row in zip(KEYS, rows(width), strict=True))


@pytest.mark.parametrize("eighth", [0, 3])
def test_no_bit_of_the_header_costs_an_answer(tmp_path, eighth):
    path = tmp_path / "a.sqlite"
    filled(path).close()
    whole = path.read_bytes()
    for place in range(100):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place + eighth) % 8
        for other in tmp_path.glob("a.sqlite*"):
            other.unlink()
        path.write_bytes(damaged)
        cache = QueryCache(path)
        assert len(cache.get("mine", "logits", KEYS)) == len(KEYS), place
        cache.close()


def test_a_bit_anywhere_costs_the_rows_of_a_page_at_most_and_mostly_one(tmp_path):
    path = tmp_path / "a.sqlite"
    filled(path).close()
    whole, lost = path.read_bytes(), []
    for place in range(0, len(whole), 97):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        lost.append(len(KEYS) - len(found(path)))
    in_a_page = PAGE // (20 + 10 * 8 + 4)
    assert max(lost) <= in_a_page
    assert sum(each <= 1 for each in lost) > 0.95 * len(lost)


def test_a_page_that_is_gone_costs_no_row_of_another(tmp_path):
    path = tmp_path / "a.sqlite"
    filled(path).close()
    whole = path.read_bytes()
    for start in range(0, len(whole), PAGE):
        path.write_bytes(whole[:start] + bytes(PAGE) + whole[start + PAGE :])
        assert len(KEYS) - len(found(path)) <= PAGE // (20 + 10 * 8 + 4)


def test_answers_that_are_only_in_the_log_are_found(tmp_path):
    cache = filled(tmp_path / "a.sqlite")
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"a.sqlite{end}", tmp_path / f"b.sqlite{end}")
    cache.close()
    assert (tmp_path / "b.sqlite-wal").stat().st_size > 10 * PAGE
    assert found(tmp_path / "b.sqlite") == set(KEYS)
    log = (tmp_path / "b.sqlite-wal").read_bytes()
    (tmp_path / "b.sqlite-wal").write_bytes(bytes(32) + log[32:])  # without its header, sqlite passes the log over
    assert found(tmp_path / "b.sqlite") == set(KEYS)


@pytest.mark.parametrize("closed", [True, False])
def test_answers_that_were_forgotten_do_not_come_back(tmp_path, closed):
    cache = filled(tmp_path / "a.sqlite")
    cache.put("other", "logits", KEYS[:50], rows(10)[:50])
    assert cache.clear("mine") == len(KEYS)
    cache.forget("other", "logits", KEYS[:20])
    if closed:
        cache.close()
    for part in tmp_path.glob("a.sqlite*"):
        shutil.copy(part, tmp_path / part.name.replace("a.", "b."))
    again = {(model, image) for model, _, image, _ in sound_rows(tmp_path / "b.sqlite")}
    assert again == {("other", key) for key in KEYS[20:50]}


@pytest.mark.parametrize("kind", ["cut", "flip"])
@pytest.mark.parametrize("part", ["", "-wal"])
def test_all_that_sqlite_can_read_is_found_and_more(tmp_path, part, kind):
    """A log that is cut may hold a page whose rows have moved to another page, which is cut off."""
    chance = random.Random(f"{part} {kind}")
    (tmp_path / "kept").mkdir()
    cache = QueryCache(tmp_path / "a.sqlite")
    order = [*chance.sample(range(220), 220), *range(220, len(KEYS))]  # the last are put side by side
    for count, start in enumerate(range(0, len(KEYS), 20)):
        chosen = order[start : start + 20]
        cache.put("mine", "logits", [KEYS[index] for index in chosen], rows(10)[chosen])
        if count == 10:
            cache._with_file(lambda file: file.execute("PRAGMA wal_checkpoint(RESTART)").fetchall())
    for end in ("", "-wal"):
        shutil.copy(tmp_path / f"a.sqlite{end}", tmp_path / "kept" / f"b.sqlite{end}")
    cache.close()
    path = tmp_path / "kept" / f"b.sqlite{part}"
    whole, more = path.read_bytes(), 0
    for _ in range(150):
        place = chance.randrange(len(whole))
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        path.write_bytes(whole[:place] if kind == "cut" else damaged)
        readable = {key[len(b"mine") :] for key in answers_in(tmp_path / "kept" / "b.sqlite", None)}
        assert readable <= found(tmp_path / "kept" / "b.sqlite")
        more += len(found(tmp_path / "kept" / "b.sqlite")) - len(readable)
    assert more > 0


def test_a_bit_beyond_the_size_of_a_page_misleads_nobody(tmp_path):
    """Sqlite leaves such bits of the places of rows out; the small file holds its rows in its last page."""
    path = tmp_path / "a.sqlite"
    cache = QueryCache(path)
    cache.put("mine", "logits", KEYS[:9], rows(3)[:9])
    cache.close()
    whole = path.read_bytes()
    for place in range(len(whole) - PAGE, len(whole) - PAGE + 30):
        for bit in (4, 7):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            path.write_bytes(damaged)
            assert {key[len(b"mine") :] for key in answers_in(path, None)} <= found(path)


def test_an_older_log_behind_the_log_is_passed_over(tmp_path):
    cache = filled(tmp_path / "a.sqlite")
    cache._with_file(lambda file: file.execute("PRAGMA wal_checkpoint(RESTART)").fetchall())
    before = (tmp_path / "a.sqlite-wal").stat().st_size
    cache.clear("mine")
    cache._with_file(lambda file: file.execute("PRAGMA wal_checkpoint(RESTART)").fetchall())
    cache.put("mine", "logits", KEYS[:1], rows(10)[:1])
    assert (tmp_path / "a.sqlite-wal").stat().st_size >= before
    assert found(tmp_path / "a.sqlite") == set(KEYS[:1])
    cache.close()
