"""A registry is asked once for each schema, and its outages lose nothing."""

from __future__ import annotations

import logging
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.registry_server import RegistryServer
from tillstream.configs import SchemaRegistry
from tillstream.io.codecs.schema_registry import RegisteredSchema, RegistryClient
from tillstream.pipelines.errors import RecordError, UnavailableError

TEXT = '{"type":"record","name":"A","fields":[]}'


class Clock:
    """Tell a time that pauses alone move on."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s

    def pause(self, seconds: float) -> None:
        """Move the time on."""
        self.pauses.append(seconds)
        self.now_s += seconds + 0.01


def client(server: RegistryServer, clock: Clock | None = None, **more: Any) -> RegistryClient:
    """Return a client of a server, with no time lost."""
    clock = clock or Clock()
    model = SchemaRegistry.model_validate({"urls": [server.url], "retry_s_max": 1, **more})
    return RegistryClient(model, "acme", clock, clock.pause)


def test_a_schema_is_asked_for_once() -> None:
    """Many readers, on many threads, make one request."""
    with RegistryServer({7: TEXT}) as server:
        registry = client(server)
        threads = [threading.Thread(target=registry.schema, args=(7,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert registry.schema(7) == RegisteredSchema(TEXT)
        assert server.paths == ["/schemas/ids/7"]


def test_a_process_has_one_client_of_a_registry() -> None:
    """All codecs of a client share what is known; those of another client have their own secrets."""
    model = SchemaRegistry(urls=["http://127.0.0.1:1"])
    shared = RegistryClient.shared(model, "acme")
    assert RegistryClient.shared(SchemaRegistry(urls=["http://127.0.0.1:1/"]), "acme") is shared
    assert RegistryClient.shared(model, "other") is not shared


def test_an_unknown_id_is_not_asked_for_again_for_a_while() -> None:
    """A poisoned topic does not hammer the registry, and a schema that comes later is found."""
    clock = Clock()
    with RegistryServer({}) as server:
        registry = client(server, clock, unknown_s=30)
        for _ in range(3):
            with pytest.raises(RecordError, match=r"unknown_schema: found schema id 7, .* replay"):
                registry.schema(7)
        assert len(server.paths) == 1
        server.schemas[7] = TEXT
        clock.now_s += 31
        assert registry.schema(7).text == TEXT


def test_an_id_that_no_registry_has_is_not_asked_for() -> None:
    """Ids are Java's ints; a real server answers others with an error of another kind."""
    with RegistryServer({}) as server:
        with pytest.raises(RecordError, match="unknown_schema"):
            client(server).schema(0xFFFFFFFF)
        assert server.paths == []


def test_types_of_other_schemas_come_before_those_that_use_them() -> None:
    """References are followed, each once, whatever their depth."""
    refers = {"name": "x.A", "subject": "a/value", "version": 1}
    middle = {"schema": '"middle"', "references": [refers]}
    top = {"schema": '"top"', "references": [{"name": "x.B", "subject": "b", "version": 2}, refers]}
    subjects = {"a%2Fvalue/1": {"schema": '"leaf"'}, "b/2": middle}
    with RegistryServer({7: top}, subjects) as server:
        assert client(server).schema(7) == RegisteredSchema('"top"', ('"leaf"', '"middle"'))
        assert len(server.paths) == 3


@pytest.mark.parametrize(
    "subjects",
    [
        {},
        {"a/1": {"schema": '"A"', "references": [{"name": "a", "subject": "a", "version": 1}]}},
    ],
)
def test_references_that_lead_nowhere_are_refused(subjects: dict[str, Any]) -> None:
    """A reference that the registry lacks, or a circle of them, is a dead letter and no loop."""
    top = {"schema": '"top"', "references": [{"name": "a", "subject": "a", "version": 1}]}
    with RegistryServer({7: top}, subjects) as server, pytest.raises(RecordError, match="unknown_schema"):
        client(server).schema(7)


def test_a_schema_of_another_kind_is_refused() -> None:
    """A registry holds Protobuf too."""
    protobuf = {"schema": "x", "schemaType": "PROTOBUF"}
    refused = pytest.raises(RecordError, match="type 'PROTOBUF', expected one of Avro")
    with RegistryServer({7: protobuf}) as server, refused:
        client(server).schema(7)


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"oops"),
        (503, b""),
        (429, b"{}"),
        # A wrong path, as a real server answers it, and a proxy's page.
        (404, b'{"error_code":404,"message":"Could not find resource for full path"}'),
        (404, b"<html>"),
        (200, b"<html>"),
        (200, b"{}"),
        (200, b'{"schema": 7}'),
        (200, b'{"schema": "x", "references": [{"subject": "a"}]}'),
        (302, b""),
        (200, b" " * (17 << 20)),
    ],
)
def test_an_outage_is_waited_for_and_then_stops_the_job(answer: tuple[int, bytes]) -> None:
    """What is no answer is asked again, with pauses; a message never becomes a dead letter for it."""
    clock = Clock()
    with RegistryServer({7: TEXT}) as server:
        server.answers = [lambda: answer]
        assert client(server, clock).schema(7).text == TEXT
        assert len(server.paths) == 2
        server.answers = [lambda: answer] * 1000
        with pytest.raises(UnavailableError, match=r"127.0.0.1.*within 1 s.*schema_registry.urls"):
            client(server, clock).schema(7)
        assert len(clock.pauses) > 2
        assert len(server.paths) < 500


def test_nobody_at_the_port_is_an_outage() -> None:
    """A refused connection is told with the address."""
    with RegistryServer({}) as server:
        registry = client(server)
    with pytest.raises(UnavailableError, match=server.url.rpartition("/")[2]):
        registry.schema(7)


def test_another_server_is_asked_at_once() -> None:
    """Of several servers the next takes over, without a pause, and stays the first to be asked."""
    clock = Clock()
    with RegistryServer({7: TEXT, 8: TEXT}) as second:
        with RegistryServer({}) as first:
            urls = [first.url, second.url]
        registry = client(first, clock, urls=urls)
        assert registry.schema(7).text == registry.schema(8).text == TEXT
        assert clock.pauses == []


def test_a_refused_login_stops_the_job_and_says_which(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password is no reason for dead letters; neither it nor the right one is ever written."""
    caplog.set_level(logging.DEBUG)
    login = {"user": "ann", "password": "${REGISTRY_PASSWORD}"}
    with RegistryServer({7: TEXT}, login="ann:gut ö") as server:
        monkeypatch.setenv("REGISTRY_PASSWORD", "wrong-one")
        with pytest.raises(UnavailableError, match=r"refuses the login .*user and password") as raised:
            client(server, **login).schema(7)
        monkeypatch.setenv("REGISTRY_PASSWORD", "gut ö")
        assert client(server, **login).schema(7).text == TEXT
    assert "wrong-one" not in str(raised.value) + caplog.text
    assert "gut" not in caplog.text


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a certificate of 127.0.0.1 and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key, found, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {key} "
        f"-out {found} -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1".split(),
        check=True,
        capture_output=True,
    )
    both.write_bytes(key.read_bytes() + found.read_bytes())
    return both


def tls_of(certificate: Path) -> ssl.SSLContext:
    """Return what a server with this certificate speaks."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    return tls


def test_a_certificate_is_checked(certificate: Path) -> None:
    """A server whose certificate nobody trusts is not even asked."""
    with RegistryServer({7: TEXT}, tls=tls_of(certificate)) as server:
        with pytest.raises(UnavailableError, match=r"CERTIFICATE_VERIFY_FAILED"):
            client(server).schema(7)
        assert server.paths == []
        assert client(server, ca_file=str(certificate)).schema(7).text == TEXT


def test_a_certificate_is_shown(certificate: Path) -> None:
    """A server that wants to see ours gets it."""
    tls = tls_of(certificate)
    tls.load_verify_locations(certificate)
    tls.verify_mode = ssl.CERT_REQUIRED
    with RegistryServer({7: TEXT}, tls=tls) as server:
        with pytest.raises(UnavailableError):
            client(server, ca_file=str(certificate)).schema(7)
        trusting = {"ca_file": str(certificate), "cert_file": str(certificate)}
        assert client(server, **trusting).schema(7).text == TEXT
