"""Batches that fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor


def in_batches(compute: Callable[[Tensor], Tensor], rows: Tensor, size: int) -> tuple[Tensor, int]:
    """`compute` of all rows, at most `size` at a time, and the size of the last batch that was tried.

    If memory runs out, the batch is halved, and so are those after it. The answers do not depend on that.

    Args:
        compute: from rows `(n, ...)` to `n` rows, for any `n` from 1 on.
        rows: `(N, ...)`, with `N >= 1`.

    Raises:
        RuntimeError: memory does not even suffice for one row.
    """
    parts, done = list[Tensor](), 0
    while done < len(rows):
        batch = rows[done : done + size]
        try:
            parts.append(compute(batch))
            done += len(batch)
            continue
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not _is_out_of_memory(error):
                raise
        size = len(batch) // 2
        clear_device_cache(garbage_collection=True)  # outside the handler, whose error holds what was computed
    return torch.cat(parts), size


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return known or bool(should_reduce_batch_size(error))
