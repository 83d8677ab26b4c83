"""Find on this machine what Flink names by an address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["local_path"]


def local_path(address: str) -> Path | None:
    """Return the path of a file or folder that lies on a file system; None for any other store.

    Args:
        address: as Flink has it, file:/a/b or file:///a/b, gs://bucket/a.
    """
    parts = urlsplit(address)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
