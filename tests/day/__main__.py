"""Play the day: its last line says that both clients are equal, or what went wrong, with exit code 1."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.day.play import Day
from tillstream.runners.local.stack import LocalStack


def main() -> int:
    """Play on a stack of its own, which is taken down afterwards; return the exit code."""
    began_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {line}", flush=True)  # noqa: T201

    folder = Path(tempfile.mkdtemp(prefix="tillstream-day-"))
    stack = LocalStack.open(folder / "stack")
    try:
        found = Day(stack, folder / "clients", say).play()
        verdict = "equal: both clients, at the end of the day" if found is None else f"different: {found}"
    except Exception as error:  # noqa: BLE001  # the last line tells, whatever went wrong
        say(traceback.format_exc())
        found = verdict = f"{type(error).__name__}: {error}"
    try:
        stack.down(wipe=True)
        shutil.rmtree(folder)
    finally:
        print(verdict, flush=True)  # noqa: T201
    return int(found is not None)


if __name__ == "__main__":
    sys.exit(main())
