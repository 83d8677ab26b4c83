"""Write the reference of the command line: `python -m tillstream.cli_reference > docs/reference/cli.md`."""

from __future__ import annotations

import sys

import typer.main
from typer.testing import CliRunner

from tillstream.cli import app

__all__ = ["reference"]

_WIDTH = {"COLUMNS": "100", "TERMINAL_WIDTH": "100"}


def reference() -> str:
    """Return what `--help` says of each command, as Markdown."""
    names = sorted(getattr(typer.main.get_command(app), "commands", {}))
    parts = ["# The command line\n", "Made of the commands' own `--help`.\n"]
    for arguments in ([], *([name] for name in names)):
        shown = CliRunner().invoke(app, [*arguments, "--help"], prog_name="tillstream", env=_WIDTH).stdout
        text = "\n".join(line.rstrip() for line in shown.strip().splitlines())
        parts.append(f"## {' '.join(['tillstream', *arguments])}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(reference())
