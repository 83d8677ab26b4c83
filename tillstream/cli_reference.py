"""Write the reference of the command line: `python -m tillstream.cli_reference > docs/reference/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer.main
from typer.testing import CliRunner

from tillstream.cli import app

__all__ = ["reference"]

_WIDTH = {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}


def reference() -> str:
    """Return what `--help` says of each command, as Markdown."""
    parts = ["# The command line\n", "Made of the commands' own `--help`.\n"]
    for arguments in _commands(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*arguments, "--help"], prog_name="tillstream", env=_WIDTH).stdout
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## {' '.join(['tillstream', *arguments])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def _commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command and of each group of commands, in order."""
    yield path
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _commands(inner, (*path, name))


if __name__ == "__main__":
    sys.stdout.write(reference())
