"""Write every change into files, one folder an entity."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from tillstream.configs import Entity
from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.commit_log import CommitLog, Part
from tillstream.io.sinks.files_store import FolderStore
from tillstream.io.sinks.letters import letter_line
from tillstream.io.sinks.part_files import part_name, remove_leftovers, write_part
from tillstream.io.sinks.parts import Parts
from tillstream.pipelines.errors import SinkError, SinkUnavailableError
from tillstream.pipelines.records import DeadLetter, MutationBatch

__all__ = ["FilesSink"]

_DEAD_LETTERS = "_dead_letters"
_RETRY_S_MAX = 30
# Retrying cures a full or failing disk and a network folder that went away, not these.
_REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR, errno.EROFS, errno.ENAMETOOLONG}
)
_encode_lines = msgspec.json.Encoder().encode_lines


class FilesSink(Sink):
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

    guarantee = "exactly-once"
    model: FilesSinkModel

    def __init__(
        self,
        name: str,
        client: str,
        model: FilesSinkModel,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        self._path = Path(model.path)
        self._parts: Parts | None = None
        self._logs: dict[str, CommitLog] = {}

    def open(self) -> None:
        """Make the folder, read the logs, and tidy what a crashed writer left; raises as Sink.open does."""
        parts = Parts(self.name, self.model, self.entities)
        if self.writer is not None:
            self._logs = {
                entity: CommitLog(FolderStore(self._path / entity, parts.suffix), entity, self.writer)
                for entity in self.entities
            }
        self._insist(self._prepare)
        self._parts = parts

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write one file an entity; raises as Sink.write does."""
        by_entity: dict[str, list[MutationBatch]] = {}
        for batch in batches:
            by_entity.setdefault(batch.entity, []).append(batch)
        for entity, own in by_entity.items():
            if entity in self._logs:
                encode = partial(self._part, entity, refuse)
                self._insist(partial(self._logs[entity].write, own, encode))
            else:
                self._write_again(entity, [batch for batch in own if batch.records], refuse)

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Write one file of JSON lines; raises as Sink.write does."""
        if letters:
            content = _encode_lines([letter_line(letter) for letter in letters])
            name = part_name(letters[0].offset, content, ".jsonl")
            self._insist(lambda: write_part(self._path / _DEAD_LETTERS, name, content))

    def close(self) -> None:
        """Let go of encoders and ledgers: no file stays open between writes."""
        self._parts = None
        self._logs = {}

    def _prepare(self) -> None:
        for folder in (*self.entities, _DEAD_LETTERS):
            remove_leftovers(self._path / folder)
        self._path.mkdir(parents=True, exist_ok=True)
        for log in self._logs.values():
            log.open()

    def _part(self, entity: str, refuse: Refuse, batches: Sequence[MutationBatch]) -> Part | None:
        good, content = self._open_parts.encode(entity, batches, refuse)
        rows = sum(len(batch.records) for batch in good)
        return Part(self._open_parts.packed(content), rows) if rows else None

    def _write_again(self, entity: str, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Write a file under a name that its content gives, as often as it is asked to."""
        if not batches:
            return
        good, content = self._open_parts.encode(entity, batches, refuse)
        if good:
            name = part_name(good[0].records[0].source_time_us, content, self._open_parts.suffix)
            packed = self._open_parts.packed(content)
            self._insist(lambda: write_part(self._path / entity, name, packed))

    @property
    def _open_parts(self) -> Parts:
        if self._parts is None:
            raise SinkError(f"sink {self.name}: found it closed, expected open() before write()")
        return self._parts

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
