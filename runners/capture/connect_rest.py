"""Talk to Kafka Connect about one connector (Kafka 4.1 documentation, "REST API"; KIP-875, KIP-980)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import requests

from tillstream.pipelines.errors import StackError, UnavailableError, UserError

__all__ = ["ConnectRest"]

_POLL_S = 0.1
_TIMEOUT_S = 30.0
_SHOWN_TRACE_CHARS = 2000
# Workers write states into a topic and answer by what they have read of it.
_RESTART_S = 10.0
_IDLE = frozenset({"PAUSED", "STOPPED", "FAILED"})
_PLUGIN = "io.debezium.connector.postgresql.PostgresConnector"
# While workers form their group, or start, they ask to try again.
_LATER = frozenset({HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE})


class ConnectRest:
    """Create, change, look at and delete one connector.

    Args:
        url: of Connect's REST interface.
        name: of the connector.
        login: user and password for HTTP basic, or None.
        deadline_s: how long each of the calls that wait may take, in seconds.
    """

    def __init__(
        self, url: str, name: str, login: tuple[str, str] | None = None, deadline_s: float = 60.0
    ) -> None:
        self.url = url.rstrip("/")
        self.name = name
        self._deadline_s = deadline_s
        self._restarted_s = -math.inf
        self._session = requests.Session()
        # Neither a proxy nor another login of the environment.
        self._session.trust_env = False
        self._session.auth = login

    def check_plugin(self) -> None:
        """Raise UserError where Connect does not have Debezium's connector for Postgres."""
        _, found = self._asked("GET", "/connector-plugins", _LATER)
        known = [str(each.get("class")) for each in found or ()]
        if _PLUGIN not in known:
            raise UserError(
                f"Connect at {self.url}: found no plugin {_PLUGIN}, expected it on the workers' plugin.path: "
                "install debezium-connector-postgres there and restart them"
            )

    def config(self) -> dict[str, str] | None:
        """Return the connector's configuration; None where there is no such connector."""
        found = self._of("GET", "/config")
        return None if found is None else {name: value for name, value in found.items() if name != "name"}

    def status(self) -> dict[str, Any] | None:
        """Return the state of the connector and its tasks; None where there is no such connector."""
        found: dict[str, Any] | None = self._of("GET", "/status")
        return found

    def offset(self) -> dict[str, Any]:
        """Return how far the connector has read, as it notes it; empty where it has noted nothing."""
        found = self._of("GET", "/offsets")
        offsets = (found or {}).get("offsets") or [{}]
        return dict(offsets[0].get("offset") or {})

    def put(self, config: Mapping[str, str]) -> bool:
        """Create or change the connector; tell whether there was anything to do.

        Connect restarts a connector also for the configuration that it has, amid a snapshot if need be.
        """
        if self.config() == dict(config):
            return False
        self._of("PUT", "/config", dict(config))
        self._restarted_s = time.monotonic()
        return True

    def begin_anew(self, config: Mapping[str, str]) -> None:
        """Create or change the connector, stopped, and without a memory of how far it had read."""
        if self.status() is None:
            body = {"name": self.name, "config": dict(config), "initial_state": "STOPPED"}
            self._asked("POST", "/connectors", _LATER, body)
            self._wait(lambda: self.status() is not None, "be known")
        self.stop()
        self.put(config)
        if self.offset():
            self._of("DELETE", "/offsets")
        self.resume()

    def pause(self) -> None:
        """Let the connector's task wait; it keeps its slot."""
        self._of("PUT", "/pause")

    def is_idle(self) -> bool:
        """Tell whether the connector is paused or stopped, or some of it has failed."""
        return not _IDLE.isdisjoint(self._states())

    def resume(self) -> None:
        """Let a paused or stopped connector go on, and start again what has failed."""
        self._of("PUT", "/resume")
        if "FAILED" in self._states():
            self._restart("onlyFailed=true")

    def restart(self) -> None:
        """Restart connector and tasks, which resolve their secrets anew."""
        self._restart("onlyFailed=false")

    def stop(self) -> None:
        """End the connector's task, and wait until it has."""
        self._of("PUT", "/stop")
        self._wait(self._is_stopped, "stop")

    def delete(self) -> bool:
        """Delete the connector and what it noted of how far it had read; tell whether there was one."""
        if self.status() is None:
            return False
        self.stop()
        if self.offset():
            self._of("DELETE", "/offsets")
        self._of("DELETE", "")
        self._wait(lambda: self.status() is None, "go")
        return True

    def wait_until_running(self, is_done: Callable[[], bool] = lambda: True) -> None:
        """Wait until connector and task run, and whatever else is asked for.

        For some seconds behind a restart a failure counts as that from before it.

        Raises:
            StackError: if they fail, or do not run in time.
        """
        fails_from_s = self._restarted_s + min(_RESTART_S, self._deadline_s / 2)

        def runs() -> bool:
            status = self.status()
            if status is None:
                return False
            parts: list[dict[str, Any]] = [status["connector"], *status["tasks"]]
            for part in parts:
                if part["state"] == "FAILED" and time.monotonic() > fails_from_s:
                    trace = str(part.get("trace", ""))[:_SHOWN_TRACE_CHARS]
                    raise StackError(f"connector {self.url}/connectors/{self.name} failed: {trace}")
            return len(parts) > 1 and all(part["state"] == "RUNNING" for part in parts) and is_done()

        self._wait(runs, "run")

    def _restart(self, which: str) -> None:
        self._of("POST", f"/restart?includeTasks=true&{which}")
        self._restarted_s = time.monotonic()

    def _states(self) -> list[str]:
        status = self.status() or {"connector": {}, "tasks": []}
        return [str(part.get("state")) for part in (status["connector"], *status["tasks"])]

    def _is_stopped(self) -> bool:
        status = self.status()
        return status is None or (status["connector"]["state"] == "STOPPED" and not status["tasks"])

    def _of(self, method: str, path: str, body: Any = None) -> Any:
        """Ask of the connector; None where there is none."""
        status, answer = self._asked(method, f"/connectors/{self.name}{path}", _LATER, body)
        return None if status == HTTPStatus.NOT_FOUND else answer

    def _asked(self, method: str, path: str, later: frozenset[int], body: Any = None) -> tuple[int, Any]:
        end_s = time.monotonic() + self._deadline_s
        while True:
            try:
                answer = self._session.request(method, self.url + path, json=body, timeout=_TIMEOUT_S)
            except requests.RequestException as error:
                problem: str = type(error).__name__
            else:
                if answer.status_code not in later and answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return answer.status_code, self._checked(method, path, answer)
                problem = f"{answer.status_code} {_message(answer)}"
            if time.monotonic() > end_s:
                raise UnavailableError(
                    f"Connect at {self.url} does not answer ({problem}): check capture.connect_url and that "
                    "the worker runs ('tillstream ps' for the local stack)"
                )
            time.sleep(_POLL_S)

    def _checked(self, method: str, path: str, answer: requests.Response) -> Any:
        code = answer.status_code
        if code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise UserError(
                f"Connect at {self.url} refuses the login ({code}): check capture.connect_user and "
                "connect_password"
            )
        if code >= HTTPStatus.BAD_REQUEST and code != HTTPStatus.NOT_FOUND:
            raise StackError(f"Connect refuses {method} {self.url}{path}: {_message(answer)}")
        try:
            return answer.json() if answer.content else {}
        except ValueError as error:
            raise UserError(
                f"found no JSON at {self.url}{path}, expected Kafka Connect's REST interface: check "
                "capture.connect_url"
            ) from error

    def _wait(self, is_done: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + self._deadline_s
        while not is_done():
            if time.monotonic() > end_s:
                raise StackError(
                    f"connector {self.url}/connectors/{self.name} does not {what} within "
                    f"{self._deadline_s:.0f} s: see the log of connect"
                )
            time.sleep(_POLL_S)


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, LookupError, TypeError):
        return answer.text[:_SHOWN_TRACE_CHARS]
