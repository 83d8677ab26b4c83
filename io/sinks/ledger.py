"""Tell which batches a sink has taken, so that each is applied once.

A stream is what one entity's changes of one shard become: numbered batches, from 1 on without a gap. A
sink keeps one ledger entry a stream, and moves it in the same transaction as the rows. A batch is then

- a replay, where the entry has its number already: skipped;
- the next one: applied;
- beyond the next one: a gap, so batches were lost, and the job must not go on.

A generation is one launch of a job by a person. Restarts by Flink keep it, because they go on from the
newest checkpoint; numbers then fit. A new generation may start anywhere, so its first batch sets the number
(`MutationBatch.first`), and what it reads again is told by place: an entry marks how far each topic-partition
had been delivered. A job that starts from a savepoint first brings the batches that waited in it, with the
generation that made them.
A roll-back (`undoes`) takes back what launches since have delivered: it reads all of that again, and delivers
it again, so that of each key its own version holds. Marks are then those of before them.
That holds because the changes of one partition pass through one shard in the order of their offsets. Those
that a person gives back to the job come late: their place is the one where they came back
(`MutationBatch.via`). Batches of stages that join or gather several rows (`MutationBatch.derived`) have no
such order: they leave no marks and are never left out by place, so a launch from an older savepoint delivers
again what was made since. Rows written by key end the same; a log of appended rows holds versions twice, and
the last one of each key holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from tillstream.pipelines.errors import SequenceGapError, SinkError, StaleWriterError
from tillstream.pipelines.records import MutationBatch

__all__ = ["Admission", "Entry", "Marks", "Stream", "admit", "decode_entry", "encode_entry", "streams_of"]

_VERSION = 1


class Stream(NamedTuple):
    """Name the batches of one entity and shard.

    Attributes:
        entity: the output entity's name.
        shard: its number.
    """

    entity: str
    shard: int


# "topic/partition" to offset and index of the last mutation delivered from there.
Marks: TypeAlias = Mapping[str, tuple[int, int]]


class Entry(msgspec.Struct, frozen=True):
    """Say how far one stream has come at a sink.

    Attributes:
        generation: of the launch that made the last batch, milliseconds since 1970 UTC.
        sequence: number of the last batch applied.
        shards: how many shards the job had; marks of other numbers cannot be compared.
        marks: how far each topic-partition has been delivered.
        past: what `marks` were when this generation began.
        version: of this form.
    """

    generation: int
    sequence: int
    shards: int
    marks: dict[str, tuple[int, int]]
    past: dict[str, tuple[int, int]]
    version: int = _VERSION


class Admission(NamedTuple):
    """Say what to apply, and what the ledger must hold then.

    Attributes:
        batches: those to apply, in order, without what is skipped.
        entries: the new entries of the streams that move.
        replaced: the entries that these replace; None where a stream is new.
    """

    batches: list[MutationBatch]
    entries: dict[Stream, Entry]
    replaced: dict[Stream, Entry | None]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


def encode_entry(entry: Entry) -> bytes:
    """Return the entry as JSON, with its version."""
    return _encode(entry)


def decode_entry(text: bytes | str) -> Entry:
    """Read an entry.

    Raises:
        SinkError: if it is damaged, or of a version that this release does not read.
    """
    try:
        entry = _decode(text)
    except msgspec.MsgspecError as error:
        raise SinkError(f"ledger entry {text!r:.200}: found {error}, expected an entry") from error
    if entry.version != _VERSION:
        raise SinkError(
            f"ledger entry: found version {entry.version}, expected {_VERSION}: "
            "write with the release that wrote it, or a newer one"
        )
    return entry


def admit(
    found: Mapping[Stream, Entry],
    batches: Sequence[MutationBatch],
    *,
    generation: int,
    shards: int,
    drops_repeated: bool,
    undoes: int = 0,
) -> Admission:
    """Choose what to apply of some numbered batches.

    Args:
        found: the ledger's entries; at least those of the batches' streams that it has.
        batches: each stream's in order; streams may mix.
        generation: of the job that writes, milliseconds since 1970 UTC of its launch.
        shards: how many shards it has.
        drops_repeated: leave out mutations that an earlier generation delivered. For sinks that append;
            those that write by key apply them again, in order, and so end in the same rows.
        undoes: the first of the earlier generations that this one takes back; 0 for none. It must start from
            the savepoint that the generation before that one was stopped with.

    Raises:
        SequenceGapError: if batches are missing.
        StaleWriterError: if a newer generation has written.
        SinkError: if a batch has no number, or the ledger is of another number of shards.
    """
    entries: dict[Stream, Entry] = {}
    admitted: list[MutationBatch] = []
    for batch in batches:
        stream = Stream(batch.entity, batch.shard)
        entry = entries.get(stream) or found.get(stream)
        _check_writer(stream, entry, generation, shards)
        moved = _moved(stream, entry, batch, shards, undoes)
        if moved is None:
            continue
        has_waited = batch.generation < moved.generation
        if has_waited and moved.generation == generation and (undoes or batch.derived):
            # What waited in a savepoint comes before all that its launch makes: it is a replay, after a
            # restart, whose rows must not be set back. Others are told by place.
            continue
        entries[stream] = _marked(moved, batch)
        kept = batch
        if has_waited:
            # Rows by key are written again, so that what holds is as old as the launch that is undone.
            kept = batch if undoes and not drops_repeated else _without_repeated(batch, moved.marks)
        elif drops_repeated:
            kept = _without_repeated(batch, moved.past)
        if kept.records:
            admitted.append(kept)
    return Admission(admitted, entries, {stream: found.get(stream) for stream in entries})


def _check_writer(stream: Stream, entry: Entry | None, generation: int, shards: int) -> None:
    if entry is None:
        return
    if entry.generation > generation:
        raise StaleWriterError(
            f"{_name(stream)}: found generation {generation}, but {entry.generation} has written already: "
            "another job of this client took over; stop this one"
        )
    if entry.shards != shards:
        raise SinkError(
            f"{_name(stream)}: found {shards} shards, expected {entry.shards}, with which the sink was "
            "written: set flink.shards back, or write to a new place"
        )


def _moved(
    stream: Stream, entry: Entry | None, batch: MutationBatch, shards: int, undoes: int
) -> Entry | None:
    """Return the entry that takes this batch; None where it has it already."""
    sequence = batch.sequence
    if sequence < 1:
        raise SinkError(
            f"{_name(stream)}: found a batch without a number, expected exactly-once to number all"
        )
    if entry is not None and batch.generation < entry.generation:
        # It waited in a savepoint older than what has been written since; its numbers say nothing here.
        return entry
    is_new = entry is None or entry.generation < batch.generation
    if entry is not None and not is_new and sequence <= entry.sequence:
        return None
    expected = batch.first if entry is None or is_new else entry.sequence + 1
    if sequence != expected:
        raise SequenceGapError(
            f"{_name(stream)}: found batch {sequence}, expected {expected}: what lies between is lost here; "
            "start the job anew from a checkpoint or offset before it"
        )
    if entry is None:
        return Entry(batch.generation, sequence, shards, {}, {})
    if is_new and undoes and entry.generation >= undoes:
        # Of several launches that are undone only the last one's beginning is known.
        marks = entry.past if entry.generation == undoes else {}
        return Entry(batch.generation, sequence, shards, marks, marks)
    past = entry.marks if is_new else entry.past
    return msgspec.structs.replace(entry, generation=batch.generation, sequence=sequence, past=past)


def _name(stream: Stream) -> str:
    return f"entity {stream.entity!r}, shard {stream.shard}"


def _marked(entry: Entry, batch: MutationBatch) -> Entry:
    if not batch.records or batch.derived:
        return entry
    last = batch.records[-1]
    place = _place(batch)
    if not place:
        return entry
    found = (last.offset, last.index) if batch.via is None else batch.via[2:]
    mark = max(found, entry.marks.get(place, found))
    return msgspec.structs.replace(entry, marks={**entry.marks, place: mark})


def _without_repeated(batch: MutationBatch, past: Marks) -> MutationBatch:
    mark = None if batch.derived else past.get(_place(batch))
    if mark is None:
        return batch
    if batch.via is not None:
        return batch if batch.via[2:] > mark else msgspec.structs.replace(batch, records=())
    fresh = tuple([each for each in batch.records if (each.offset, each.index) > mark])
    return msgspec.structs.replace(batch, records=fresh)


def _place(batch: MutationBatch) -> str:
    """Return where the batch was read: a replay where it came back, and nowhere what lay in state."""
    if batch.via is None:
        return f"{batch.topic}/{batch.partition}"
    topic, partition = batch.via[:2]
    return f"{topic}/{partition}" if topic else ""


def streams_of(batches: Iterable[MutationBatch]) -> list[Stream]:
    """Return the streams that batches belong to, each once, in order: locks are then taken in one order."""
    return sorted({Stream(batch.entity, batch.shard) for batch in batches})
