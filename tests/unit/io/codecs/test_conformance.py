"""Every codec makes the same records of the same changes; tests/corpus/conformance/write.py writes them."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.corpus.conformance import write
from tests.registry_server import RegistryServer
from tillstream.configs import ClientConfig
from tillstream.configs.contract import column_of
from tillstream.io.codecs.base import Codec, codec_for
from tillstream.pipelines.records import ChangeRecord
from tillstream.transforms.contracts.compiled import CompiledContract

FOLDER = Path(write.__file__).parent
EXPECTED = json.loads((FOLDER / "expected.json").read_text(encoding="utf-8"))
SERVERS = ExitStack()
FORMATS = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "expected")
# Formats whose messages declare their columns.
WITH_SCHEMA = [name for name in FORMATS if "schema" in name or name == "flattened_headers"]


def _load(name: str) -> dict[str, Any]:
    """Return a file, its events saying where the schemas are that do not stand in messages."""
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if "schemas" in found:
        known = {int(number): text for number, text in found["schemas"].items()}
        found["events"]["schema_registry"]["urls"] = [SERVERS.enter_context(RegistryServer(known)).url]
    for field, schema in found.get("files", {}).items():
        folder = Path(SERVERS.enter_context(tempfile.TemporaryDirectory()))
        (folder / f"{EXPECTED['entity']}.avsc").write_text(json.dumps(schema), encoding="utf-8")
        found["events"][field] = str(folder / "{entity}.avsc")
    return found


@pytest.fixture(autouse=True)
def servers() -> Iterator[None]:
    """End the servers and files of a test with it."""
    with SERVERS:
        yield


def _codec(events: dict[str, Any]) -> Codec:
    entity = {
        "topic": "acme.public.nasty",
        "key": EXPECTED["key"],
        "contract": EXPECTED["contract"],
        "sinks": ["out"],
    }
    config = ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}, "events": events},
            "entities": {EXPECTED["entity"]: entity},
            "sinks": {"out": {"type": "files", "path": "out"}},
        }
    )
    codec = codec_for(config, EXPECTED["entity"])
    codec.read_transactions()
    codec.bind(config.client)
    return codec


def _bytes(value: Any) -> bytes | None:
    if isinstance(value, dict):
        return base64.b64decode(value["base64"])
    return None if value is None else str(value).encode()


def _decoded(codec: Codec, messages: list[dict[str, Any]]) -> list[tuple[int, ChangeRecord]]:
    found = []
    for offset, message in enumerate(messages):
        key, value = _bytes(message["key"]), _bytes(message["value"])
        headers = [(name, _bytes(each)) for name, each in message["headers"]]
        if value is None:
            assert codec.reads_tombstones
            found.append(codec.tombstone(key, offset, 5, headers))
        else:
            found.append(codec.decode(key, value, offset, headers))
    return found


def _row(row: bytes | None) -> Any:
    return None if row is None else msgspec.json.decode(row)


def _wanted(change: dict[str, Any], leaves_out: list[str]) -> dict[str, Any]:
    drops_before = "before" in leaves_out or ("before_of_updates" in leaves_out and change["op"] != "d")
    return {**change, **({"before": None} if drops_before else {})}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_means_the_same(name: str) -> None:
    """Keys, rows, positions, times and transactions are those of every other format."""
    file = _load(name)
    codec = _codec(file["events"])
    found = [
        {
            "op": record.operation.value,
            "key": list(record.key),
            "before": _row(record.before),
            "after": _row(record.after),
            "position": list(record.position),
            "source_time_us": record.source_time_us,
            "transaction": None if record.transaction is None else list(record.transaction),
        }
        for _, record in _decoded(codec, file["messages"])
    ]
    assert found == [_wanted(change, file["leaves_out"]) for change in EXPECTED["changes"]]


@pytest.mark.parametrize("name", FORMATS)
def test_a_key_has_one_shard_in_every_format(name: str) -> None:
    """Another format of a topic's messages changes no key's place."""
    file, first = _load(name), _load("debezium_json")
    shards = [shard for shard, _ in _decoded(_codec(file["events"]), file["messages"])]
    assert shards == [shard for shard, _ in _decoded(_codec(first["events"]), first["messages"])]


@pytest.mark.parametrize("name", WITH_SCHEMA)
def test_schemas_declare_the_contract(name: str) -> None:
    """The types that messages declare are those that a person would write; one object while they stay."""
    file = _load(name)
    codec = _codec(file["events"])
    schemas = []
    for message in file["messages"]:
        if message["value"] is not None:
            _decoded(codec, [message])
            schemas.append(codec.schema)
    assert dict(schemas[0]) == EXPECTED["contract"]
    assert all(schema is schemas[0] for schema in schemas)


@pytest.mark.parametrize("name", FORMATS)
def test_rows_fit_their_contract(name: str) -> None:
    """What codecs spell is what contracts read, with the same values whatever the format."""
    file, first = _load(name), _load("debezium_json")
    columns = [column_of(column, kind) for column, kind in EXPECTED["contract"].items()]
    contract = CompiledContract("nasty", columns, EXPECTED["key"])
    rows = [
        contract.decode(each.after)
        for _, each in _decoded(_codec(file["events"]), file["messages"])
        if each.after
    ]
    plain = [each.after for _, each in _decoded(_codec(first["events"]), first["messages"]) if each.after]
    # Not-a-numbers are not equal, their texts are.
    assert list(map(repr, rows)) == [repr(contract.decode(row)) for row in plain]


def test_the_files_are_what_the_script_writes() -> None:
    """Whoever changes the script runs it, and sees what becomes of the messages."""
    for name, text in write.files().items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: run the script"
