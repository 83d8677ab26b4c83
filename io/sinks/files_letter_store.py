"""Look into the dead letters that a files sink keeps."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import FilesSink as FilesSinkModel
from tillstream.io.sinks.files import FilesSink
from tillstream.io.sinks.letter_store import Filters, StoredLetter
from tillstream.io.sinks.letters import letter_from, letter_id
from tillstream.io.sinks.part_sink import DEAD_LETTERS
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter

__all__ = ["FilesLetters"]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class FilesLetters(FilesSink):
    """Be the store of letters in a files sink: lines are letters and marks, and the latest attempt stands.

    Reads all parts each time; keeps one letter of each identity in memory.

    Args:
        name: the sink's name in the client's config.
        client: whose letters they are.
        model: the sink's part of the client's config.
    """

    def __init__(self, name: str, client: str, model: FilesSinkModel) -> None:
        super().__init__(name, client, model, {})
        self.open()

    def select(self, filters: Filters, limit: int | None) -> Sequence[StoredLetter]:
        """Return letters, oldest first; raises SinkError if a part is damaged."""
        taken = filter(filters.takes, self._all().values())
        if limit is None:
            return sorted(taken, key=_age)
        return heapq.nsmallest(limit, taken, key=_age)

    def find(self, prefix: str) -> Sequence[StoredLetter]:
        """Return the letters whose identity begins so; raises SinkError if a part is damaged."""
        return [stored for identity, stored in self._all().items() if identity.startswith(prefix)]

    def get(self, identities: Collection[str]) -> Mapping[str, StoredLetter]:
        """Return those of some letters that are there; raises SinkError if a part is damaged."""
        kept = self._all()
        return {each: kept[each] for each in identities if each in kept}

    def _all(self) -> dict[str, StoredLetter]:
        kept: dict[str, StoredLetter] = {}
        marks: list[StoredLetter] = []
        for stored in self._lines():
            letter = stored.letter
            known = kept.get(letter_id(letter))
            if letter.status != "open":
                marks.append(stored)
            elif known is None or letter.attempt > known.letter.attempt:
                kept[letter_id(letter)] = stored if known is None else _again(known, stored)
        for mark in sorted(marks, key=lambda mark: mark.letter.attempt):
            identity = letter_id(mark.letter)
            known = kept.get(identity)
            if known is not None and mark.letter.attempt > known.letter.attempt:
                kept[identity] = _solved(known, mark)
        return kept

    def _lines(self) -> Iterator[StoredLetter]:
        for path in sorted((self._path / DEAD_LETTERS).glob("part-*.jsonl")):
            recorded_at = dt.datetime.fromtimestamp(path.stat().st_mtime, dt.timezone.utc)
            yield from _read(path, recorded_at)


def _read(path: Path, recorded_at: dt.datetime) -> Iterator[StoredLetter]:
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            yield StoredLetter(letter_from(_decode(line)), recorded_at)
        except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
            raise SinkError(
                f"{path}, line {number}: found {error}, expected a dead letter: mend it, or move the file"
            ) from error


def _age(stored: StoredLetter) -> tuple[dt.datetime, str, int, int]:
    letter = stored.letter
    return stored.recorded_at, letter.topic, letter.partition, letter.offset


def _again(known: StoredLetter, later: StoredLetter) -> StoredLetter:
    """Return a letter as a later attempt left it; the first one may know more of its record."""
    letter: DeadLetter = known.letter
    new = later.letter
    return StoredLetter(
        msgspec.structs.replace(
            letter,
            reason=new.reason,
            detail=new.detail,
            transform=new.transform,
            traceback=new.traceback,
            attempt=new.attempt,
        ),
        later.recorded_at,
    )


def _solved(known: StoredLetter, mark: StoredLetter) -> StoredLetter:
    letter = msgspec.structs.replace(known.letter, status=mark.letter.status, attempt=mark.letter.attempt)
    return StoredLetter(letter, known.recorded_at, mark.recorded_at, mark.letter.detail)
