"""Say what figures of a benchmark depend on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from typing import Any

import psutil

__all__ = ["machine"]

_PACKAGES = ("tillstream", "apache-beam", "confluent-kafka", "orjson", "msgspec", "psycopg")


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "load_average": os.getloadavg(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _PACKAGES},
    }
