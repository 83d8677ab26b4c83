"""Sinks of files and objects are described safely."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tillstream.configs import GcsSink


def model(**fields: Any) -> GcsSink:
    """Return a model with a good bucket."""
    return GcsSink.model_validate({"type": "gcs", "bucket": "lake", **fields})


def test_the_defaults_suit_google() -> None:
    """A bucket is all that a job with an account of its own must name."""
    found = model()
    assert (found.format, found.compression, found.prefix, found.endpoint) == ("jsonl", "none", None, None)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:4443/", "http://127.0.0.1:4443"),
        ("http://localhost:4443", "http://localhost:4443"),
        ("https://storage.example.com", "https://storage.example.com"),
    ],
)
def test_endpoints_that_are_safe(given: str, kept: str) -> None:
    """TLS anywhere, plain HTTP on this machine."""
    assert model(endpoint=given).endpoint == kept


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"endpoint": "http://10.0.0.1"}, "found http, expected https"),
        ({"endpoint": "https://me:secret@example.com"}, "scheme, host and port only"),
        ({"endpoint": "https://example.com/storage"}, "scheme, host and port only"),
        ({"endpoint": "example.com"}, "expected https://host"),
        ({"endpoint": "https://example.com:99999"}, "expected a URL"),
        ({"bucket": "Lake"}, "match pattern"),
        ({"bucket": "a"}, "match pattern"),
        ({"prefix": "/lake"}, "match pattern"),
        ({"prefix": "lake//acme"}, "match pattern"),
        ({"credentials": '{"private_key": "x"}'}, "found a value that is no reference"),
        ({"format": "csv"}, "'jsonl', 'parquet' or 'avro'"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], said: str) -> None:
    """Each problem is said."""
    with pytest.raises(ValidationError, match=said):
        model(**fields)
