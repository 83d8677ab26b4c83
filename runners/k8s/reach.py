"""Tell what a client's job connects to, so that a network can let it reach that and nothing else."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from tillstream.configs import ClientConfig, GcsSink, HttpSink, KafkaSink, PostgresSink, forms
from tillstream.pipelines.errors import UserError

__all__ = ["Endpoint", "endpoints_of", "whole_namespaces"]

_HTTPS = 443
_HTTP = 80
# Google's own names and address (https://cloud.google.com/docs/authentication).
_STORAGE = "storage.googleapis.com"
_TOKENS = "oauth2.googleapis.com"
_METADATA = "169.254.169.254"
# k8s/chart/tillstream/templates/_helpers.tpl reads it likewise.
_SERVICE = re.compile(r"[^.]+(?:\.[^.]+)*\.(?P<namespace>[^.]+)\.svc(?:\..*)?")


@dataclass(frozen=True)
class Endpoint:
    """Name a host that a job connects to.

    Attributes:
        name: what it is to the job, source-kafka or sink-<name>; another host of the same has .2 behind it.
        host: name or address.
        ports: of TCP.
    """

    name: str
    host: str
    ports: tuple[int, ...]


def endpoints_of(config: ClientConfig) -> list[Endpoint]:
    """Return what a client's job connects to: its source, its schema registry and its sinks.

    What captures the tables is no part of the job.

    Raises:
        UserError: if one is this machine, which is another one in a pod; one line for each.
    """
    found, problems = [], []
    for name, field, addresses in _addresses(config):
        hosts: dict[str, list[int]] = {}
        for host, port in addresses:
            hosts.setdefault(host, []).append(port)
        for number, (host, ports) in enumerate(hosts.items(), start=1):
            if host in forms.LOOPBACK or host.startswith("/"):
                problems.append(
                    f"{field}: found {host}, which in a pod is the pod itself, expected an address that the "
                    "cluster's pods reach: set it, or the variable that it is made of, for this command"
                )
            suffix = f".{number}" if number > 1 else ""
            found.append(Endpoint(name + suffix, host, tuple(dict.fromkeys(ports))))
    if problems:
        raise UserError("\n".join(problems))
    return found


def whole_namespaces(endpoints: Iterable[Endpoint], placed: Container[str]) -> list[str]:
    """Return a sentence for each service that a job can reach only together with all of its namespace.

    Args:
        endpoints: of the job.
        placed: hosts whose place is given under network.peers.
    """
    return [
        f"{each.name}: {each.host} opens port {', '.join(map(str, each.ports))} of every pod in namespace "
        f"{found['namespace']}: place it under network.peers with a podSelector"
        for each in endpoints
        if each.host not in placed and (found := _SERVICE.fullmatch(each.host)) is not None
    ]


_Addresses = Iterator[tuple[str, str, list[tuple[str, int]]]]


def _addresses(config: ClientConfig) -> _Addresses:
    source = config.source
    if source.kafka is not None:
        yield "source-kafka", "source.kafka.bootstrap_servers", _servers(source.kafka.bootstrap_servers)
    registry = source.events.schema_registry
    if registry is not None:
        yield (
            "source-registry",
            "source.events.schema_registry.urls",
            [_url(each) for each in registry.urls],
        )
    for name, sink in config.sinks.items():
        what, field = f"sink-{name.replace('_', '-')}", f"sinks.{name}"
        if isinstance(sink, PostgresSink):
            yield what, f"{field}.host", [(sink.host, sink.port)]
        elif isinstance(sink, KafkaSink):
            yield what, f"{field}.bootstrap_servers", _servers(sink.bootstrap_servers)
        elif isinstance(sink, HttpSink):
            yield what, f"{field}.url", [_url(sink.url)]
        elif isinstance(sink, GcsSink):
            tokens = (_METADATA, _HTTP) if sink.credentials is None else (_TOKENS, _HTTPS)
            store = (_STORAGE, _HTTPS) if sink.endpoint is None else _url(sink.endpoint)
            yield what, f"{field}.endpoint", [store, tokens]


def _servers(text: str) -> list[tuple[str, int]]:
    parts = (each.strip().rpartition(":") for each in text.split(","))
    return [(host.strip("[]"), int(port)) for host, _, port in parts]


def _url(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (_HTTP if parts.scheme == "http" else _HTTPS)
