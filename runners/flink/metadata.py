"""Read what Flink writes beside a checkpoint or savepoint: which operator has which state.

Source: Flink 1.19, `Checkpoints` (the header), `MetadataV4Serializer`, `MetadataV3Serializer` and
`MetadataV2V3SerializerBase` (the rest). Nothing of the state itself is read here, and nothing is unpickled
or deserialized as an object: the properties at the end of version 4 stay unread.
"""

from __future__ import annotations

from dataclasses import dataclass

from tillstream.runners.flink.java_stream import Damaged, JavaReader

__all__ = ["METADATA_FILE", "Handle", "Metadata", "OperatorMetadata", "decode_metadata"]

METADATA_FILE = "_metadata"
_MAGIC = 0x4960672D
_MASTER_MAGIC = 0xC96B1696 - (1 << 32)
_VERSIONS = (3, 4)
# Kinds of handles, as MetadataV2V3SerializerBase numbers them.
_NONE, _BYTES, _FILE, _KEY_GROUPS, _OPERATOR, _INCREMENTAL, _RELATIVE, _SAVEPOINT = range(8)
_INCREMENTAL_V2, _KEY_GROUPS_V2 = 11, 12
_CHANGELOG = frozenset({8, 9, 10, 13, 14})


@dataclass(frozen=True)
class Handle:
    """Say where the bytes of some state lie.

    Attributes:
        size: in bytes.
        path: of a file: an address, or a name below the checkpoint's own folder (`is_relative`).
        content: the bytes themselves, where Flink keeps them in the metadata.
        is_relative: whether the path is such a name.
    """

    size: int
    path: str | None = None
    content: bytes | None = None
    is_relative: bool = False


@dataclass(frozen=True)
class OperatorMetadata:
    """Say what a checkpoint holds of one operator.

    Attributes:
        operator_id: 32 hexadecimal digits; of the first operator of a vertex, the vertex's id.
        parallelism: that it had.
        max_parallelism: key groups.
        keyed: handles of keyed state; of an incremental checkpoint the one that names the states, with the
            size of all files.
        operator: handles of operator state, with the names of what is in them.
        channels: handles of records in flight, of unaligned checkpoints.
        names: of operator state.
    """

    operator_id: str
    parallelism: int
    max_parallelism: int
    keyed: tuple[Handle, ...] = ()
    operator: tuple[Handle, ...] = ()
    channels: tuple[Handle, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def handles(self) -> tuple[Handle, ...]:
        """Return all handles."""
        return (*self.keyed, *self.operator, *self.channels)

    @property
    def size(self) -> int:
        """Return how many bytes it has."""
        return sum(each.size for each in self.handles)

    @property
    def has_state(self) -> bool:
        """Tell whether Flink would refuse a job without this operator."""
        return bool(self.handles)


@dataclass(frozen=True)
class Metadata:
    """Say what a checkpoint or savepoint holds.

    Attributes:
        version: of Flink's form.
        checkpoint_id: its number among the checkpoints of its job.
        operators: by operator id.
        path: of its folder; empty where that is not known.
        states: names of keyed state, by operator id; none where its files cannot be read.
    """

    version: int
    checkpoint_id: int
    operators: dict[str, OperatorMetadata]
    path: str = ""
    states: dict[str, tuple[str, ...]] | None = None

    def held(self) -> dict[str, OperatorMetadata]:
        """Return the operators that have state."""
        return {name: each for name, each in self.operators.items() if each.has_state}


def decode_metadata(content: bytes, path: str = "") -> Metadata:
    """Return what a file `_metadata` says.

    Args:
        content: of the file.
        path: of its folder, for the result.

    Raises:
        ValueError: if it is none, is damaged, or of a version or state backend that is not read here.
    """
    reader = JavaReader(content)
    if len(content) < len("magi") or reader.read_int() != _MAGIC:
        raise Damaged("found another kind of file, expected Flink's checkpoint metadata")
    version = reader.read_int()
    if version not in _VERSIONS:
        raise Damaged(
            f"found metadata version {version}, expected {' or '.join(map(str, _VERSIONS))} (from Flink 1.11)"
        )
    checkpoint_id = reader.read_long()
    if checkpoint_id < 0:
        raise Damaged(f"found checkpoint {checkpoint_id}, expected a number from 0")
    for _ in range(reader.read_count(8)):
        _skip_master_state(reader)
    operators = [_operator(reader) for _ in range(reader.read_count(28))]
    return Metadata(version, checkpoint_id, {each.operator_id: each for each in operators}, path)


def _skip_master_state(reader: JavaReader) -> None:
    if reader.read_int() != _MASTER_MAGIC:
        raise Damaged(f"found no state of the JobManager at byte {reader.place - 4}, expected some")
    reader.read_bytes(reader.read_int())


def _operator(reader: JavaReader) -> OperatorMetadata:
    operator_id = reader.read_bytes(16).hex()
    parallelism, max_parallelism = reader.read_int(), reader.read_int()
    # Of its coordinator, which lives in the JobManager.
    _stream_handle(reader)
    count = reader.read_int()
    keyed: list[Handle] = []
    operator: list[Handle] = []
    channels: list[Handle] = []
    names: set[str] = set()
    # A negative count says that all subtasks had finished, and have no state.
    for _ in range(count):
        is_finished = reader.read_int() < 0
        if is_finished:
            continue
        for _ in range(2):
            if reader.read_int():
                operator += _operator_handle(reader, names)
        for _ in range(2):
            keyed += _keyed_handle(reader)
        for _ in range(2):
            for _ in range(reader.read_count(25)):
                channels += _channel_handle(reader)
    return OperatorMetadata(
        operator_id,
        parallelism,
        max_parallelism,
        tuple(keyed),
        tuple(operator),
        tuple(channels),
        tuple(sorted(names)),
    )


def _operator_handle(reader: JavaReader, names: set[str]) -> list[Handle]:
    kind = reader.read_byte()
    if kind == _NONE:
        return []
    if kind != _OPERATOR:
        raise _unknown("operator state", kind, reader)
    held = False
    for _ in range(reader.read_count(7)):
        name = reader.read_text()
        # How it is dealt out to subtasks.
        reader.read_byte()
        offsets = reader.read_count(8)
        reader.read_bytes(8 * offsets)
        if offsets:
            held = True
            names.add(name)
    found = _stream_handle(reader)
    # A name without a place is a list that is empty.
    return [found] if found is not None and held else []


def _keyed_handle(reader: JavaReader) -> list[Handle]:
    kind = reader.read_byte()
    if kind == _NONE:
        return []
    if kind in (_KEY_GROUPS, _KEY_GROUPS_V2, _SAVEPOINT):
        reader.read_int()
        reader.read_bytes(8 * reader.read_count(8))
        found = _stream_handle(reader)
        if kind == _KEY_GROUPS_V2:
            reader.read_text()
        return [] if found is None else [found]
    if kind in (_INCREMENTAL, _INCREMENTAL_V2):
        return _incremental(reader, has_size=kind == _INCREMENTAL_V2)
    if kind in _CHANGELOG:
        raise Damaged(
            f"found state of the changelog backend at byte {reader.place - 1}, expected heap or RocksDB: set "
            "state.backend.changelog.enabled to false, or take a savepoint in the canonical format"
        )
    raise _unknown("keyed state", kind, reader)


def _incremental(reader: JavaReader, *, has_size: bool) -> list[Handle]:
    """Read what RocksDB left: a file that names the states, and tables, shared or its own."""
    reader.read_long()
    reader.read_text()
    reader.read_int()
    reader.read_int()
    if has_size:
        reader.read_long()
    named = _stream_handle(reader)
    tables = [*_files(reader), *_files(reader)]
    if has_size:
        reader.read_text()
    size = sum(each.size for each in [named, *tables] if each is not None)
    if named is None:
        return []
    return [Handle(size, named.path, named.content, named.is_relative)]


def _files(reader: JavaReader) -> list[Handle | None]:
    found = []
    for _ in range(reader.read_count(3)):
        reader.read_text()
        found.append(_stream_handle(reader))
    return found


def _channel_handle(reader: JavaReader) -> list[Handle]:
    # Subtask, and two numbers of the channel.
    for _ in range(3):
        reader.read_int()
    reader.read_bytes(8 * reader.read_count(8))
    size = reader.read_long()
    found = _stream_handle(reader)
    return [] if found is None else [Handle(size, found.path, None, found.is_relative)]


def _stream_handle(reader: JavaReader) -> Handle | None:
    kind = reader.read_byte()
    if kind == _NONE:
        return None
    if kind == _BYTES:
        reader.read_text()
        content = reader.read_bytes(reader.read_int())
        return Handle(len(content), content=content)
    if kind == _FILE:
        size = reader.read_long()
        return Handle(size, path=reader.read_text())
    if kind == _RELATIVE:
        path = reader.read_text()
        return Handle(reader.read_long(), path=path, is_relative=True)
    if kind == _KEY_GROUPS:
        reader.read_int()
        reader.read_bytes(8 * reader.read_count(8))
        return _stream_handle(reader)
    raise _unknown("state", kind, reader)


def _unknown(what: str, kind: int, reader: JavaReader) -> Damaged:
    return Damaged(f"found {what} of kind {kind} at byte {reader.place - 1}, expected one of Flink 1.19")
