"""Put files in place whole or not at all."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

__all__ = ["part_name", "remove_leftovers", "write_part"]

# A temporary file lives for as long as one write to disk takes. Age alone says that its writer is gone:
# process ids mean nothing across the containers that may share a folder.
_LEFTOVER_AGE_S = 3600
_TEMPORARY = ".{}.tmp"


def part_name(first: int, content: bytes, suffix: str) -> str:
    """Return the name of a part: the same content has the same name, so writing it again changes nothing.

    Args:
        first: where the part begins, by which names sort: microseconds or an offset.
        content: what tells parts apart.
        suffix: with its dot.
    """
    return f"part-{max(first, 0):016d}-{blake2b(content, digest_size=8).hexdigest()}{suffix}"


def write_part(folder: Path, name: str, content: bytes) -> None:
    """Write a file so that a reader, or a crash, finds it whole or not at all; it is on disk on return.

    Raises:
        OSError: as the file system raises it; nothing is left behind then.
    """
    _make(folder)
    temporary = folder / _TEMPORARY.format(secrets.token_hex(8))
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync(folder)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a crashed writer left more than an hour ago."""
    oldest_s = time.time() - _LEFTOVER_AGE_S
    for path in folder.glob(_TEMPORARY.format("*")):
        # Another writer may be tidying too.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()


def _make(folder: Path) -> None:
    """Make a folder and those above it, so that a crash of the machine does not take them away again."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        _make(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
