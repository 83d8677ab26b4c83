"""Read the checkpoints and savepoints of a job from where Flink wrote them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
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

__all__ = ["newest_below", "newest_beside", "read_checkpoint"]

_CHECKPOINT = "chk-"
_PATTERN = f"{_CHECKPOINT}*/{METADATA_FILE}"
# Those that Beam reads, with the extras that it needs for each.
_REMOTE = {"gs": "apache-beam[gcp]", "s3": "apache-beam[aws]"}
_S3 = frozenset({"s3a", "s3p"})
_REMOTE_DEADLINE_S = 20.0
_READABLE = "a checkpoint or savepoint of Flink, and leave to read it"
_T = TypeVar("_T")


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
    return _newest(str(folder), map(str, folder.glob(_PATTERN)))


def newest_below(folder: str) -> str | None:
    """Return the newest checkpoint in the folder of a job; None without any.

    Args:
        folder: a path, file:, gs:// or s3://.

    Raises:
        UserError: if it cannot be looked into from here; says what to do.
    """
    scheme, _, location, _, _ = urlsplit(folder)
    remote = _remote(scheme)
    if remote is not None:
        return _newest(folder, _match_remote(f"{folder}/{_PATTERN}", remote))
    local = Path(unquote(location) if scheme else folder)
    if scheme not in ("", "file") or not local.is_dir():
        raise UserError(
            f"{folder}: found no such folder here, expected a job's checkpoints: look where its files are, "
            "or keep them where both can read (gs://, s3://)"
        )
    return _newest(str(local), map(str, local.glob(_PATTERN)))


def _newest(folder: str, found: Iterable[str]) -> str | None:
    names = (each.rstrip("/").split("/")[-2].removeprefix(_CHECKPOINT) for each in found)
    newest = max((int(name) for name in names if name.isdigit()), default=None)
    return None if newest is None else f"{folder}/{_CHECKPOINT}{newest}"


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
    remote = _remote(scheme)
    if remote is not None:
        return _read_remote(path, remote, size)
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


def _remote(scheme: str) -> str | None:
    """Return the scheme by which Beam reads a store; None for what is no store that it reads."""
    known = "s3" if scheme in _S3 else scheme
    return known if known in _REMOTE else None


def _read_remote(path: str, scheme: str, size: int) -> bytes:
    def read() -> bytes:
        with _file_systems().open(_address(path, scheme)) as content:
            found: bytes = content.read(size) if size >= 0 else content.read()
        return found

    return _within(read, path, scheme)


def _match_remote(path: str, scheme: str) -> list[str]:
    def match() -> list[str]:
        (found,) = _file_systems().match([_address(path, scheme)])
        return [each.path for each in found.metadata_list]

    return _within(match, path, scheme)


def _address(path: str, scheme: str) -> str:
    return f"{scheme}://{path.partition('://')[2]}"


def _file_systems() -> Any:
    # Beam takes a second to import.
    from apache_beam.io.filesystems import FileSystems
    from apache_beam.options.pipeline_options import PipelineOptions

    # Its s3:// wants some, be they empty: the login is then that of the environment.
    FileSystems.set_options(PipelineOptions([]))
    # Each try would be a traceback; what it comes to is told once.
    logging.getLogger("apache_beam.utils.retry").setLevel(logging.ERROR)
    return FileSystems


def _within(call: Callable[[], _T], path: str, scheme: str) -> _T:
    """Return what a call returns, in time, and tell what to do about what it meets at another machine."""
    found: list[_T] = []
    faults: list[Exception] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:  # noqa: BLE001  (told by who waits)
            faults.append(error)

    # Beam tries again for ten minutes, and cannot be told to give up.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_REMOTE_DEADLINE_S)
    if found:
        return found[0]
    if not faults:
        raise UserError(f"{path}: found no answer within {_REMOTE_DEADLINE_S:.0f} s, expected {_READABLE}")
    error = faults[0]
    # Where the scheme is not known, or known without what it needs.
    if isinstance(error, ValueError | AssertionError | ImportError):
        raise UserError(
            f"{path}: found no way to read {scheme}:// here, expected pip install '{_REMOTE[scheme]}'"
        ) from error
    raise UserError(
        f"{path}: found {type(error).__name__}: {str(error)[:500]}, expected {_READABLE}"
    ) from error
