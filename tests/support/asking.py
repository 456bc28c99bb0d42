"""A process that asks an endpoint about grey pictures and keeps the answers. Tests kill it in the middle.

python tests/support/asking.py URL CACHE COUNT CONCURRENCY
"""

from __future__ import annotations

import sys

import torch

from freemcg.blackbox import BlackBox, EndpointDescription, QueryCache, endpoint_black_box


def pictures(count: int) -> torch.Tensor:
    """Pictures of the grey levels 0, 1, 2, ..., which the answer tells apart."""
    return (torch.arange(count) / 255).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 3).contiguous()


def asking(url: str, cache: QueryCache | None = None, **fields) -> BlackBox:
    description = {
        "url": url,
        "body": {"images": ["{image}"]},
        "answer": "probabilities",
        "means": "probabilities",
        "batch_size": 4,
        **fields,
    }
    black_box = endpoint_black_box(EndpointDescription(**description), cache=cache)
    black_box.predict.transport.first_wait = 0.01
    return black_box


if __name__ == "__main__":
    url, path, count, concurrency = sys.argv[1:]
    asking(url, QueryCache(path), concurrency=int(concurrency))(pictures(int(count)))
