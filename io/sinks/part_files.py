"""Put files in place whole or not at all."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

__all__ = [
    "create_only",
    "leftovers",
    "make_folder",
    "part_name",
    "remove_leftovers",
    "sync_folder",
    "write_part",
    "write_synced",
]

# A file that waits to be put in place lives for as long as one write to disk takes. Age alone says that its
# writer may be gone: process ids mean nothing across the containers that may share a folder.
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
    make_folder(folder)
    temporary = folder / _TEMPORARY.format(secrets.token_hex(8))
    write_synced(temporary, content)
    try:
        temporary.replace(folder / name)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(folder)


def create_only(folder: Path, name: str, content: bytes) -> bool:
    """Write a file as `write_part` does, unless one of that name is there; return whether it was not.

    Of several processes that call it at once with one name, one is told True. After True, and after False,
    the file that is there is on disk. Needs a file system with hard links. The folder must be there.

    Raises:
        OSError: as the file system raises it; the file may be in place then, or not.
    """
    temporary = folder / _TEMPORARY.format(secrets.token_hex(8))
    write_synced(temporary, content)
    try:
        (folder / name).hardlink_to(temporary)
        created = True
    except FileExistsError:
        created = False
    finally:
        with suppress(OSError):
            temporary.unlink()
    sync_folder(folder)
    return created


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until its content is on disk; its name may not be, see `sync_folder`.

    Raises:
        OSError: as the file system raises it; nothing is left behind then.
    """
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise


def leftovers(folder: Path, pattern: str) -> list[Path]:
    """Return files of a pattern that were written more than an hour ago."""
    oldest_s = time.time() - _LEFTOVER_AGE_S
    found = []
    for path in folder.glob(pattern):
        # Another writer may be tidying too.
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < oldest_s:
                found.append(path)
    return found


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files that a crashed writer left more than an hour ago."""
    for path in leftovers(folder, _TEMPORARY.format("*")):
        path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that a crash of the machine does not take them away again."""
    if folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
