"""What the connector tells of its snapshots becomes a line for people."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tillstream.runners.capture.progress import Progress, notice_of


def notification(
    event: str, *, schema: bool = False, kind: str = "Incremental Snapshot", **data: str
) -> bytes:
    """Return one as Debezium writes it."""
    body = {"id": "r1", "aggregate_type": kind, "type": event, "additional_data": data, "timestamp": 5}
    return json.dumps({"schema": {}, "payload": body} if schema else body).encode()


@pytest.mark.parametrize("schema", [False, True])
def test_a_snapshot_is_followed_table_by_table(*, schema: bool) -> None:
    """Rows are counted when a table is done; until then its keys tell how far it is."""
    progress = Progress("incremental")
    said = []
    for value in (
        notification("STARTED", schema=schema, data_collections="source.shop.orders"),
        notification(
            "IN_PROGRESS",
            schema=schema,
            current_collection_in_progress="source.shop.orders",
            last_processed_key="4096",
            maximum_key="9000",
        ),
        notification(
            "TABLE_SCAN_COMPLETED",
            schema=schema,
            scanned_collection="source.shop.orders",
            total_rows_scanned="9000",
        ),
        notification("COMPLETED", schema=schema),
    ):
        notice = notice_of(value)
        assert notice is not None
        assert notice.identity == "r1"
        progress.note(notice)
        said.append(str(progress))
    assert said == [
        "incremental, running",
        "incremental, running; reading shop.orders up to key 4096 of 9000",
        "incremental, running; 9,000 rows of 1 tables read; reading shop.orders",
        "incremental, completed; 9,000 rows of 1 tables read",
    ]
    assert progress.rows == {"shop.orders": 9000}


@pytest.mark.parametrize(
    "value", [None, b"", b"\xff", b"[]", b"{}", b'{"payload": 3}', notification("X", kind="Status Update")]
)
def test_what_is_no_notice_of_a_snapshot_is_passed_over(value: bytes | None) -> None:
    """Anything else in the topic is nothing, and no error."""
    assert notice_of(value) is None


def test_a_notice_in_avro_is_understood(tmp_path: Path) -> None:
    """A connector with Avro's converter tells as much, without a registry."""
    fastavro = pytest.importorskip("fastavro")
    schema = {
        "type": "record",
        "name": "N",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "type", "type": "string"},
            {"name": "aggregate_type", "type": "string"},
            {"name": "additional_data", "type": ["null", {"type": "map", "values": "string"}]},
            {"name": "timestamp", "type": "long"},
        ],
    }
    data = {
        "connector_name": "acme",
        "scanned_collection": "source.shop.orders",
        "total_rows_scanned": "9000",
        "status": "SUCCEEDED",
    }
    event = {
        "id": "0123456789abcdef0123456789abcdef",
        "type": "TABLE_SCAN_COMPLETED",
        "aggregate_type": "Incremental Snapshot",
        "additional_data": data,
        "timestamp": 5,
    }
    with (tmp_path / "notice").open("wb") as out:
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    notice = notice_of(b"\0\0\0\0\7" + (tmp_path / "notice").read_bytes())
    assert notice is not None
    assert (notice.identity, notice.event) == (event["id"], "TABLE_SCAN_COMPLETED")
    progress = Progress("incremental")
    progress.note(notice)
    assert (progress.rows, notice.data["status"]) == ({"shop.orders": 9000}, "SUCCEEDED")
