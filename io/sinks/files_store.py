"""Keep an entity's files and commit log in a folder."""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from tillstream.io.sinks.commit_log import decode_commit, entry_name, number_of
from tillstream.io.sinks.part_files import (
    create_only,
    leftovers,
    make_folder,
    remove_leftovers,
    sync_folder,
    write_synced,
)

__all__ = ["FolderStore", "committed_files"]

_LOG = "_log"
_STAGED = "_staged"
_NAME = "part-{:020d}-{}"


class FolderStore:
    """Be the `Store` of one entity's folder: `_log/` has the entries, `_staged/` what no entry lists yet.

    A data file moves from `_staged/` beside them when it is listed, and gets the entry's number into its
    name: so what lies there is delivered, and sorts as it was.

    Args:
        folder: of the entity.
        suffix: of its data files, with the dot.
    """

    def __init__(self, folder: Path, suffix: str) -> None:
        self._folder = folder
        self._log = folder / _LOG
        self._staged = folder / _STAGED
        self._suffix = suffix

    def prepare(self) -> None:
        """Make the folders."""
        make_folder(self._log)
        make_folder(self._staged)

    def create_only(self, name: str, content: bytes) -> bool:
        """Link a whole file to its name, unless that is taken."""
        return create_only(self._log, name, content)

    def read(self, name: str) -> bytes | None:
        """Return an entry; None where there is none."""
        try:
            return (self._log / name).read_bytes()
        except FileNotFoundError:
            return None

    def last(self) -> int:
        """Return the highest number of all names."""
        return max((number_of(path.name) for path in self._log.iterdir()), default=0)

    def stage(self, content: bytes) -> str:
        """Write a file into `_staged/`, under a name that no other attempt has."""
        token = f"{secrets.token_hex(8)}{self._suffix}"
        write_synced(self._staged / token, content)
        sync_folder(self._staged)
        return token

    def discard(self, token: str) -> None:
        """Remove a file from `_staged/`."""
        (self._staged / token).unlink(missing_ok=True)

    def name_of(self, token: str, number: int) -> str:
        """Return the name that sorts as the log does."""
        return _NAME.format(number, token)

    def publish(self, name: str) -> None:
        """Move a file out of `_staged/`; not on disk until `settle`."""
        # Another writer may have done so, and a reader taken the file away since.
        with suppress(FileNotFoundError):
            self._staged_place(name).rename(self._folder / name)

    def settle(self) -> None:
        """Wait until the names are on disk."""
        sync_folder(self._folder)

    def leftovers(self) -> list[str]:
        """Return what has been in `_staged/` for more than an hour; removes old temporary files."""
        remove_leftovers(self._log)
        return [path.name for path in leftovers(self._staged, "*")]

    def committed(self) -> list[Path]:
        """Return the files of all entries, in the order of the log."""
        found = []
        for number in sorted(filter(None, (number_of(path.name) for path in self._log.glob("*[0-9].json")))):
            name = entry_name(number)
            for file in decode_commit((self._log / name).read_bytes(), name).files:
                place, staged = self._folder / file.name, self._staged_place(file.name)
                # A crash came between entry and move: the next writer moves it.
                found.append(staged if staged.exists() and not place.exists() else place)
        return found

    def _staged_place(self, name: str) -> Path:
        return self._staged / name.split("-", 2)[2]


def committed_files(folder: Path, entity: str) -> list[Path]:
    """Return the files that a files sink has delivered exactly once, in the order in which it did.

    For readers that cannot wait for the sink to be opened again after a crash; others may as well take what
    matches `part-*` in the entity's folder, sorted by name.

    Args:
        folder: the sink's `path`.
        entity: the entity's name.

    Raises:
        SinkError: if the log is damaged, or of a version that this release does not read.
    """
    return FolderStore(folder / entity, "").committed()
