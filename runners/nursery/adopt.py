"""Run a command that is the parent of what its descendants leave behind (`python -I -S adopt.py COMMAND`).

So the nursery of a TaskManager, which no one waits for, and all that it forks stay below the TaskManager.
"""

from __future__ import annotations

import ctypes
import os
import sys

__all__: list[str] = []

_PR_SET_CHILD_SUBREAPER = 36

if __name__ == "__main__":
    # Stays set over exec (prctl(2)).
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606
