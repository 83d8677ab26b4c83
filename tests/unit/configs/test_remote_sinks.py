"""Sinks that are services: what their configs refuse."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tillstream.configs import HttpSink, KafkaSink


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example/rows/{entity}",
        "https://shop.example:8443/rows",
        "http://127.0.0.1:8080/{entity}",
        "http://localhost/{entity}",
        "http://[::1]:80/",
    ],
)
def test_urls_that_are_safe_pass(url: str) -> None:
    """TLS to anywhere, and plain text to this machine."""
    assert HttpSink(type="http", url=url).url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://shop.example/rows", "expected https"),
        ("http://127.0.0.1.shop.example/", "expected https"),
        ("ftp://shop.example/rows", "expected https://host/path"),
        ("shop.example/rows", "expected https://host/path"),
        ("https:///rows", "expected https://host/path"),
        ("https://user:hunter2@shop.example/rows", "found a login in it"),
        ("https://shop.example:99999/rows", "expected a URL"),
        ("https://{entity}.example/rows", "none in the host"),
        ("https://shop.example/{table}", "no placeholder but {entity}"),
    ],
)
def test_other_urls_are_refused(url: str, said: str) -> None:
    """Each with its reason, and without a secret that it holds."""
    with pytest.raises(ValidationError) as caught:
        HttpSink(type="http", url=url)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_kafka_logs_in_as_a_source_does() -> None:
    """The connection's own rules hold for the sink as well."""
    with pytest.raises(ValidationError, match="expected sasl_mechanism, sasl_username and sasl_password"):
        KafkaSink(type="kafka", bootstrap_servers="kafka:9092", security_protocol="SASL_SSL")
