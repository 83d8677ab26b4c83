"""Look into a client's store of dead letters, and write down what became of them."""

from __future__ import annotations

import datetime as dt
import importlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.crosschecks import LETTER_STORES
from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import DeadLetter

__all__ = ["Filters", "LetterStore", "StoredLetter", "marked", "open_store", "place_of"]

# By type of sink: module and class, imported when one is opened.
_STORES = {
    "postgres": "tillstream.io.sinks.postgres_letter_store:PostgresLetters",
    "files": "tillstream.io.sinks.files_letter_store:FilesLetters",
}


@dataclass(frozen=True)
class Filters:
    """Say which letters are wanted; what is None is not asked.

    Attributes:
        entity: of the letter.
        step: that made it.
        reason: the rule that was broken.
        transform: its name, with its version or without.
        key: the record's key as the letter has it, or the value of one of its columns.
        topic: where the record was read.
        since: recorded at that time or later.
        until: recorded before that time.
        status: open, replayed, superseded, discarded; None for all.
    """

    entity: str | None = None
    step: str | None = None
    reason: str | None = None
    transform: str | None = None
    key: str | None = None
    topic: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    status: str | None = "open"

    def takes(self, stored: StoredLetter) -> bool:
        """Tell whether a letter is wanted."""
        letter = stored.letter
        plain = (
            (self.entity, letter.entity),
            (self.step, letter.step),
            (self.reason, letter.reason),
            (self.topic, letter.topic),
            (self.status, letter.status),
        )
        return (
            all(wanted is None or wanted == found for wanted, found in plain)
            and (self.since is None or stored.recorded_at >= self.since)
            and (self.until is None or stored.recorded_at < self.until)
            and (self.transform is None or _is_version(self.transform, letter.transform))
            and (self.key is None or _is_key(self.key, letter.key))
        )


class StoredLetter(NamedTuple):
    """Hold a letter as its store has it.

    Attributes:
        letter: as its last attempt left it.
        recorded_at: when that was written.
        resolved_at: when it was solved, or None.
        resolution: how, in words, or None.
    """

    letter: DeadLetter
    recorded_at: dt.datetime
    resolved_at: dt.datetime | None = None
    resolution: str | None = None

    @property
    def id(self) -> str:
        """Return the letter's identity."""
        return letter_id(self.letter)


class LetterStore(Protocol):
    """Be a store of dead letters that can be asked."""

    def select(self, filters: Filters, limit: int | None) -> Sequence[StoredLetter]:
        """Return letters, oldest first.

        Args:
            filters: which.
            limit: how many at most; None for all.

        Raises:
            SinkUnavailableError, SinkError: as `Sink.open` does.
        """
        ...

    def find(self, prefix: str) -> Sequence[StoredLetter]:
        """Return the letters whose identity begins so; raises as `select` does."""
        ...

    def get(self, identities: Collection[str]) -> Mapping[str, StoredLetter]:
        """Return those of some letters that are there; raises as `select` does."""
        ...

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters, or marks of solved ones; raises as `select` does."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def open_store(config: ClientConfig) -> LetterStore:
    """Return a client's store of dead letters, open.

    Raises:
        UserError: if it is of a type that can only be written to.
        SinkUnavailableError, SinkError: as `Sink.open` does.
    """
    name = config.dead_letter_sink
    model = config.sinks[name]
    if model.type not in _STORES:
        raise UserError(
            f"{config.client}: dead letters go to sink {name!r} of type {model.type}, which cannot be asked "
            f"for them: name one of type {' or '.join(LETTER_STORES)} by dead_letters.sink"
        )
    module, _, kind = _STORES[model.type].partition(":")
    store: LetterStore = getattr(importlib.import_module(module), kind)(name, config.client, model)
    return store


def marked(letter: DeadLetter, status: str, detail: str, attempt: int) -> DeadLetter:
    """Return the mark that settles a letter.

    Args:
        letter: to settle.
        status: replayed, superseded or discarded.
        detail: how, in words.
        attempt: when, microseconds since 1970 UTC.
    """
    return msgspec.structs.replace(
        letter,
        status=status,
        detail=detail,
        attempt=attempt,
        reason="",
        key=None,
        payload=None,
        traceback=None,
    )


def place_of(stored: StoredLetter) -> tuple[Any, ...]:
    """Return what puts letters into the order in which their records were read."""
    letter = stored.letter
    return letter.topic, letter.partition, letter.offset, letter.index, letter.entity or ""


def _is_version(wanted: str, found: str | None) -> bool:
    return found is not None and (found == wanted or found.split("@")[0] == wanted)


def _is_key(wanted: str, found: bytes | None) -> bool:
    if found is None:
        return False
    text = found.decode("utf-8", "replace")
    if text == wanted:
        return True
    try:
        columns = json.loads(text)
    except ValueError:
        return False
    return isinstance(columns, dict) and any(str(value) == wanted for value in columns.values())
