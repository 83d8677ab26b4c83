"""Changes of tables without a key get something that tells their rows apart."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.events import Events
from tillstream.io.codecs.base import codec_for
from tillstream.io.collector import ChangeCollector
from tillstream.io.keyless import KeylessReader
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetterBatch, Operation

CONTRACT = {"id": "int64", "price": "decimal(12,2)", "at": "timestamptz"}


def config(keyless: str | None = "full_row", **fields: Any) -> ClientConfig:
    """Return a client with one entity that has no key."""
    log = {"topic": "acme.public.log", "keyless": keyless, "sinks": ["out"], "contract": CONTRACT, **fields}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"log": log},
            "sinks": {"out": {"type": "files", "path": "/out"}},
        }
    )


def reader(keyless: str = "full_row", **fields: Any) -> KeylessReader:
    """Return what gives keys to changes."""
    return KeylessReader(config(keyless, **fields), "log", lambda key: len(str(key)))


def row(**changes: Any) -> bytes:
    """Return a row."""
    return json.dumps({"id": 1, "price": "1.50", "at": "2026-01-02T00:00:00Z", **changes}).encode()


def change(
    op: str,
    before: bytes | None,
    after: bytes | None,
    position: Any = (0, 5, 1, 5),
    offset: int = 7,
    **more: Any,
) -> ChangeRecord:
    """Return a change without a key."""
    return ChangeRecord(offset, Operation(op), (), position, 1000, before, after, **more)


def event_id(record: ChangeRecord) -> str:
    """Return the key of a row that is added."""
    ((_, found),) = reader("append").split("t", 2, record)
    (key,) = found.key
    return str(key)


def row_id(text: bytes, **fields: Any) -> str:
    """Return what tells a row by its values."""
    ((_, found),) = reader(**fields).split("t", 0, change("c", None, text))
    return str(found.key[0])


def test_added_rows_are_told_by_their_event() -> None:
    """The same event has the same key wherever it is read again; another one has another."""
    first = event_id(change("c", None, row()))
    assert first == event_id(change("c", None, row(), offset=99))
    # Rows that one COPY adds share a place in the log.
    assert first != event_id(change("c", None, row(id=2)))
    assert first != event_id(change("c", None, row(), position=(0, 5, 1, 6)))
    assert first.startswith("0.5.1.5/c/")


def test_equal_rows_of_one_copy_are_told_by_their_transaction() -> None:
    """Where the source numbers the changes of a transaction."""
    numbers = [event_id(change("c", None, row(), transaction=("tx", number))) for number in (1, 2)]
    assert numbers == ["0.5.1.5/c/1", "0.5.1.5/c/2"]


def test_rows_that_a_snapshot_read_are_told_by_where_they_were_read() -> None:
    """All of them have the snapshot's place; others have none at all."""
    assert event_id(change("r", None, row())) == "t/2/7"
    assert event_id(change("c", None, row(), position=())) == "t/2/7"


@pytest.mark.parametrize(("op", "before", "after"), [("u", row(), row(id=2)), ("d", row(), None)])
def test_rows_that_are_added_alone_never_change(op: str, before: Any, after: Any) -> None:
    """The letter says what to do."""
    with pytest.raises(RecordError, match=r"unsupported_operation: .*full_row.*REPLICA IDENTITY FULL"):
        reader("append").split("t", 0, change(op, before, after))


def test_an_update_is_the_end_of_one_row_and_the_beginning_of_another() -> None:
    """Each half has a shard and a number of its own."""
    found = reader().split("t", 0, change("u", row(), row(id=2)))
    assert [(each.operation, each.before, each.after, each.offset, each.index) for _, each in found] == [
        (Operation.DELETE, row(), None, 7, 1),
        (Operation.CREATE, None, row(id=2), 7, 2),
    ]
    assert [each.key for _, each in found] == [
        (row_id(row()), "0.5.1.5/d"),
        (row_id(row(id=2)), "0.5.1.5/c"),
    ]


@pytest.mark.parametrize(("op", "after"), [("u", row()), ("d", None)])
def test_a_row_before_is_needed(op: str, after: Any) -> None:
    """Without it nobody knows which row goes."""
    with pytest.raises(RecordError, match=r"missing_row: .*REPLICA IDENTITY FULL"):
        reader().split("t", 0, change(op, None, after))


def test_equal_rows_are_equal_in_any_spelling() -> None:
    """Numbers, instants, the order of columns, and columns that are null or that nobody takes."""
    spelt = b'{"at":"2026-01-02T01:00:00+01:00","price":1.5,"extra":null,"id":1,"more":5}'
    assert row_id(row()) == row_id(spelt)
    assert row_id(row()) != row_id(row(price="1.51"))
    assert row_id(row(price=None)) != row_id(row())


def test_long_numbers_are_told_apart_by_all_their_digits() -> None:
    """A source's decimals have more digits than Python's arithmetic keeps by itself."""
    long = {"price": "decimal(38,2)"}
    numbers = [f"{'1' * 30}.{last}" for last in ("1", "10", "2")]
    first, same, other = [row_id(row(price=each), contract={**CONTRACT, **long}) for each in numbers]
    assert first == same != other


@pytest.mark.parametrize(
    "price", ["abc", "12,5", "", True, [1], {}, "1e99999999999999999999", 10**40, "sNaN"]
)
@pytest.mark.parametrize("keyless", ["append", "full_row"])
def test_what_is_no_number_is_left_to_the_contract(keyless: str, price: Any) -> None:
    """A row with it is told by its bytes like any other, and the job goes on."""
    ((_, found),) = reader(keyless).split("t", 0, change("c", None, row(price=price)))
    assert found.key[0]
    assert found.after == row(price=price)


def test_what_is_no_number_of_json_either_is_left_to_the_contract() -> None:
    """Its exponent is out of all bounds."""
    assert row_id(b'{"id":1,"price":1e99999999999999999999}')


@pytest.mark.parametrize(
    ("keyless", "name"), [("append", "_event_id"), ("full_row", "_row_id"), ("full_row", "_copy")]
)
@pytest.mark.parametrize("escaped", [False, True])
def test_a_column_must_not_be_named_as_those_of_the_key(keyless: str, name: str, *, escaped: bool) -> None:
    """It would stand in the key's place; as a value, or deeper in, the name does no harm."""
    taken = row(**{name: 1})
    if escaped:
        taken = taken.replace(b'"_', b'"\\u005f')
    with pytest.raises(RecordError, match=f"schema: found column '{name}', .*: rename it in the source"):
        reader(keyless).split("t", 0, change("c", None, taken))
    fine = row(more={name: 1}, text=name)
    assert reader(keyless).split("t", 0, change("c", None, fine))[0][1].after == fine


def test_columns_that_evolve_tell_rows_apart() -> None:
    """They are delivered too; one that is null is as if it were not there."""
    evolve = {"schema_evolution": {"columns": "evolve"}}
    assert row_id(row(extra=1), **evolve) != row_id(row(), **evolve)
    assert row_id(row(extra=None), **evolve) == row_id(row(), **evolve)


def test_rows_that_are_masked_have_digests_that_nobody_can_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are made with the client's salt."""
    bare = row_id(row())
    found = set()
    for salt in ("0123456789abcdef", "fedcba9876543210"):
        monkeypatch.setenv("TEST_SALT", salt)
        model = config().model_dump(mode="json", by_alias=True)
        model["privacy"] = {"salt": "${TEST_SALT}", "by_class": {"email": {"mask": "hash"}}}
        model["entities"]["log"]["contract"]["mail"] = {"type": "string", "pii": "email"}
        masked = KeylessReader(ClientConfig.model_validate(model), "log", lambda _: 0)
        ((_, record),) = masked.split("t", 0, change("c", None, row()))
        found.add(record.key[0])
    assert len(found | {bare}) == 3


class Message:
    """Be a message of Kafka."""

    def __init__(self, offset: int, op: str, before: Any, after: Any) -> None:
        self._offset = offset
        source = {
            "connector": "postgresql",
            "ts_ms": 1,
            "lsn": offset,
            "sequence": f'["{offset}","{offset}"]',
        }
        self._value = json.dumps({"op": op, "before": before, "after": after, "source": source}).encode()

    def key(self) -> None:
        """Return no key: the table has none."""

    def value(self) -> bytes:
        """Return the event."""
        return self._value

    def offset(self) -> int:
        """Return its place."""
        return self._offset


def collected(client: ClientConfig, *messages: Message) -> tuple[list[Any], list[Any]]:
    """Return what is read: operations and numbers, and reasons of dead letters."""
    collector = ChangeCollector(client)
    collector.add("acme.public.log", 0, list(messages))
    records, letters = [], []
    for found in collector.flush():
        if isinstance(found, tuple):
            batch = ChangeBatch.decode(found[1])
            assert batch.key_columns == ("_row_id", "_copy")
            records += [(each.offset, each.operation.value, each.index) for each in batch.records]
        else:
            letters += [each.reason for each in DeadLetterBatch.decode(found.value).letters]
    return sorted(records), letters


def test_messages_without_a_key_are_read() -> None:
    """What cannot be told apart is a dead letter, and the rest goes on; a truncate reaches every shard."""
    client = config()
    found = collected(
        client,
        Message(1, "c", None, {"id": 1}),
        Message(2, "u", {"id": 1}, {"id": 2}),
        Message(3, "d", None, None),
        Message(4, "t", None, None),
    )
    shards = [(4, "t", 0)] * client.flink.shards
    assert found == ([(1, "c", 0), (2, "c", 2), (2, "d", 1), *shards], ["missing_row"])


def test_a_tombstone_that_is_a_delete_is_a_dead_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be lost in silence; elsewhere a tombstone only follows a delete."""
    bare = Message(3, "d", None, None)
    monkeypatch.setattr(bare, "_value", None)
    assert collected(config(), bare) == ([], [])
    events = Events(format="flattened", delete_tombstone_handling_mode="delete-to-tombstone")
    client = config()
    client = client.model_copy(update={"source": client.source.model_copy(update={"events": events})})
    assert collected(client, bare) == ([], ["missing_row"])


def message(prefix: str, content: str = "aGk=") -> bytes:
    """Return an envelope as Debezium writes a logical message."""
    source = {"connector": "postgresql", "ts_ms": 1, "lsn": 9, "sequence": '["8","9"]', "table": ""}
    said = {"prefix": prefix, "content": content}
    return json.dumps({"op": "m", "ts_ms": 2, "source": source, "message": said}).encode()


def test_logical_messages_are_rows() -> None:
    """Those by which tillstream marks places in the log are not."""
    client = config("append", contract={"prefix": "string", "content": "bytes"})
    codec = codec_for(client, "log")
    keyless = KeylessReader(client, "log", codec.shard_of)
    ((shard, found),) = keyless.split("t", 0, codec.decode(b'{"prefix":"outbox"}', message("outbox"), 3)[1])
    assert shard == codec.shard_of(found.key)
    assert (found.operation, found.position, found.after) == (
        Operation.CREATE,
        (0, 9, 1, 9),
        b'{"prefix":"outbox","content":"aGk="}',
    )
    assert keyless.split("t", 0, codec.decode(None, message("tillstream.heartbeat"), 3)[1]) == ()


def test_messages_of_a_table_with_a_key_are_refused() -> None:
    """They tell no row."""
    client = config(None, key=["id"])
    with pytest.raises(RecordError, match="unsupported_operation"):
        codec_for(client, "log").decode(None, message("outbox"), 3)


def test_changes_of_before_are_read() -> None:
    """A checkpoint of an older release holds records without the last fields."""
    older = msgspec.msgpack.encode([7, "u", [1], [1], 1000, None, b"{}"])
    found = msgspec.msgpack.decode(older, type=ChangeRecord)
    assert (found.index, found.transaction) == (0, None)


def test_an_added_row_may_be_given_back() -> None:
    """It has the key that it had; which of several equal rows another one was is not known any more."""
    record = change("c", None, row())
    assert reader("append").again("t", 2, record)[1].key == (event_id(record),)
    with pytest.raises(RecordError, match=r"unsupported_operation: .*TRUNCATE it, and insert them again$"):
        reader().again("t", 2, record)
