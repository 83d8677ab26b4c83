"""Test launches from a savepoint, from an older one, from nothing, and with another transform: all exact."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.io.sinks.ledger import decode_entry
from tillstream.runners.flink.launch import launch
from tillstream.runners.local.toolchain import ensure_jars

from .conftest import Client, change, wait_until

EVENTS = 3000
ROUNDS = 3


def _write(client: Client, first: int) -> None:
    """Change every key once more: the amount tells the round."""
    for number in range(first, first + ROUNDS):
        client.produce(
            (b'{"id":%d}' % key, change(key, f"{number}.00", number * EVENTS + key)) for key in range(EVENTS)
        )


def _is_at(client: Client, amount: int) -> bool:
    found = client.query(f"select count(*) from sales where amount = {amount}")
    return bool(found) and found[0][0] == EVENTS


def _generations(client: Client) -> set[int]:
    return {decode_entry(row[0]).generation for row in client.query("select entry from tillstream_ledger")}


@pytest.fixture
def savepoint(client: Client) -> str:
    """Return a savepoint taken in mid-stream, after which the job went on and was ended."""
    client.create_topic(2)
    _write(client, 1)
    job = client.launch()
    wait_until(lambda: client.rows() > 0, "the first rows")
    path = client.rest.savepoint(job, stop=False)
    wait_until(lambda: _is_at(client, ROUNDS), "the rounds before")
    client.cancel()
    return path


def test_a_stop_with_savepoint_keeps_what_was_seen(client: Client) -> None:
    """After the restore old events that come again change nothing, and new ones arrive."""
    client.create_topic(2)
    _write(client, 1)
    job = client.launch()
    wait_until(lambda: _is_at(client, ROUNDS), "the rounds before")
    path = client.savepoint(job)
    _write(client, 1)
    client.launch(savepoint=path)
    _write(client, ROUNDS + 1)
    wait_until(lambda: _is_at(client, 2 * ROUNDS), "the rounds after")
    # The repeats are told apart by state that only the savepoint can have brought.
    counts = [client.query("select count(*), count(distinct id) from sales")[0]]
    assert counts == [(EVENTS, EVENTS)]


def test_an_older_savepoint_neither_skips_nor_goes_back(client: Client, savepoint: str) -> None:
    """What came after the savepoint is read again; the newest state stays, and the generation rises."""
    before = _generations(client)
    client.launch(savepoint=savepoint)
    _write(client, ROUNDS + 1)
    wait_until(lambda: _is_at(client, 2 * ROUNDS), "the rounds after")
    assert client.rows() == EVENTS
    assert min(_generations(client)) > max(before)


def test_a_launch_from_nothing_neither_skips_nor_doubles(client: Client, savepoint: str) -> None:
    """All is read again from the start, and ends in the same rows; the generation rises."""
    assert savepoint
    before = _generations(client)
    client.launch()
    _write(client, ROUNDS + 1)
    wait_until(lambda: _is_at(client, 2 * ROUNDS), "the rounds after")
    assert client.rows() == EVENTS
    assert min(_generations(client)) > max(before)


def test_an_older_job_cannot_write_after_its_successor(client: Client, savepoint: str) -> None:
    """The ledger of a newer launch stops a job of an older one, which says why."""
    assert savepoint
    entries = client.query("select client, sink, entity, shard, entry from tillstream_ledger")
    newer = [
        msgspec.json.encode(
            msgspec.structs.replace(decode_entry(row[4]), generation=decode_entry(row[4]).generation + 10**9)
        ).decode()
        for row in entries
    ]
    for row, text in zip(entries, newer, strict=True):
        client.query(f"update tillstream_ledger set entry = '{text}' where shard = {row[3]} returning 1")
    job = client.launch()
    wait_until(lambda: "another job of this client took over" in client.rest.root_cause(job), "the reason")


def test_a_bounded_job_keeps_the_order_of_each_key(client: Client, tmp_path: Path) -> None:
    """Files on Flink: every version of every row comes out, in order, and the job ends."""
    source = tmp_path / "changes.jsonl"
    source.write_bytes(
        b"".join(change(place % 100, f"{place // 100}.00", place) + b"\n" for place in range(20_000))
    )
    target = tmp_path / "out"
    config = client.config(sinks={"warehouse": {"type": "files", "path": str(target)}})
    data = config.model_dump(mode="json", by_alias=True)
    data["source"] = {"files": {"paths": [str(source)]}}
    # As `change` names its source.
    data["entities"]["sales"]["topic"] = "t.public.sales"
    launch(ClientConfig.model_validate(data), ensure_jars().flink_runner, wait=True)
    versions: dict[int, list[int]] = {}
    for path in sorted(target.glob("sales/*.jsonl"), key=lambda path: path.stat().st_mtime_ns):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            versions.setdefault(row["id"], []).append(int(float(row["amount"])))
    assert versions == {key: list(range(200)) for key in range(100)}
