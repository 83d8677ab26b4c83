"""Records survive their binary form, and refuse what is not theirs."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.pipelines.records import (
    ChangeBatch,
    ChangeEvent,
    ChangeRecord,
    DeadLetter,
    DeadLetterBatch,
    Mutation,
    MutationBatch,
    MutationKind,
    MutationRecord,
    Operation,
)

_int64 = st.integers(-(2**63), 2**63 - 1)
_instant = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.timezone.utc))  # noqa: DTZ001
_scalar = st.none() | st.booleans() | _int64 | st.floats(allow_nan=False) | st.text() | st.binary() | _instant
_json = st.recursive(
    st.none() | st.booleans() | _int64 | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_position = st.lists(_int64 | st.text(), max_size=3).map(tuple)
_values = st.lists(_scalar, max_size=6).map(tuple)
_row = st.dictionaries(st.text(), _json, max_size=5)
_offset = st.integers(0, 2**63 - 1)

_change_records = st.builds(
    ChangeRecord,
    offset=_offset,
    operation=st.sampled_from(Operation),
    key=_values,
    position=_position,
    source_time_us=_int64,
    before=st.none() | st.binary(),
    after=st.none() | st.binary(),
)
_mutation_records = st.builds(
    MutationRecord,
    kind=st.sampled_from(MutationKind),
    key=_values,
    values=st.none() | _values,
    position=_position,
    source_time_us=_int64,
    offset=_offset,
    index=st.integers(0, 9),
)
_dead_letters = st.builds(
    DeadLetter,
    entity=st.none() | st.text(),
    partition=st.integers(0, 99),
    offset=_offset,
    index=st.integers(0, 9),
    key=st.none() | st.binary(),
    payload=st.none() | st.binary(),
    transform=st.none() | st.text(),
    traceback=st.none() | st.text(),
    sink=st.none() | st.text(),
)
_names = st.lists(st.text(), max_size=4).map(tuple)
_batch = {"client": st.text(), "entity": st.text(), "shard": st.integers(0, 1023), "topic": st.text()}
_frames = st.one_of(
    st.builds(
        ChangeBatch,
        **_batch,
        partition=st.integers(0, 99),
        key_columns=_names,
        records=st.lists(_change_records, max_size=4).map(tuple),
    ),
    st.builds(
        MutationBatch,
        **_batch,
        partition=st.integers(0, 99),
        columns=_names,
        key_columns=_names,
        records=st.lists(_mutation_records, max_size=4).map(tuple),
    ),
    st.builds(DeadLetterBatch, letters=st.lists(_dead_letters, max_size=3).map(tuple)),
    _dead_letters,
    st.builds(
        ChangeEvent,
        client=st.text(),
        entity=st.text(),
        operation=st.sampled_from(Operation),
        key=_row,
        before=st.none() | _row,
        after=st.none() | _row,
        position=_position,
        source_time_us=_int64,
        topic=st.text(),
        partition=st.integers(0, 99),
        offset=_offset,
    ),
    st.builds(
        Mutation,
        entity=st.text(),
        kind=st.sampled_from(MutationKind),
        key=_row,
        row=st.none() | _row,
        position=_position,
        source_time_us=_int64,
        topic=st.text(),
        partition=st.integers(0, 99),
        offset=_offset,
        index=st.integers(0, 9),
    ),
)


@given(_frames)
def test_every_record_survives_its_frame(record: Any) -> None:
    """What is decoded equals what was encoded, types included."""
    assert type(record).decode(record.encode()) == record


@given(_frames, st.integers(0, 255).filter(lambda version: version != 1))
def test_a_frame_of_another_version_is_refused(record: Any, version: int) -> None:
    """A frame that another release wrote is named, never misread."""
    frame = bytes((version,)) + record.encode()[1:]
    with pytest.raises(ValueError, match=f"found frame version {version}, expected 1"):
        type(record).decode(frame)


@given(st.binary(max_size=200))
def test_any_bytes_decode_or_are_refused(frame: bytes) -> None:
    """Damaged frames raise ValueError and nothing else."""
    for kind in (ChangeBatch, MutationBatch, DeadLetterBatch, ChangeEvent):
        try:
            assert isinstance(kind.decode(frame), kind)
        except ValueError:
            continue


def test_version_1_frames_stay_readable() -> None:
    """Frames that lie in checkpoints of this version, byte by byte, must be read by every later release."""
    frame = bytes.fromhex("0197a461636d65a66f726465727305a1740091a26964919707a163912a920102cd03e8c0c4027b7d")
    assert ChangeBatch.decode(frame) == ChangeBatch(
        "acme",
        "orders",
        5,
        "t",
        0,
        ("id",),
        (ChangeRecord(7, Operation.CREATE, (42,), (1, 2), 1000, None, b"{}"),),
    )


def test_letters_from_before_sinks_were_named_stay_readable() -> None:
    """A field that was appended later takes its default."""
    frame = bytes.fromhex("019da461636d65c0a472656164a96d616c666f726d6564a178a174000700c0c0c0c0")
    assert DeadLetter.decode(frame) == DeadLetter("acme", None, "read", "malformed", "x", "t", 0, 7)


def _event() -> ChangeEvent:
    return ChangeEvent(
        client="acme",
        entity="orders",
        operation=Operation.UPDATE,
        key={"id": 1},
        before=None,
        after={"id": 1, "total": "9.50"},
        position=(10, 11),
        source_time_us=5,
        topic="acme.public.orders",
        partition=3,
        offset=99,
    )


def test_upsert_carries_the_changes_provenance() -> None:
    """A DoFn names the row; where it came from is added for it."""
    mutation = _event().upsert({"id": 1, "total": "10.00"})
    assert mutation == Mutation(
        "orders",
        MutationKind.UPSERT,
        {"id": 1},
        {"id": 1, "total": "10.00"},
        (10, 11),
        5,
        "acme.public.orders",
        3,
        99,
    )


def test_delete_of_another_entity_takes_its_own_key() -> None:
    """A DoFn may delete a row of another entity by that entity's key."""
    mutation = _event().delete({"line": 4}, entity="order_items")
    assert (mutation.entity, mutation.kind, mutation.key, mutation.row) == (
        "order_items",
        MutationKind.DELETE,
        {"line": 4},
        None,
    )


def test_events_show_rows_decoded() -> None:
    """A batch's record becomes an event with its key named and its rows as dicts."""
    record = ChangeRecord(7, Operation.DELETE, (42,), (1,), 1000, b'{"id":42}', None)
    event = ChangeBatch("acme", "orders", 5, "t", 2, ("id",), (record,)).event(record)
    assert (event.key, event.before, event.after, event.partition) == ({"id": 42}, {"id": 42}, None, 2)
