"""Read where transactions end, for clients whose transactions arrive whole.

Source: Debezium 3.3 documentation, "Transaction metadata".
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping

import msgspec
from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.io.codecs.avro_values import json_of
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.transactions import Ended, Share, transaction_id

__all__ = ["TransactionReader", "warn_of_missing"]

_LOG = logging.getLogger(__name__)


class _Collection(msgspec.Struct):
    data_collection: str
    event_count: int


class _Told(msgspec.Struct):
    status: str | None = None
    id: str | None = None
    data_collections: list[_Collection] | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


class _Block(msgspec.Struct):
    id: str
    total_order: int


class _Event(msgspec.Struct):
    transaction: _Block | None = None
    payload: msgspec.Raw = msgspec.Raw(b"")


_decode_told = msgspec.json.Decoder(_Told).decode
_decode_event = msgspec.json.Decoder(_Event).decode
# What Debezium replaces in names of topics.
_NO_TOPIC = re.compile(r"[^A-Za-z0-9._-]")


class TransactionReader:
    """Turn the ends of transactions, and events that cannot be read, into shares for the gatherer.

    Args:
        config: the client's.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._sources = config.transaction_topics
        self._entities: Mapping[str, str] = config.topics
        self.topics = frozenset(self._sources.values())
        self._json = json_of(config)
        self._known: dict[tuple[str, str], str | None] = {}
        self._ended: dict[str, list[Ended]] = {}
        self._refused: dict[tuple[str, str], dict[str, list[int]]] = {}
        self._unnamed = Metrics.counter("tillstream", "events_refused_without_transaction")

    def end(self, topic: str, partition: int, value: bytes) -> None:
        """Take note of one message of a topic that tells of transactions.

        Raises:
            RecordError: `malformed`, where it does not say what it should; in Avro, as `AvroValues` does.
        """
        try:
            told = _decode_told(self._json(value))
            if told.payload:
                told = _decode_told(told.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise RecordError(
                "malformed", f"found {error}, expected the begin or end of a transaction"
            ) from error
        if told.status == "BEGIN":
            return
        if told.status != "END" or told.id is None:
            raise RecordError("malformed", f"found status {told.status!r}, expected BEGIN or END, and an id")
        prefix = topic.rpartition(".")[0]
        events = {}
        for each in told.data_collections or ():
            place = (prefix, each.data_collection)
            entity = self._known[place] if place in self._known else self._entity(place)
            if entity is not None:
                events[entity] = each.event_count
        # One of other tables alone is nothing to wait for.
        if events:
            self._ended.setdefault(topic, []).append(Ended(transaction_id(told.id), events, partition))

    def _entity(self, place: tuple[str, str]) -> str | None:
        """Return the entity of a table, and remember it: there are as many as tables."""
        prefix, table = place
        found = self._known[place] = self._entities.get(f"{prefix}.{_NO_TOPIC.sub('_', table)}")
        return found

    def refuse(self, entity: str, topic: str, value: bytes) -> None:
        """Take note of an event that became a dead letter before its shard could be told."""
        try:
            event = _decode_event(self._json(value))
            if event.payload:
                event = _decode_event(event.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, RecordError):
            event = _Event()
        if event.transaction is None:
            self._unnamed.inc()
            return
        of = self._refused.setdefault((self._sources[topic], entity), {})
        of.setdefault(transaction_id(event.transaction.id), []).append(event.transaction.total_order)

    def flush(self) -> Iterator[Share]:
        """Yield what was noted, and forget it."""
        refused, self._refused = self._refused, {}
        ended, self._ended = self._ended, {}
        for (source, entity), events in refused.items():
            yield Share(source, entity, tuple(events), tuple(map(tuple, events.values())))
        for source, ends in ended.items():
            yield Share(source, ended=tuple(ends))


def warn_of_missing(config: ClientConfig, known: Collection[str]) -> None:
    """Log which topics should tell of transactions and are not there, though tables' topics are."""
    if config.delivery.atomicity != "transaction":
        return
    wanted = {source for topic, source in config.transaction_topics.items() if topic in known}
    for topic in sorted(wanted.difference(known)):
        _LOG.warning(
            "client %s: found no topic %s, expected it with delivery.atomicity transaction: it comes with "
            "the first transaction; else set the connector's provide.transaction.metadata to true, or name "
            "the topic in delivery.transaction_topics",
            config.client,
            topic,
        )
