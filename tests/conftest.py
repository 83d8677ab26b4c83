"""Follow a page of the docs as a person would: run its commands, make its edits, compare what it shows."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from tillstream.runners.jobs.history import HISTORY_VARIABLE

# What a machine does beside a test says nothing of what is tested.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

_DEADLINE_S = 45.0
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="session", autouse=True)
def _own_history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests do to jobs out of the history of this machine's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HISTORY_VARIABLE, str(tmp_path_factory.mktemp("history")))
        yield


@dataclass(frozen=True)
class Block:
    """Hold one block of a page.

    Attributes:
        section: the heading that it stands under.
        kind: console or diff.
        options: behind the kind, `file=...` or `exit=...`.
        text: of the block.
        line: of the page.
    """

    section: str
    kind: str
    options: dict[str, str]
    text: str
    line: int


class Walkthrough:
    """Follow one page in a folder; variables, the working folder and the like go from block to block.

    Args:
        page: Markdown. `$ ` starts a command, and what follows is its output, `...` in it any text.
        folder: the empty one that a person starts in.
        environment: of the shell, beside the test's own.
        replace: texts of the page that are another one here.
    """

    def __init__(
        self, page: Path, folder: Path, environment: dict[str, str], replace: dict[str, str] | None = None
    ) -> None:
        self.folder = folder
        self.blocks = list(_blocks(page, replace or {}))
        self._state = folder.with_name(folder.name + ".state")
        variables = {**os.environ, **environment}
        self._environment = {name: value for name, value in variables.items() if name != "TILLSTREAM_DIR"}

    def follow(self, *sections: str) -> int:
        """Follow the blocks of sections, in order; returns how many there were."""
        wanted = [block for block in self.blocks if block.section in sections]
        assert {block.section for block in wanted} == set(sections)
        for block in wanted:
            if block.kind == "diff":
                self._edit(block)
            else:
                for command, shown in _commands(block.text):
                    self._run(block, command, shown)
        return len(wanted)

    def _edit(self, block: Block) -> None:
        path = self.folder / block.options["file"]
        lines = block.text.splitlines()
        old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
        new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
        text = path.read_text(encoding="utf-8")
        if not old:
            path.write_text(text + new + "\n", encoding="utf-8")
            return
        assert text.count(old + "\n") == 1, (
            f"line {block.line}: {path.name} has no such lines, or has them twice"
        )
        path.write_text(text.replace(old + "\n", new + "\n"), encoding="utf-8")

    def _run(self, block: Block, command: str, shown: str) -> None:
        began_s = time.monotonic()
        end_s = time.monotonic() + _DEADLINE_S
        while True:
            code, output = self._shell(command)
            is_right = code == int(block.options.get("exit", "0")) and _matches(shown, output)
            # What a sink shows comes a moment later; everything else is done when it returns.
            if is_right or not command.startswith('tillstream sql "') or time.monotonic() > end_s:
                break
            threading.Event().wait(0.2)
        sys.stdout.write(f"{time.monotonic() - began_s:6.1f} s  {command}\n")
        assert is_right, f"line {block.line}: $ {command}\nended with {code} and showed\n{output}"

    def _shell(self, command: str) -> tuple[int, str]:
        before = f". {self._state} >/dev/null 2>&1; " if self._state.exists() else ""
        script = f"{before}cd {self.folder}; {command}\ncode=$?; export -p > {self._state}; exit $code"
        done = subprocess.run(
            ["bash", "-c", script],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=240,
            check=False,
        )
        return done.returncode, done.stdout


def _blocks(page: Path, replace: dict[str, str]) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        headings = re.findall(r"^## (.*)$", text[: match.start()], re.MULTILINE)
        options = dict(each.split("=", 1) for each in match[2].split())
        body = match[3]
        for old, new in replace.items():
            body = body.replace(old, new)
        line = text[: match.start()].count("\n") + 1
        found.append(Block(headings[-1] if headings else "", match[1], options, body, line))
    return found


def _commands(text: str) -> list[tuple[str, str]]:
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def _matches(shown: str, output: str) -> bool:
    if not shown.strip():
        return True
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    # `...` alone in a line stands for any lines, or none.
    wanted = re.sub(r"^\.\.\.\n", "...", shown, flags=re.MULTILINE)
    return doctest.OutputChecker().check_output(wanted, output, flags)


@pytest.fixture(scope="session")
def walkthrough() -> type[Walkthrough]:
    """Return what follows a page of the docs."""
    return Walkthrough
