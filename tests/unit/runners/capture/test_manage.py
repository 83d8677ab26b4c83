"""What is created again goes on, and what was created goes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tillstream.runners.capture import manage, source
from tillstream.runners.capture.connector import connector_config
from tillstream.runners.capture.slots import Slot
from tillstream.runners.capture.spec import Capture, Login, Place

CAPTURE = Capture("acme", "acme", ("public.orders",))
PLACE = Place(Login("h", 5432, "d", "u", None), "http://c", None, {}, "k:1", Path("/nowhere/p"), "${x}")
SLOT = Slot(False, None, "reserved", 0, 0, None, 0.0, -1, None)  # noqa: FBT003  (as its query gives them)
OURS = ["tillstream.acme.signals", "tillstream.acme.notifications", CAPTURE.heartbeat_topic]


class Rest:
    """Be a connector in a state."""

    def __init__(self, state: str, config: dict[str, str]) -> None:
        self.state = state
        self.known = config
        self.done: list[str] = []

    def status(self) -> dict[str, Any]:
        """Return its state."""
        return {"connector": {"state": "RUNNING"}, "tasks": [{"state": self.state}]}

    def put(self, config: dict[str, str]) -> bool:
        """Tell whether there is anything to change."""
        return config != self.known

    def is_idle(self) -> bool:
        """Tell whether it does not run."""
        return self.state != "RUNNING"

    def resume(self) -> None:
        """Run."""
        self.state = "RUNNING"
        self.done.append("resume")

    def delete(self) -> bool:
        """Say that it was not there."""
        return False

    def wait_until_running(self, _: Any) -> None:
        """Refuse what does not run."""
        assert self.state == "RUNNING"


@pytest.mark.parametrize(
    ("state", "differs", "said"),
    [
        ("RUNNING", False, ["connector acme-source is as it should be"]),
        ("FAILED", False, ["connector acme-source goes on"]),
        ("PAUSED", True, ["changed connector acme-source", "connector acme-source goes on"]),
    ],
)
def test_what_is_created_again_goes_on(
    monkeypatch: pytest.MonkeyPatch, state: str, *, differs: bool, said: list[str]
) -> None:
    """A connector that has failed, or waits, is started, whether its configuration changes or not."""
    monkeypatch.setattr(manage, "slot_of", lambda *_: SLOT)
    rest: Any = Rest(state, {} if differs else connector_config(CAPTURE, PLACE))
    found: list[str] = []
    connection: Any = None
    manage._connect(connection, CAPTURE, PLACE, rest, found.append)
    assert found == said
    assert rest.state == "RUNNING"


def deleted(monkeypatch: pytest.MonkeyPatch, capture: Capture, *, topics: bool) -> list[str]:
    """Return the topics that `delete` deletes."""
    found: list[str] = []

    def delete_topics(_: Place, names: Iterable[str]) -> list[str]:
        found.extend(names)
        return []

    monkeypatch.setattr(manage, "rest_of", lambda *_: Rest("RUNNING", {}))
    monkeypatch.setattr(manage, "delete_topics", delete_topics)
    monkeypatch.setattr(manage, "delete_group", lambda *_: None)
    monkeypatch.setattr(manage, "_drop_slot", lambda *_: False)
    monkeypatch.setattr(source, "opened", nullcontext)
    monkeypatch.setattr(source, "drop", lambda *_: [])
    manage.delete(capture, PLACE, found.append, topics=topics)
    return found


def test_all_topics_go_that_were_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those between tillstream and the connector always, all others where that is asked for."""
    assert deleted(monkeypatch, CAPTURE, topics=False) == OURS
    capture = replace(CAPTURE, replay_topic="again", transactions=True)
    found = deleted(monkeypatch, capture, topics=True)
    assert set(found) == {*OURS, *capture.topics, *capture.own_topics}
    assert "again" in found
    assert len(found) == len(set(found))
