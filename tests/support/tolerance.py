"""What "the same map" means if the threads, the vector unit or the batch differ.

Then a matrix product is added up in another order, so the last bits of float32 differ. That is 1e-7 of the largest
value of a map, but 1e-4 of a value a thousand times smaller. So the error may be 1e-5 of the largest value of the map.
"""

import torch
from torch import Tensor

SHARE_OF_THE_LARGEST = 1e-5


def assert_same_map(one: Tensor, two: Tensor) -> None:
    """Check that two maps are equal to 1e-5 of the largest finite value, and infinite in the same places."""
    largest = one[one.isfinite()].abs().max().item()
    torch.testing.assert_close(one, two, rtol=0, atol=SHARE_OF_THE_LARGEST * largest)
