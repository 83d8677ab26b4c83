"""Do, record by record, what no DoFn should: imported also by the job's own processes."""

from __future__ import annotations

import ctypes
import itertools
import json
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.api import transform

_HOUR_S = 3600
_LEAK_BYTES = 20 * 1024 * 1024
_leaked: list[bytes] = []


def _raise_oddly() -> None:
    class OddError(Exception):
        def __str__(self) -> str:
            raise ValueError("no text either")

    raise OddError


def _exit_politely() -> None:
    sys.exit(3)


def _hang_in_python() -> None:
    while True:
        # Swallowed once: the next one gets through.
        try:
            while True:
                pass
        except BaseException:  # noqa: BLE001  (the misdeed)
            break
    while True:
        pass


def _hang_in_c() -> None:
    select.select([], [], [], _HOUR_S)


def _hang_with_the_lock() -> None:
    sum(itertools.repeat(1))


def _grow() -> None:
    held = []
    while True:
        held.append(bytes(_LEAK_BYTES))


def _exit_at_once() -> None:
    os._exit(7)


def _crash() -> None:
    ctypes.string_at(0)


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1) + 1


def _close_input() -> None:
    os.close(0)
    raise ValueError("closed")


def _flood() -> None:
    for _ in range(5000):
        print("noise" * 100)  # noqa: T201  (the misdeed)
        logging.getLogger().warning("noise")
    raise ValueError("flooded")


def _spy() -> None:
    """Say what can be seen of others, in the text of an error."""
    others = Path(os.environ["TILLSTREAM_SECRETS_DIR"], "other")
    looks: dict[str, Callable[[], Any]] = {
        "parent": lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
        "file": (others / "PASSWORD").read_text,
        "written": lambda: (others / "PASSWORD").write_text("mine"),
        "deleted": (others / "PASSWORD").unlink,
        "renamed": lambda: others.rename(others.with_name("mine")),
        "planted": lambda: (others / "PLANTED").symlink_to("/etc/passwd"),
        "listed": lambda: list(others.parent.iterdir()),
        "variable": lambda: os.environ["OTHERS_PASSWORD"],
        "own environment": lambda: Path("/proc/self/environ").read_bytes().index(b"OTHERS_PASSWORD"),
        "signal": lambda: os.kill(os.getppid(), signal.SIGCONT),
    }
    seen = []
    for name, look in looks.items():
        try:
            look()
        except (OSError, KeyError, ValueError):
            continue
        seen.append(name)
    raise RuntimeError(f"seen: {json.dumps(seen)}")


MISDEEDS: dict[int, Callable[[], object]] = {
    9001: _raise_oddly,
    9002: _exit_politely,
    9003: _hang_in_python,
    9004: _hang_in_c,
    9005: _hang_with_the_lock,
    9006: _grow,
    9007: _exit_at_once,
    9008: _crash,
    9009: _recurse,
    9010: _close_input,
    9011: _flood,
    9012: _spy,
}
ENDLESS = 9013
JUNK = 9014
LEAKS = range(5000, 6000)
FAULTY = range(7000, 8000)


class _Nasty(beam.DoFn):
    faulty = FAULTY

    def process(self, event: ChangeEvent) -> Iterator[Any]:
        row = dict(event.after or {})
        number = int(row["id"])
        if number in MISDEEDS:
            MISDEEDS[number]()
        if number in LEAKS:
            _leaked.append(bytes(_LEAK_BYTES))
        if number in self.faulty:
            raise KeyError("price")
        while number == ENDLESS:
            yield event.upsert(row)
        yield "junk" if number == JUNK else event.upsert(row)


@transform("nasty.sales@1.0.0")
class Nasty(_Nasty):
    """Misbehave by the row's id."""


@transform("nasty.sales@1.0.1")
class Mended(_Nasty):
    """Misbehave less."""

    faulty = range(0)


@transform("nasty.sales@1.0.2")
class Unready(_Nasty):
    """Never get ready."""

    def setup(self) -> None:
        """Raise."""
        raise OSError("no model file")
