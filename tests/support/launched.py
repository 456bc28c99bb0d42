"""Several processes, joined as a launcher joins them, but without its own words on their error streams."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ports import free_port

SUPPORT = Path(__file__).parent


def launched(count: int, words: list[str], place: Path, *, threads: int = 1) -> tuple[list[int], list[str]]:
    """Run `python WORDS` in `place` as so many processes: their exit statuses, and the texts of their error streams."""
    paths = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1]), os.environ.get("PYTHONPATH", "")])
    group = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    group |= {"MASTER_PORT": free_port(), "OMP_NUM_THREADS": str(threads), "PYTHONPATH": paths}
    processes = [
        subprocess.Popen(
            [sys.executable, *words],
            cwd=place,
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    return [process.returncode for process in processes], said
