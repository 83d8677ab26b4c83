"""Write every change into files, one folder an entity."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks.commit_log import Store
from tillstream.io.sinks.files_store import FolderStore
from tillstream.io.sinks.part_files import remove_leftovers, write_part
from tillstream.io.sinks.part_sink import DEAD_LETTERS, PartSink
from tillstream.pipelines.errors import SinkError, SinkUnavailableError

__all__ = ["FilesSink"]

_RETRY_S_MAX = 30
# Retrying cures a full or failing disk and a network folder that went away, not these.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG}
)


class FilesSink(PartSink):
    """Write one file an entity and `write`, `<path>/<entity>/part-<number>-<token>.<format>`.

    The files are a log of all changes in order of each key, not a table: nothing is collapsed. `<number>`
    counts what was written, so that files sort as they were. Without a writer the name is
    `part-<time>-<digest>`: the first change's commit time in the source, in microseconds, and a digest of
    the content. Dead letters go to `<path>/_dead_letters/`.

    Delivery guarantees:
        With a writer, exactly-once: `<path>/<entity>/_log/` has numbered entries, each made in one step, and
        each with a file's name and the ledger that this file moves (`tillstream.io.sinks.commit_log`). A
        repeated batch is skipped, two writers never both list it, a missing one stops the job, and a new
        generation that reads older changes again leaves out what is there. Readers see a file after it is
        listed: either what matches `part-*`, or `committed_files`, which knows it at once.
        Without a writer, at-least-once: a file is there whole, on disk, or not at all, and writing the same
        batches again gives the same file; a restart that cuts bundles otherwise writes some changes again in
        other files. (`_topic`, `_partition`, `_offset`, `_index`) tells changes apart.
        Broken by a file system without atomic rename and hard links, by one that forgets what was synced,
        and by who removes files from `_log/` or `_staged/`. Files beside them may be taken away once read.
        Keeps in memory one ledger entry an entity and shard; on disk the log grows by one small file a
        `write` and entity, and is never shortened.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
        writer: who writes; None for at-least-once.
    """

    model: FilesSinkModel

    @property
    def _path(self) -> Path:
        return Path(self.model.path)

    def _reach(self) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        for folder in (*self.entities, DEAD_LETTERS):
            remove_leftovers(self._path / folder)

    def _store(self, entity: str, suffix: str) -> Store:
        return FolderStore(self._path / entity, suffix)

    def _keep(self, folder: str, name: str, content: bytes) -> None:
        write_part(self._path / folder, name, content)

    def _insist(self, work: Callable[[], None]) -> None:
        attempts = Retrying(
            retry=retry_if_exception(_is_outage),
            wait=wait_random_exponential(multiplier=0.1, max=5),
            stop=stop_after_delay(_RETRY_S_MAX),
            reraise=True,
        )
        try:
            attempts(work)
        except OSError as error:
            if _is_outage(error):
                raise SinkUnavailableError(
                    f"sink {self.name}: cannot write under {self._path} for {_RETRY_S_MAX} s: {error}: check "
                    "that the disk is there and has room"
                ) from error
            raise SinkError(
                f"sink {self.name}: cannot write under {self._path}: {error}: check that it is a folder that "
                "the job's user may write to"
            ) from error


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno not in _REFUSALS
