"""Give tillstream's commands as a person does, from the day's folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.day.checks import UnexpectedError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.rig import await_

__all__ = ["Commands"]

_COMMAND_S_MAX = 240.0
_SHOWN = 8


class Commands:
    """Run them on a stack, with a history of the day's own.

    Args:
        stack: that they are about.
        folder: in which they run.
        say: takes the last lines of what each prints.
    """

    def __init__(self, stack: LocalStack, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._tool = str(Path(sys.executable).with_name("tillstream"))
        self._environment = {
            **os.environ,
            "TILLSTREAM_DIR": str(stack.layout.root),
            "TILLSTREAM_HISTORY": str(folder / "history"),
            "TILLSTREAM_ACTOR": "the day",
        }

    def run(self, *words: str, code: int = 0, says: str = "") -> str:
        """Run one and return all that it printed.

        Args:
            words: of the command.
            code: the exit code that it must have.
            says: what it must print.

        Raises:
            UnexpectedError: if it does not do so.
        """
        done = self._run(words)
        printed = done.stdout + done.stderr
        self._tell(printed)
        if done.returncode != code or says not in printed:
            raise UnexpectedError(
                f"tillstream {' '.join(words)}: found exit code {done.returncode} and\n{printed}\n"
                f"expected {code}{f' and {says!r}' if says else ''}"
            )
        return printed

    def one(self, *words: str) -> Any:
        """Run one with --json for one client, and return what it says of it.

        Raises:
            UnexpectedError: if it fails.
        """
        done = self._run((*words, "--json"))
        if done.returncode:
            raise UnexpectedError(f"tillstream {' '.join(words)}: {done.stdout}{done.stderr}")
        (found,) = json.loads(done.stdout)["clients"]
        return found

    def amid(self, *words: str, sees: str, do: Callable[[], object]) -> int:
        """Run one, do something when it has printed something, and return its exit code in the end."""
        path = self._folder / "amid.txt"
        with (
            path.open("w", encoding="utf-8") as out,
            subprocess.Popen(
                [self._tool, *words],
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self._folder,
            ) as process,
        ):
            try:
                await_(
                    lambda: sees in path.read_text(encoding="utf-8") or process.poll() is not None,
                    f"{sees!r} in what 'tillstream {' '.join(words)}' prints",
                    _COMMAND_S_MAX,
                )
                do()
                code = process.wait(_COMMAND_S_MAX)
            finally:
                process.kill()
        printed = path.read_text(encoding="utf-8")
        self._tell(printed)
        if sees not in printed:
            raise UnexpectedError(f"tillstream {' '.join(words)}: found\n{printed}\nexpected {sees!r}")
        return code

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._tool, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_S_MAX,
            check=False,
            cwd=self._folder,
        )

    def _tell(self, printed: str) -> None:
        for line in re.sub(r"\n+", "\n", printed).strip().splitlines()[-_SHOWN:]:
            self._say(f"  | {line}")
