"""What "the same map" means where the threads, the vector unit or the batch differ.

A matrix product is added up in another order then, so the last bits of float32 differ: 1e-7 of the largest value of a
map, which is 1e-4 of a value that small. The map as a whole is held to 1e-5 of its largest value.
"""

import torch
from torch import Tensor

SHARE_OF_THE_LARGEST = 1e-5


def assert_same_map(one: Tensor, two: Tensor) -> None:
    """Equal to 1e-5 of the largest finite value; infinite where the other is."""
    largest = one[one.isfinite()].abs().max().item()
    torch.testing.assert_close(one, two, rtol=0, atol=SHARE_OF_THE_LARGEST * largest)
