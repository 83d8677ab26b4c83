"""List the rigs of all sinks: what the conformance suites run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tillstream.io.sinks import sink_class

from .rig_files import FilesRig
from .rig_gcs import GcsRig
from .rig_http import HttpRig
from .rig_kafka import KafkaRig
from .rig_postgres import PostgresRig
from .sink_rigs import Rig


class Spec(NamedTuple):
    """Say how to make one rig.

    Attributes:
        kind: the sink's type in configs.
        make: makes a rig on an empty far side.
    """

    kind: str
    make: Callable[[pytest.FixtureRequest], Rig]


def _postgres(request: pytest.FixtureRequest) -> Rig:
    return PostgresRig(request.getfixturevalue("database"), request.getfixturevalue("monkeypatch"))


def _files(form: str, compression: str = "none") -> Callable[[pytest.FixtureRequest], Rig]:
    def make(request: pytest.FixtureRequest) -> Rig:
        folder = request.getfixturevalue("tmp_path") / "out"
        return FilesRig(folder, request.getfixturevalue("monkeypatch"), form, compression)

    return make


def _kafka(request: pytest.FixtureRequest) -> Rig:
    return KafkaRig(request.getfixturevalue("broker"), request.getfixturevalue("monkeypatch"))


def _http(request: pytest.FixtureRequest) -> Rig:
    return HttpRig(request.getfixturevalue("service"), request.getfixturevalue("monkeypatch"))


def _gcs(request: pytest.FixtureRequest) -> Rig:
    return GcsRig(request.getfixturevalue("emulator"), request.getfixturevalue("monkeypatch"))


RIGS = {
    "postgres": Spec("postgres", _postgres),
    "http": Spec("http", _http),
    "kafka": Spec("kafka", _kafka),
    "gcs": Spec("gcs", _gcs),
    "jsonl": Spec("files", _files("jsonl")),
    "jsonl.gz": Spec("files", _files("jsonl", "gzip")),
    "parquet": Spec("files", _files("parquet")),
    "avro": Spec("files", _files("avro", "zstd")),
}
EXACTLY_ONCE = [name for name, spec in RIGS.items() if sink_class(spec.kind).guarantee == "exactly-once"]
