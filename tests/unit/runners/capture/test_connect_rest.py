"""What Connect answers is understood, and what it asks to try again is tried again."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tillstream.pipelines.errors import StackError, UnavailableError, UserError
from tillstream.runners.capture.connect_rest import ConnectRest

Answers = dict[tuple[str, str], list[tuple[int, Any]]]
RUNNING = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "RUNNING"}]}
FAILED = {"connector": {"state": "RUNNING"}, "tasks": [{"state": "FAILED", "trace": "no space left"}]}
NAME = "/connectors/acme-source"


class Connect:
    """Be a worker that gives prepared answers, each but the last of them once."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.asked: list[tuple[str, str]] = []
        worker = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = (self.command, self.path)
                worker.asked.append(asked)
                found = worker.answers.get(asked, [(404, {"message": "not found"})])
                status, body = found.pop(0) if len(found) > 1 else found[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

            do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815  (names of the base class)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rest(self, deadline_s: float = 5.0) -> ConnectRest:
        """Return what talks to it."""
        return ConnectRest(
            f"http://127.0.0.1:{self.server.server_port}", "acme-source", deadline_s=deadline_s
        )


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Return a worker."""
    found = Connect()
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_configuration_that_is_there_is_not_sent_again(connect: Connect) -> None:
    """To send it would restart the connector, amid a snapshot if need be."""
    connect.answers["GET", f"{NAME}/config"] = [(200, {"name": "acme-source", "a": "1"})]
    connect.answers["PUT", f"{NAME}/config"] = [(200, {})]
    assert connect.rest().put({"a": "1"}) is False
    assert ("PUT", f"{NAME}/config") not in connect.asked
    assert connect.rest().put({"a": "2"}) is True


def test_a_worker_that_forms_its_group_is_asked_again(connect: Connect) -> None:
    """409 and 5xx mean later."""
    connect.answers["GET", f"{NAME}/status"] = [(409, {"message": "rebalance"}), (500, b"?"), (200, RUNNING)]
    assert connect.rest().status() == RUNNING


def test_there_may_be_no_connector(connect: Connect) -> None:
    """Then it has no state, and deleting it is done."""
    assert connect.rest().status() is None
    assert connect.rest().delete() is False


def test_a_failed_task_is_told_with_its_trace(connect: Connect) -> None:
    """Waiting ends when there is nothing to wait for."""
    connect.answers["GET", f"{NAME}/status"] = [(200, FAILED)]
    with pytest.raises(StackError, match="no space left"):
        connect.rest().wait_until_running()


def test_resume_starts_what_has_failed(connect: Connect) -> None:
    """A task that has ended does not go on by itself."""
    restart = ("POST", f"{NAME}/restart?includeTasks=true&onlyFailed=true")
    connect.answers["GET", f"{NAME}/status"] = [(200, RUNNING), (200, FAILED)]
    connect.answers[restart] = [(202, {})]
    connect.rest().resume()
    assert restart not in connect.asked
    connect.rest().resume()
    assert restart in connect.asked


def test_a_failure_from_before_a_restart_is_none(connect: Connect) -> None:
    """A worker goes on to tell of it until it has read what it wrote of the restart."""
    connect.answers["GET", f"{NAME}/status"] = [(200, FAILED), (200, FAILED), (200, FAILED), (200, RUNNING)]
    connect.answers["POST", f"{NAME}/restart?includeTasks=true&onlyFailed=true"] = [(202, {})]
    rest = connect.rest()
    assert rest.is_idle()
    rest.resume()
    rest.wait_until_running()
    connect.answers["GET", f"{NAME}/status"] = [(200, FAILED)]
    hurried = connect.rest(0.2)
    hurried.resume()
    with pytest.raises(StackError, match="no space left"):
        hurried.wait_until_running()


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        ((401, b""), UserError, "refuses the login"),
        ((200, b"<html>"), UserError, "expected Kafka Connect's REST interface"),
        ((400, {"message": "bad value"}), StackError, "bad value"),
        ((503, b"busy"), UnavailableError, "does not answer"),
    ],
)
def test_other_answers_are_errors(
    connect: Connect, answer: tuple[int, Any], error: type[Exception], said: str
) -> None:
    """Each says what to check."""
    connect.answers["GET", f"{NAME}/status"] = [answer]
    with pytest.raises(error, match=said):
        connect.rest(0.3).status()


def test_a_missing_plugin_is_named(connect: Connect) -> None:
    """The connector cannot be created without."""
    connect.answers["GET", "/connector-plugins"] = [(200, [{"class": "org.x.Other"}])]
    with pytest.raises(UserError, match="install debezium-connector-postgres"):
        connect.rest().check_plugin()


def test_nobody_answers() -> None:
    """The address is named."""
    with pytest.raises(UnavailableError, match=r"check capture\.connect_url"):
        ConnectRest("http://127.0.0.1:9", "x", deadline_s=0.2).status()
