"""Post every change to an HTTP service."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TypeAlias
from urllib.parse import quote

import msgspec

from tillstream.configs import Entity
from tillstream.configs import HttpSink as HttpSinkModel
from tillstream.io.sinks.base import Refuse, Sink, Writer
from tillstream.io.sinks.files_jsonl import JsonLines
from tillstream.io.sinks.http_client import HttpClient, RowsRefusedError
from tillstream.io.sinks.letters import letter_line, refused, sift
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.records import DeadLetter, MutationBatch, MutationRecord

__all__ = ["HttpSink"]

_DEAD_LETTERS = "tillstream_dead_letters"
_CONTENT = {"lines": "application/x-ndjson", "array": "application/json"}
_encode_lines = msgspec.json.Encoder().encode_lines
_Records: TypeAlias = tuple[MutationRecord, ...]


class HttpSink(Sink):
    """Post batches of changes as JSON, in the form of the files sink's lines, one request after the other.

    A request has the headers `Tillstream-Client`, `Tillstream-Entity` and `Idempotency-Key`
    (draft-ietf-httpapi-idempotency-key-header), a string that is made of where its rows come from, so that
    the same rows have the same key in each attempt. An answer of 2xx means that the service has taken them.
    408, 409, 425, 429, 5xx and no answer at all are tried again, after what Retry-After asks for. 400, 413
    and 422 are about the rows: the request is halved until the bad ones are alone, and those become dead
    letters; for that a service must take a request whole or not at all. Other answers end the job,
    because they would refuse every row: a redirect would lead rows and secret elsewhere. Dead letters are
    posted like rows of the entity `tillstream_dead_letters`.

    Delivery guarantees:
        At-least-once, in order of each key. Idempotent where the service honours the key: an attempt whose
        answer is lost has no second effect. After a restart of the job rows may come in other requests, with
        other keys; METADATA in each row tells them apart. Broken by a service that answers 2xx before it
        has taken the rows for good. Keeps no state.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
        writer: who writes; numbered batches have their number in the key.
    """

    model: HttpSinkModel

    def __init__(
        self,
        name: str,
        client: str,
        model: HttpSinkModel,
        entities: Mapping[str, Entity],
        writer: Writer | None = None,
    ) -> None:
        super().__init__(name, client, model, entities, writer)
        self._lines = {entity: JsonLines(described) for entity, described in entities.items()}
        self._http: HttpClient | None = None

    def open(self) -> None:
        """Look up the secret: a service is first met when there are rows for it.

        Raises:
            SinkError: if the secret cannot stand in a header.
            UserError: if there is none.
        """
        secret = None if self.model.auth is None else self.model.auth.resolve(self.client)
        if secret is not None and not (secret.isascii() and secret.isprintable() and secret):
            # Not by the HTTP library, which would show it.
            raise SinkError(
                f"sink {self.name}: found a secret (not shown) that is empty, or has characters that no "
                f"header may have, expected the value of {self.model.auth_header}"
            )
        self.close()
        self._http = HttpClient(self.name, self.model, secret)

    def write(self, batches: Sequence[MutationBatch], refuse: Refuse) -> None:
        """Post each batch, in one or several requests; raises as Sink.write does."""
        for batch in batches:
            for first in range(0, len(batch.records), self.model.rows_max):
                self._post_rows(batch, batch.records[first : first + self.model.rows_max], refuse)

    def write_dead_letters(self, letters: Sequence[DeadLetter]) -> None:
        """Post letters as rows of an entity of their own; raises as Sink.write does."""
        rest = iter(letters)
        while part := list(islice(rest, self.model.rows_max)):
            lines = _encode_lines([letter_line(letter) for letter in part])
            try:
                self._post(
                    _DEAD_LETTERS, f"{self.client}/{self.name}/{_DEAD_LETTERS}/{_digest(lines)}", lines
                )
            except RowsRefusedError as error:
                raise SinkError(
                    f"sink {self.name}: {self.model.url} refuses dead letters: {error}: choose another store "
                    "by dead_letters.sink, or let the service take them"
                ) from error

    def close(self) -> None:
        """Close the connection."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def _post_rows(self, batch: MutationBatch, records: _Records, refuse: Refuse) -> None:
        """Post rows in one request; where it is refused, in halves, in order."""
        waiting = [records]
        while waiting:
            part = waiting.pop()
            whole = msgspec.structs.replace(batch, records=part)
            encoder = self._lines[batch.entity]
            try:
                lines = encoder.encode([whole])
            except (ValueError, TypeError):
                good, letters = sift(self.name, encoder, [whole])
                refuse(letters)
                waiting += [each.records for each in good]
                continue
            try:
                self._post(batch.entity, self._key(whole, lines), lines)
            except RowsRefusedError as error:
                if len(part) == 1:
                    refuse([refused(self.name, batch, part[0], str(error))])
                else:
                    middle = len(part) // 2
                    waiting += [part[middle:], part[:middle]]

    def _key(self, batch: MutationBatch, lines: bytes) -> str:
        first, last = batch.records[0], batch.records[-1]
        rows = f"{first.offset}.{first.index}-{last.offset}.{last.index}"
        whose = f"{self.client}/{self.name}"
        if batch.sequence:
            return f"{whose}/{batch.generation}/{batch.entity}/{batch.shard}/{batch.sequence}/{rows}"
        # Of another release of a transform the same changes make other rows: the content belongs to it.
        place = f"{batch.topic}/{batch.partition}/{rows}"
        return f"{whose}/{batch.entity}/{batch.shard}/{place}/{_digest(lines)}"

    def _post(self, entity: str, key: str, lines: bytes) -> None:
        if self._http is None:
            raise ValueError(f"sink {self.name}: found it closed, expected open() before write()")
        headers = {
            "Content-Type": _CONTENT[self.model.body],
            "Idempotency-Key": f'"{key}"',
            "Tillstream-Client": self.client,
            "Tillstream-Entity": entity,
        }
        body = lines if self.model.body == "lines" else b"[" + b",".join(lines.split(b"\n")[:-1]) + b"]"
        self._http.post(self.model.url.replace("{entity}", quote(entity)), body, headers)


def _digest(lines: bytes) -> str:
    return hashlib.blake2b(lines, digest_size=8).hexdigest()
