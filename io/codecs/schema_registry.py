"""Ask a schema registry for the schemas of messages, each once a process.

Source: Confluent documentation, "Wire format", and "Schema Registry API Reference": `GET /schemas/ids/{id}`,
and for the types that a schema refers to `GET /subjects/{subject}/versions/{version}`. A schema never changes
under its id.

Delivery guarantees:
    No message is lost to an outage: the job restarts, and reads it again. A message whose schema the registry
    does not have becomes a dead letter, and can be replayed once it has. At most 10,000 schemas are kept.
"""

from __future__ import annotations

import base64
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from tillstream.configs import SchemaRegistry
from tillstream.pipelines.errors import MissingToolError, RecordError, UnavailableError

__all__ = ["HEAD_SIZE", "RegisteredSchema", "RegistryClient"]

_LOG = logging.getLogger(__name__)

_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"
# A zero byte and the schema's id, before each body.
HEAD_SIZE = 5
_OK, _NOT_FOUND = 200, 404
_REFUSED = (401, 403)
# Subject, version and schema that are not there.
_UNKNOWN = (40401, 40402, 40403)
_ID_MAX = (1 << 31) - 1
_ANSWER_BYTES_MAX = 16 << 20
_PART_BYTES = 64 << 10
_KEPT_MAX = 10_000
_REFERENCES_MAX = 100
_FIRST_PAUSE_S = 0.1
_PAUSE_S_MAX = 5.0
_SAID_MAX = 200
_decode = msgspec.json.Decoder().decode


class RegisteredSchema(NamedTuple):
    """Hold a schema as it was registered.

    Attributes:
        text: the schema.
        references: schemas of the types that it refers to, each before those that refer to it.
    """

    text: str
    references: tuple[str, ...] = ()


class _OutageError(Exception):
    """Say why a request should be sent again."""


class RegistryClient:
    """Look schemas up, and keep them; safe for several threads.

    Args:
        model: the registry's part of the client's config.
        client: whose secrets they are.
        clock: returns seconds of a clock that never goes back.
        pause: waits for some seconds.

    Raises:
        UserError: where the password is not to be found.
    """

    _shared: ClassVar[dict[tuple[str, str], RegistryClient]] = {}
    _shared_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(
        self,
        model: SchemaRegistry,
        client: str,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._model = model
        self._clock = clock
        self._pause = pause
        self._headers = {"Accept": _ACCEPT}
        if model.user is not None and model.password is not None:
            login = f"{model.user}:{model.password.resolve(client)}".encode()
            self._headers["Authorization"] = f"Basic {base64.b64encode(login).decode()}"
        self._pool = _pool(model)
        self._known: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, tuple[float, RecordError]] = {}
        self._first = 0
        self._lock = threading.Lock()

    @classmethod
    def shared(cls, model: SchemaRegistry, client: str) -> RegistryClient:
        """Return the client of this registry in this process; raises as the constructor does."""
        place = (client, model.model_dump_json())
        with cls._shared_lock:
            found = cls._shared.get(place)
            if found is None:
                found = cls._shared[place] = cls(model, client)
            return found

    def named_by(self, head: bytes) -> RegisteredSchema:
        """Return the schema that a message's first five bytes name.

        Raises:
            RecordError: `malformed` where they are no such bytes; and as `schema` does.
            UnavailableError: as `schema` does.
        """
        if len(head) < HEAD_SIZE or head[0] != 0:
            raise RecordError(
                "malformed",
                f"found {head.hex() or 'nothing'} at the start, expected 00 and a schema's id of four bytes",
            )
        return self.schema(int.from_bytes(head[1:], "big"))

    def schema(self, number: int) -> RegisteredSchema:
        """Return the schema of an id.

        Raises:
            RecordError: `unknown_schema`, where the registry has none, or none that is Avro.
            UnavailableError: where no server gives an answer within the retries, or refuses the login.
        """
        found = self._known.get(number)
        if found is not None:
            return found
        # One request at a time: others that wait want the same schema, mostly.
        with self._lock:
            found = self._known.get(number)
            if found is None:
                found = self._look_up(number)
            return found

    def _look_up(self, number: int) -> RegisteredSchema:
        until_s, error = self._unknown.get(number, (0.0, None))
        if error is not None and self._clock() < until_s:
            raise RecordError(error.reason, error.detail)
        try:
            found = self._fetch(number)
        except RecordError as refused:
            _keep(self._unknown, number, (self._clock() + self._model.unknown_s, refused))
            raise
        self._unknown.pop(number, None)
        _keep(self._known, number, found)
        return found

    def _fetch(self, number: int) -> RegisteredSchema:
        # Ids are Java's ints.
        answer = self._get(f"/schemas/ids/{number}") if number <= _ID_MAX else None
        if answer is None:
            raise RecordError(
                "unknown_schema",
                f"found schema id {number}, which the registry at {self._address()} does not have: register "
                "its schema, or set source.events.schema_registry.urls to the one that has it, then replay",
            )
        references: dict[tuple[str, Any], str] = {}
        self._add_references(answer, references, number, set())
        return RegisteredSchema(_text_of(answer, number), tuple(references.values()))

    def _add_references(
        self,
        answer: Mapping[str, Any],
        into: dict[tuple[str, Any], str],
        number: int,
        open_: set[tuple[str, Any]],
    ) -> None:
        for each in answer.get("references") or ():
            subject, version = each["subject"], each["version"]
            place = (subject, version)
            if place in into:
                continue
            if place in open_ or len(open_) + len(into) > _REFERENCES_MAX:
                raise RecordError(
                    "unknown_schema",
                    f"found schema id {number} with references in a circle, or more than {_REFERENCES_MAX}",
                )
            found = self._get(f"/subjects/{quote(subject, safe='')}/versions/{version}")
            if found is None:
                raise RecordError(
                    "unknown_schema",
                    f"found schema id {number} that refers to version {version} of subject {subject!r:.100}, "
                    "which the registry does not have: register it, then replay",
                )
            self._add_references(found, into, number, {*open_, place})
            into[place] = _text_of(found, number)

    def _get(self, path: str) -> dict[str, Any] | None:
        """Return what a server answers, None where there is no such thing."""
        deadline_s = self._clock() + self._model.retry_s_max
        pause_s, failures = _FIRST_PAUSE_S, 0
        while True:
            url = self._model.urls[self._first]
            try:
                return self._try(url + path)
            except _OutageError as error:
                failures += 1
                self._first = (self._first + 1) % len(self._model.urls)
                # Another server is tried at once, all of them again after a pause.
                turn = failures % len(self._model.urls) == 0
                wait_s = random.uniform(0, pause_s) if turn else 0.0  # noqa: S311  (jitter, no secret)
                if turn and self._clock() + wait_s >= deadline_s:
                    raise self._unavailable(str(error)) from error
                _LOG.warning("schema registry (%s): %s; trying again", urlsplit(url).netloc, error)
                if turn:
                    pause_s = min(2 * pause_s, _PAUSE_S_MAX)
                    self._pause(wait_s)

    def _try(self, url: str) -> dict[str, Any] | None:
        import urllib3

        try:
            answer = self._pool.request(
                "GET", url, headers=self._headers, redirect=False, preload_content=False
            )
            try:
                said = self._read(answer)
            finally:
                answer.close()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _OutageError(f"{type(error).__name__}: {error}") from error
        text = " ".join(said[:_SAID_MAX].decode("utf-8", "replace").split())
        if answer.status in _REFUSED:
            raise UnavailableError(
                f"schema registry at {self._address()} refuses the login ({answer.status}: {text}): check "
                "source.events.schema_registry.user and password, and its certificate"
            )
        found = _object(said)
        # Another path, or a proxy, answers 404 too, but not with these codes.
        if answer.status == _NOT_FOUND and found is not None and found.get("error_code") in _UNKNOWN:
            return None
        if answer.status != _OK:
            raise _OutageError(f"it answered {answer.status}: {text}")
        if found is None or not _is_schema(found):
            raise _OutageError(f"it answered what is no schema: {text}")
        return found

    def _read(self, answer: Any) -> bytes:
        """Return an answer's body; each of its parts has a time, and so has all of it."""
        end_s = self._clock() + self._model.timeout_s
        said = bytearray()
        while part := answer.read1(_PART_BYTES):
            said += part
            if len(said) > _ANSWER_BYTES_MAX or self._clock() > end_s:
                raise _OutageError(f"{len(said)} bytes came, and no end of them")
        return bytes(said)

    def _address(self) -> str:
        return ", ".join(urlsplit(url).netloc for url in self._model.urls)

    def _unavailable(self, why: str) -> UnavailableError:
        return UnavailableError(
            f"schema registry at {self._address()}: no schema within {self._model.retry_s_max} s: {why}: "
            "check that it is up and reachable, its certificate, and source.events.schema_registry.urls"
        )


def _pool(model: SchemaRegistry) -> Any:
    try:
        import urllib3
    except ImportError as error:
        raise MissingToolError("found no urllib3: pip install 'tillstream[avro]'") from error
    return urllib3.PoolManager(
        retries=False,
        maxsize=1,
        timeout=urllib3.Timeout(connect=model.timeout_s, read=model.timeout_s),
        cert_reqs="CERT_REQUIRED",
        ca_certs=model.ca_file,
        cert_file=model.cert_file,
        key_file=model.key_file,
    )


def _keep(kept: dict[int, Any], number: int, value: Any) -> None:
    if len(kept) >= _KEPT_MAX:
        del kept[next(iter(kept))]
    kept[number] = value


def _object(said: bytes) -> dict[str, Any] | None:
    try:
        found = _decode(said)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_schema(found: Mapping[str, Any]) -> bool:
    references = found.get("references") or []
    return (
        isinstance(found.get("schema"), str)
        and isinstance(references, list)
        and all(
            isinstance(each, dict)
            and isinstance(each.get("subject"), str)
            and type(each.get("version")) is int
            for each in references
        )
    )


def _text_of(found: Mapping[str, Any], number: int) -> str:
    kind = found.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise RecordError(
            "unknown_schema", f"found schema id {number} of type {kind!r:.100}, expected one of Avro"
        )
    return str(found["schema"])
