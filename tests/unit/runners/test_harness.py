"""The harness limits its memory before it runs a client's code."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from tillstream.runners.harness import limit_memory_mb
limit_memory_mb(256)
small = bytearray(16 * 1024 * 1024)
try:
    large = bytearray(512 * 1024 * 1024)
except MemoryError:
    print("refused")
"""


def test_past_the_limit_memory_is_refused() -> None:
    """An allocation past the limit fails in the process that asks, so that its neighbours keep theirs."""
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert finished.stdout == "refused\n"
