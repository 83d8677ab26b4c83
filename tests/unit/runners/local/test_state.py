"""A stack is remembered, its secrets are private, and its commands take turns."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tillstream.pipelines.errors import StackError, UnavailableError
from tillstream.runners.local.addresses import Addresses
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.locking import exclusive
from tillstream.runners.local.ports import PREFERRED_PORTS
from tillstream.runners.local.process import ProcessId
from tillstream.runners.local.secret_files import ensure_password
from tillstream.runners.local.state import State


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """Return the layout of an empty stack."""
    made = Layout.of(tmp_path / "stack")
    made.create()
    return made


def test_state_survives(layout: Layout) -> None:
    """What was saved is loaded."""
    state = State({"kafka": 9092}, {"kafka": ProcessId(12, 3.5)}, {"TILLSTREAM_KAFKA": "127.0.0.1:9092"})
    state.save(layout)
    assert State.load(layout) == state


def test_stack_that_was_never_started_is_empty(layout: Layout) -> None:
    """No file means an empty state."""
    assert State.load(layout) == State()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ports": 1, "processes": {}, "environment": {}}'])
def test_broken_state_is_named(text: str, layout: Layout) -> None:
    """A file of another form is an error that says what to do."""
    layout.state_file.write_text(text)
    with pytest.raises(StackError, match=r"stack\.json: found .* remove the file"):
        State.load(layout)


def test_configs_find_the_environment_in_the_file(layout: Layout) -> None:
    """The file's `environment` is what clients' configs refer to, and holds no secret."""
    password = ensure_password(layout.secrets / "warehouse_password")
    environment = Addresses.of(layout, PREFERRED_PORTS).environment(layout)
    State(PREFERRED_PORTS, {}, environment).save(layout)
    text = layout.state_file.read_text()
    assert json.loads(text)["environment"]["TILLSTREAM_FLINK"] == "http://127.0.0.1:8081"
    assert password not in text


def test_password_is_random_private_and_kept(layout: Layout) -> None:
    """Each file has a password of its own that only its owner reads, the same at each call."""
    files = [layout.secrets / "one", layout.secrets / "two"]
    first, second = map(ensure_password, files)
    assert first != second
    assert ensure_password(files[0]) == first
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert layout.secrets.stat().st_mode & 0o777 == 0o700


def test_folder_is_absolute_and_comes_from_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder is the given one, else that of TILLSTREAM_DIR, else `.tillstream`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TILLSTREAM_DIR", raising=False)
    assert Layout.of().root == tmp_path / ".tillstream"
    monkeypatch.setenv("TILLSTREAM_DIR", "elsewhere")
    assert Layout.of().root == tmp_path / "elsewhere"
    assert Layout.of("given").root == tmp_path / "given"


def test_lock_waits_for_its_holder(tmp_path: Path) -> None:
    """A second holder waits, says so once, and goes on when the first is done."""
    waits = threading.Event()
    order: list[str] = []

    def second() -> None:
        with exclusive(tmp_path / "lock", deadline_s=10, on_wait=waits.set):
            order.append("second")

    thread = threading.Thread(target=second)
    with exclusive(tmp_path / "lock", deadline_s=0, on_wait=lambda: None):
        thread.start()
        assert waits.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_lock_gives_up_in_the_end(tmp_path: Path) -> None:
    """Who holds a lock for too long is named by its file."""
    with (
        exclusive(tmp_path / "lock", deadline_s=0, on_wait=lambda: None),
        pytest.raises(UnavailableError, match="lock is locked by another process"),
        exclusive(tmp_path / "lock", deadline_s=0, on_wait=lambda: None),
    ):
        pytest.fail("two holders")
