"""Keep what counts the lines that are reached out of what is interrupted."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest


@pytest.fixture
def untraced() -> Iterator[None]:
    """Trace nothing: an interruption that hits the code which counts lines leaves that locked for ever.

    The mark `no_cover` of pytest-cov does nothing in the processes of pytest-xdist.
    """
    here, elsewhere = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]  # as CPython has it
    try:
        yield
    finally:
        threading.settrace(elsewhere)  # type: ignore[arg-type]
        sys.settrace(here)
