"""Post to one HTTP host, again and again where that helps, and say what its answers mean."""

from __future__ import annotations

import email.utils
import logging
import random
import threading
import time
from collections.abc import Mapping
from typing import ClassVar

import urllib3

from tillstream.configs import HttpSink
from tillstream.io.sinks.http_host import Host
from tillstream.pipelines.errors import SinkError, SinkUnavailableError

__all__ = ["HttpClient", "RowsRefusedError", "retry_after_s"]

_LOG = logging.getLogger(__name__)

_OK = range(200, 300)
_REDIRECTS = range(300, 400)
# About what is in the request, so about some of its rows.
_ROWS_REFUSED = (400, 413, 422)
# 409 is the far side still at work on a request with this key (draft-ietf-httpapi-idempotency-key-header).
_AGAIN = (408, 409, 425, 429)
_SERVER_ERRORS = range(500, 600)
_ANSWER_BYTES_MAX = 64 * 1024
_SAID_MAX = 200
_FIRST_PAUSE_S = 0.1
_PAUSE_S_MAX = 5.0


class RowsRefusedError(SinkError):
    """Say that the far side refuses what is in a request; never leaves the sink."""


class _OutageError(Exception):
    """Say why a request should be sent again."""


class HttpClient:
    """Post bodies to one host.

    Args:
        sink: its name, for messages.
        model: the sink's part of the client's config.
        secret: value of the header that carries it, or None.
    """

    _hosts: ClassVar[dict[tuple[str, int | None, int, int], Host]] = {}
    _hosts_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, sink: str, model: HttpSink, secret: str | None) -> None:
        self._sink = sink
        self._retry_s_max = model.retry_s_max
        self._timeout_s = model.timeout_s
        self._secret = {} if secret is None else {model.auth_header: secret}
        self._pool = urllib3.PoolManager(
            retries=False,
            maxsize=1,
            timeout=urllib3.Timeout(connect=model.timeout_s, read=model.timeout_s),
            cert_reqs="CERT_REQUIRED",
            ca_certs=model.ca_file,
        )
        self.address = urllib3.util.parse_url(model.url).netloc or ""
        limits = (model.requests_per_s_max, model.failures_max, model.pause_s)
        with self._hosts_lock:
            # The limits are of the host, whoever in this process writes to it.
            self._host = self._hosts.setdefault((self.address, *limits), Host(*limits))

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Post one body until it is taken.

        Raises:
            RowsRefusedError: if the host refuses what is in it.
            SinkUnavailableError: if there is no lasting answer within the sink's retries.
            SinkError: if it refuses any request.
        """
        deadline_s = time.monotonic() + self._retry_s_max
        pause_s = _FIRST_PAUSE_S
        while True:
            self._await_turn(deadline_s)
            try:
                self._try(url, body, headers)
            except _OutageError as error:
                wait_s = random.uniform(0, pause_s)  # noqa: S311  (jitter, no secret)
                pause_s = min(2 * pause_s, _PAUSE_S_MAX)
                if time.monotonic() + wait_s > deadline_s:
                    raise self._unavailable(str(error)) from error
                _LOG.warning("sink %s (%s): %s; trying again", self._sink, self.address, error)
                time.sleep(wait_s)
            else:
                return

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _await_turn(self, deadline_s: float) -> None:
        first = True
        while (wait_s := self._host.wait_s()) > 0:
            # With no time for retries at all it may still go once the rate allows it.
            if time.monotonic() + wait_s > deadline_s and not (first and wait_s < 1):
                raise self._unavailable(f"it is left alone for another {wait_s:.1f} s after what it answered")
            first = False
            time.sleep(wait_s)

    def _try(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        try:
            answer = self._pool.urlopen(
                "POST",
                url,
                body=body,
                headers={**self._secret, **headers},
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            said = self._read(answer)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._host.failed()
            raise _OutageError(f"{type(error).__name__}: {error}") from error
        if answer.length_remaining == 0:
            answer.release_conn()
        else:
            answer.close()
        self._judge(answer.status, answer.headers, said)

    def _read(self, answer: urllib3.BaseHTTPResponse) -> bytes:
        """Return the answer's body, or as much of it as comes within bounds."""
        deadline_s = time.monotonic() + self._timeout_s
        said = b""
        while len(said) < _ANSWER_BYTES_MAX and time.monotonic() < deadline_s:
            part = answer.read1(_ANSWER_BYTES_MAX)
            if not part:
                break
            said += part
        return said

    def _judge(self, status: int, headers: Mapping[str, str], said: bytes) -> None:
        text = " ".join(said[:_SAID_MAX].decode("utf-8", "replace").split())
        what = f"it answered {status}: {text}" if text else f"it answered {status}"
        if status in _SERVER_ERRORS:
            self._host.failed()
        else:
            self._host.succeeded()
        if status in _OK:
            return
        if status in _AGAIN or status in _SERVER_ERRORS:
            self._host.hold(retry_after_s(headers.get("Retry-After")))
            raise _OutageError(what)
        if status in _ROWS_REFUSED:
            raise RowsRefusedError(what)
        if status in _REDIRECTS:
            raise SinkError(
                f"sink {self._sink}: {self.address} sends elsewhere ({status} to "
                f"{headers.get('Location', 'nowhere')!r:.200}), expected an answer: set url to where it "
                "leads, if rows and secret may go there"
            )
        raise SinkError(
            f"sink {self._sink}: {self.address} refuses all requests: {what}: check the sink's url and auth"
        )

    def _unavailable(self, why: str) -> SinkUnavailableError:
        return SinkUnavailableError(
            f"sink {self._sink}: no lasting answer from {self.address} within {self._retry_s_max} s: {why}: "
            "check that the service is up and reachable from here, and its certificate"
        )


def retry_after_s(value: str | None, now_s: float | None = None) -> float:
    """Return how long a host asks to be left alone: a number of seconds, or a date (RFC 9110, 10.2.3).

    Args:
        value: of the header Retry-After; None and what cannot be read ask for nothing.
        now_s: seconds since 1970 UTC; by default now.
    """
    if value is None:
        return 0.0
    if value.strip().isdigit():
        return float(value)
    try:
        at_s = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return 0.0
    return max(0.0, at_s - (time.time() if now_s is None else now_s))
