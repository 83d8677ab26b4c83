"""Read Debezium's events from files: JSON lines, plain, gzip or Zstandard, and Avro container files."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import IO, cast

from tillstream.io.sources.avro_files import avro_lines
from tillstream.pipelines.errors import RecordError

__all__ = ["read_lines"]


def read_lines(path: Path) -> Iterator[bytes]:
    """Yield a file's lines without their ends; `.gz` and `.zst` are decompressed as they are read.

    Each record of an `.avro` file is a line of JSON.

    Delivery guarantees:
        Lines come in the file's order, each once a call; a repeated call repeats them.

    Raises:
        RecordError: `unreadable_file`, after the lines that could still be read.
    """
    zstd_error: type[Exception] = OSError
    if path.suffix == ".zst":
        import zstandard

        zstd_error = zstandard.ZstdError
    try:
        if path.suffix == ".avro":
            yield from avro_lines(path)
            return
        with _open(path) as lines:
            for line in lines:
                yield line.rstrip(b"\r\n")
    except (OSError, EOFError, ValueError, zlib.error, zstd_error) as error:
        raise RecordError(
            "unreadable_file", f"found {error} in {path}, expected a whole file; replace it and run again"
        ) from error


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if path.suffix == ".zst":
        import zstandard

        # Named so because type checkers that start here take `io` for this project's own folder.
        return cast("IO[bytes]", import_module("io").BufferedReader(zstandard.open(path, "rb")))
    return cast("IO[bytes]", path.open("rb"))
