"""The benchmarks can be started. Their measurements take too long for a test."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent / "benchmarks"
IMPORT_EACH = """
import importlib, sys
from pathlib import Path
before = sys.path[:]
for path in sorted(Path(sys.argv[1]).glob("*.py")):
    sys.path[:] = [sys.argv[1], *before]
    importlib.import_module(path.stem)
"""


def test_benchmarks_find_all_that_they_import_outside_pytest():
    done = subprocess.run([sys.executable, "-c", IMPORT_EACH, BENCHMARKS], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
