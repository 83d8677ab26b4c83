"""Make dead letters of mutations that a far side refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = [
    "Encoder",
    "identity_of",
    "letter_from",
    "letter_id",
    "letter_line",
    "refused",
    "row_json",
    "sift",
    "text_of",
]

_LINE_VERSION = 1


class Encoder(Protocol):
    """Turn mutations into what a far side takes; raises ValueError or TypeError for values that it cannot."""

    def encode(self, batches: Sequence[MutationBatch]) -> bytes:
        """Return the form of all mutations, in order."""
        ...

    def encode_one(self, batch: MutationBatch, record: MutationRecord) -> bytes:
        """Return the form of one mutation."""
        ...


def refused(sink: str, batch: MutationBatch, record: MutationRecord, detail: str) -> DeadLetter:
    """Return the dead letter of one mutation.

    Args:
        sink: name of the sink that it was written through.
        batch: that the mutation came in.
        record: the mutation.
        detail: what the far side said.
    """
    return DeadLetter(
        client=batch.client,
        entity=batch.entity,
        step="write",
        reason="refused_by_sink",
        detail=detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=record.offset,
        index=record.index,
        key=row_json(batch.key_columns, record.key) if record.key else None,
        payload=None if record.values is None else row_json(batch.columns, record.values),
        sink=sink,
        position=record.position,
        source_time_us=record.source_time_us,
    )


def text_of(value: bytes | None) -> str | None:
    """Return bytes as text, or None where they are none that a database or a JSON line takes as it is."""
    if value is None or b"\0" in value:
        return None
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def sift(
    sink: str, encoder: Encoder, batches: Sequence[MutationBatch]
) -> tuple[list[MutationBatch], list[DeadLetter]]:
    """Part the mutations that can be encoded from those that cannot."""
    good: list[MutationBatch] = []
    letters: list[DeadLetter] = []
    for batch in batches:
        fitting: list[MutationRecord] = []
        for record in batch.records:
            try:
                encoder.encode_one(batch, record)
                fitting.append(record)
            except (ValueError, TypeError) as error:
                letters.append(refused(sink, batch, record, str(error)))
        if fitting:
            good.append(msgspec.structs.replace(batch, records=tuple(fitting)))
    return good, letters


def letter_line(letter: DeadLetter) -> dict[str, Any]:
    """Return a letter as a JSON object; bytes that are no text stand under `..._base64`."""
    line = {"version": _LINE_VERSION, "id": letter_id(letter), **msgspec.structs.asdict(letter)}
    for field in ("key", "payload"):
        value = line[field]
        line[field] = text_of(value)
        if value is not None and line[field] is None:
            line[f"{field}_base64"] = value
    return line


def letter_from(line: dict[str, Any]) -> DeadLetter:
    """Read a letter from the object that `letter_line` made of it; older ones lack their last fields.

    Raises:
        ValueError: if it is none, or of a version that this release does not read.
    """
    if line.get("version", _LINE_VERSION) != _LINE_VERSION:
        raise ValueError(
            f"dead letter: found version {line['version']}, expected {_LINE_VERSION}: "
            "read it with the release that wrote it"
        )
    found = {name: line[name] for name in DeadLetter.__struct_fields__ if name in line}
    for field in ("key", "payload"):
        text, encoded = found.get(field), line.get(f"{field}_base64")
        found[field] = None if text is None else text.encode()
        if encoded is not None:
            found[field] = base64.b64decode(encoded)
    try:
        return DeadLetter(**{**found, "position": tuple(found.get("position", ()))})
    except TypeError as error:
        raise ValueError(f"dead letter: found {error}, expected the fields of one") from error


def identity_of(letter: DeadLetter) -> tuple[Any, ...]:
    """Return what tells a letter from others: a store keeps one of each."""
    place = (letter.topic, letter.partition, letter.offset, letter.index)
    return (*place, letter.step, letter.sink or "", letter.entity or "")


def letter_id(letter: DeadLetter) -> str:
    """Return a letter's identity in hexadecimal, the SHA-256 of its parts with U+001F between them."""
    parts = "\x1f".join(map(str, identity_of(letter)))
    return hashlib.sha256(parts.encode("utf-8", "backslashreplace")).hexdigest()


def row_json(columns: Sequence[str], values: Sequence[Any]) -> bytes:
    """Return a row's wire form as a JSON object, for people to read."""
    row = {column: _plain(value) for column, value in zip(columns, values, strict=True)}
    # The standard encoder spells lone surrogates, which may be why the row is refused.
    return json.dumps(row, default=_spelt, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _spelt(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
