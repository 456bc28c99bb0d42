from __future__ import annotations

import pytest
import torch
from diffusers import DDPMScheduler
from unets import tiny_unet

from freemcg import Denoiser
from freemcg.diffusion.batches import in_batches

CUDA = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of 8 GiB")
CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory")
NUMPY = MemoryError("Unable to allocate 2.00 GiB for an array")


class Room:
    """Triples rows, if memory suffices for them."""

    def __init__(self, most: int, error: Exception = CUDA) -> None:
        self.most, self.error, self.tried = most, error, list[int]()

    def __call__(self, rows):
        self.tried.append(len(rows))
        if len(rows) > self.most:
            raise self.error
        return 3 * rows


@pytest.mark.parametrize("error", [CUDA, CPU, NUMPY])
def test_a_batch_that_does_not_fit_is_halved_and_the_next_ones_too(error):
    rows, room = torch.arange(100.0).reshape(50, 2), Room(5, error)
    found, size = in_batches(room, rows, 32)
    assert torch.equal(found, 3 * rows)
    assert size == 4
    assert room.tried == [32, 16, 8, *[4] * 12, 2]


def test_few_rows_that_do_not_fit_are_halved_themselves():
    room = Room(2)
    assert in_batches(room, torch.ones(5, 1), 64) == (pytest.approx(3 * torch.ones(5, 1)), 2)
    assert room.tried == [5, 2, 2, 1]


def test_what_does_not_fit_alone_and_any_other_error_is_raised():
    for most, error in ((0, CUDA), (5, RuntimeError("sizes do not match")), (5, ValueError("no"))):
        room = Room(most, error)
        with pytest.raises(type(error), match=str(error)[:10]):
            in_batches(room, torch.ones(8, 1), 8)
        assert room.tried == ([8, 4, 2, 1] if most == 0 else [8])


@pytest.mark.parametrize("size", [1, 3, 64])
def test_rows_stay_in_order(size):
    rows = torch.arange(20.0).reshape(10, 2)
    assert torch.equal(in_batches(Room(99), rows, size)[0], 3 * rows)


def test_a_denoiser_remembers_what_fits(rng):
    unet, sizes = tiny_unet(), list[int]()
    denoiser = Denoiser(unet, DDPMScheduler(), batch_size=16)
    x_t = torch.randn(16, 1, 8, 8, generator=rng)
    wanted = denoiser.denoise(x_t, 300)

    def full(_, given):
        sizes.append(len(given[0]))
        if len(given[0]) > 6:
            raise CUDA

    unet.register_forward_pre_hook(full)
    for _ in range(2):
        torch.testing.assert_close(denoiser.denoise(x_t, 300), wanted)
    assert sizes == [16, 8, 4, 4, 4, 4, 4, 4, 4, 4]
    assert denoiser.batch_size == 4
