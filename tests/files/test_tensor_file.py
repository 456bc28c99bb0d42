"""Files of tensors are read as they were written, or refused by name."""

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from freemcg.files import tensors as tensor_file
from freemcg.files.tensors import load_tensors, save_tensors

TENSORS = {"values": torch.tensor([[1.5, -2.0]]), "count": torch.tensor(7), "none": torch.zeros(0, 3)}
HEADER = {"kind": "Attribution", "result": '{"status": "complete", "seconds": 0.25}'}


@pytest.fixture
def path(tmp_path):
    save_tensors(TENSORS, tmp_path / "a.safetensors", HEADER)
    return tmp_path / "a.safetensors"


def assert_as_written(path):
    tensors, header = load_tensors(path, "result")
    assert header == HEADER
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], each) and tensors[name].dtype == each.dtype for name, each in TENSORS.items())


def test_it_is_read_as_it_was_written(path):
    assert_as_written(path)
    assert [each.name for each in path.parent.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize("mask", [1, 0x20, 0x80])
def test_no_flipped_byte_passes_for_what_was_written(path, mask):
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= mask
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"a\.safetensors (was damaged: it is not what|is not a saved result \()"):
            load_tensors(path, "result")


def test_a_damaged_file_is_refused_by_name(path):
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.25", b"0.24"))
    with pytest.raises(ValueError) as caught:
        load_tensors(path, "result")
    assert str(caught.value) == f"{path} was damaged: it is not what was written; make it again"


def test_a_file_without_a_checksum_is_read(path):
    save_file(TENSORS, path, metadata=HEADER)
    assert_as_written(path)


def test_what_was_read_does_not_hang_on_the_file(path):
    tensors, _ = load_tensors(path, "result")
    path.write_bytes(b"")
    assert torch.equal(tensors["values"], TENSORS["values"])


def test_a_full_disk_is_an_error_of_the_system_that_names_the_file(path, monkeypatch):
    def full(*given, **named):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensor_file, "save_file", full)
    with pytest.raises(OSError) as caught:
        save_tensors({}, path, HEADER)
    assert (caught.value.filename, caught.value.strerror) == (
        str(path),
        "cannot be written (I/O error: No space left on device (os error 28)); free space on its disk, or allow "
        "writing to its folder",
    )
    assert_as_written(path)
