"""Read the checkpoints and savepoints of a job from where Flink wrote them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tillstream.pipelines.errors import UserError
from tillstream.runners.flink.metadata import (
    METADATA_FILE,
    Handle,
    Metadata,
    OperatorMetadata,
    decode_metadata,
)
from tillstream.runners.flink.state_names import HEAD_BYTES_MAX, state_names

__all__ = ["newest_beside", "read_checkpoint"]

_CHECKPOINT = "chk-"
# Those that Beam reads, with the extras that it needs for each.
_REMOTE = {"gs": "apache-beam[gcp]", "s3": "apache-beam[aws]"}
_S3 = frozenset({"s3a", "s3p"})


def read_checkpoint(path: str) -> Metadata:
    """Return what a checkpoint or savepoint holds, with the names of keyed state where its files can be read.

    Args:
        path: of its folder, as Flink names it: a path, file:, gs:// or s3://.

    Raises:
        UserError: if there is none, or it cannot be read from here; says what to do.
    """
    folder = path.rstrip("/").removesuffix(f"/{METADATA_FILE}")
    content = _read(f"{folder}/{METADATA_FILE}")
    try:
        found = decode_metadata(content, folder)
    except ValueError as error:
        raise UserError(f"{folder}/{METADATA_FILE}: {error}") from error
    names = {each.operator_id: _names(folder, each) for each in found.operators.values() if each.keyed}
    return replace(found, states={name: known for name, known in names.items() if known is not None})


def newest_beside(path: str) -> str | None:
    """Return the newest checkpoint that lies beside one, where they lie on this machine; None without any.

    Args:
        path: of a checkpoint's folder, `chk-` and its number, which may be gone.
    """
    scheme, _, location, _, _ = urlsplit(path)
    if scheme not in ("", "file"):
        return None
    folder = Path(unquote(location) if scheme else path).parent
    numbers = [
        int(each.parent.name.removeprefix(_CHECKPOINT))
        for each in folder.glob(f"{_CHECKPOINT}*/{METADATA_FILE}")
        if each.parent.name.removeprefix(_CHECKPOINT).isdigit()
    ]
    return f"{folder}/{_CHECKPOINT}{max(numbers)}" if numbers else None


def _names(folder: str, operator: OperatorMetadata) -> tuple[str, ...] | None:
    """Return the names of an operator's keyed state; None where no file of it tells."""
    found: set[str] = set()
    is_known = False
    for head in _heads(folder, operator.keyed):
        names = state_names(head)
        if names is not None:
            is_known = True
            found.update(names)
    return tuple(sorted(found)) if is_known else None


def _heads(folder: str, handles: tuple[Handle, ...]) -> Iterator[bytes]:
    for handle in handles:
        if handle.content is not None:
            yield handle.content[:HEAD_BYTES_MAX]
        elif handle.path is not None:
            # The names are a help: a file that is gone or out of reach takes them away, not the rest.
            with suppress(UserError):
                place = f"{folder}/{handle.path}" if handle.is_relative else handle.path
                yield _read(place, HEAD_BYTES_MAX)


def _read(path: str, size: int = -1) -> bytes:
    scheme, _, location, _, _ = urlsplit(path)
    if scheme in _REMOTE or scheme in _S3:
        return _read_remote(path, "s3" if scheme in _S3 else scheme, size)
    if scheme not in ("", "file"):
        raise UserError(
            f"{path}: found files of {scheme}:, expected file:, gs:// or s3://, which can be read from here"
        )
    # A path may hold percent signs, an address spells them.
    local = Path(unquote(location) if scheme else path)
    try:
        with local.open("rb") as content:
            found: bytes = content.read(size)
    except OSError as error:
        raise UserError(
            f"{local}: found {error.strerror}, expected a checkpoint or savepoint of Flink: read "
            "it where its files are, or keep it where both can read (gs://, s3://)"
        ) from error
    return found


def _read_remote(path: str, scheme: str, size: int) -> bytes:
    # Beam takes a second to import.
    from apache_beam.io.filesystems import FileSystems

    address = f"{scheme}://{path.partition('://')[2]}"
    try:
        with FileSystems.open(address) as content:
            found: bytes = content.read(size) if size >= 0 else content.read()
    # Where the scheme is not known, or known without what it needs.
    except (ValueError, AssertionError, ImportError) as error:
        raise UserError(
            f"{path}: found no way to read {scheme}:// here, expected pip install '{_REMOTE[scheme]}'"
        ) from error
    except Exception as error:
        raise UserError(
            f"{path}: found {type(error).__name__}: {str(error)[:500]}, expected a checkpoint or savepoint "
            "of Flink, and leave to read it"
        ) from error
    return found
