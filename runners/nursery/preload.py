"""Import what every job needs, and no client's code."""

from __future__ import annotations

import importlib
import importlib.util
import warnings

__all__ = ["preload"]

_NEEDED = (
    "grpc",
    "google.protobuf.json_format",
    "google.protobuf.text_format",
    "apache_beam.runners.worker.sdk_worker_main",
    "apache_beam.portability.api",
    "tillstream.runners.harness",
    "tillstream.pipelines.template",
    "tillstream.pipelines.isolation.process",
)
# Parts of the distribution that need not be installed.
_OPTIONAL = ("confluent_kafka", "psycopg", "fastavro", "zstandard", "urllib3")
_OURS = {
    "psycopg": ("tillstream.io.sinks.postgres",),
    "confluent_kafka": ("tillstream.io.sinks.kafka",),
    "pyarrow": ("tillstream.io.sinks.files",),
}


def preload() -> None:
    """Import it."""
    with warnings.catch_warnings():
        # Of other packages, about versions; each process said them.
        warnings.simplefilter("ignore")
        for name in _NEEDED:
            importlib.import_module(name)
        for name in (*_OPTIONAL, *_OURS):
            if importlib.util.find_spec(name) is not None:
                for each in (name, *_OURS.get(name, ())):
                    importlib.import_module(each)
