"""The watchdog looks on when the machine lets it do nothing else."""

from __future__ import annotations

import faulthandler
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tillstream.pipelines.isolation.watchdog import Watchdog


class Guard(SimpleNamespace):
    """Be watched, without a record."""

    __hash__ = object.__hash__


def test_it_looks_on_where_the_fault_handler_has_no_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is the look at the memory that ends such a process."""
    looked = threading.Event()

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("unable to start watchdog thread")

    def look() -> None:
        looked.set()
        # The thread is a daemon: it may stay here.
        threading.Event().wait()

    monkeypatch.setattr(faulthandler, "dump_traceback_later", refuse)
    with (tmp_path / "trace").open("wb") as trace:
        watchdog = Watchdog(lambda *_: None, trace)
        watchdog.also = look
        guard = Guard(token=None, limit_s=0.1)
        watchdog.watch(cast("Any", guard))
        assert looked.wait(10)
