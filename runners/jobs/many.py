"""Do one thing for several clients at once, and report what became of each."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.jobs.selection import Chosen, select

__all__ = [
    "AsJson",
    "AtOnce",
    "Clients",
    "Done",
    "Everyone",
    "Folder",
    "Group",
    "Labels",
    "Work",
    "carry_out",
    "gather",
    "report",
    "table",
]

Clients = Annotated[
    list[str] | None, typer.Argument(metavar="[CLIENT]...", help="Names of clients, or paths of configs.")
]
Everyone = Annotated[bool, typer.Option("--all", help="All clients whose configs lie in the folder.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="KEY=VALUE", help="Clients with this label; repeated: with all of them."),
]
Folder = Annotated[
    Path | None, typer.Option(help="Where configs lie; default: here, clients/, configs/clients/.")
]
AtOnce = Annotated[int, typer.Option(min=1, max=64, help="Clients that are worked on at once.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

AT_ONCE = 4
_EXIT_FAILED = 1
_EXIT_BAD_INPUT = 2


@dataclass(frozen=True)
class Done:
    """Say what became of one client.

    Attributes:
        outcome: a word or two: launched, runs already, failed.
        detail: a sentence.
        facts: what `--json` shows beside them.
        is_good: whether the command has done what it was asked to.
        exit_code: of the command, where it is not and there is a single client.
    """

    outcome: str
    detail: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    is_good: bool = True
    exit_code: int = _EXIT_FAILED


Work = Callable[[Chosen, Callable[[str], None]], Done]


@dataclass(frozen=True)
class Group:
    """Say which clients a command is for, as its options have it; see `select`."""

    clients: Sequence[str] | None = None
    everyone: bool = False
    labels: Sequence[str] | None = None
    folder: Path | None = None
    at_once: int = AT_ONCE

    def chosen(self) -> list[Chosen]:
        """Return the clients; raises as `select` does. Configs are looked for once."""
        return self._chosen

    @cached_property
    def _chosen(self) -> list[Chosen]:
        return select(
            self.clients or (), everyone=self.everyone, labels=self.labels or (), folder=self.folder
        )


def carry_out(group: Group, work: Work, *, as_json: bool) -> None:
    """Do something for each client of a group, print what became of them, and exit with 1 if any failed.

    As JSON the error of a single client is printed as well, and the exit code is the same.

    Args:
        group: whose.
        work: does it for one client; what it says goes to standard error.
        as_json: print JSON.
    """
    report(gather(group, work, catches=as_json), as_json=as_json)


def gather(group: Group, work: Work, *, catches: bool = False) -> list[tuple[str, Done]]:
    """Do something for each client of a group and return what became of them, by name.

    What fails for one client stops no other.

    Args:
        group: whose.
        work: does it for one client; what it says goes to standard error.
        catches: return the error of a single client too; else it is raised as it is.
    """
    chosen = group.chosen()
    is_many = len(chosen) > 1

    def one(client: Chosen) -> Done:
        def say(line: str) -> None:
            typer.echo(f"{client.client}: {line}" if is_many else line, err=True)

        if not is_many and not catches:
            return work(client, say)
        try:
            return work(client, say)
        except UserError as error:
            return Done("refused", str(error), is_good=False, exit_code=_EXIT_BAD_INPUT)
        except TillstreamError as error:
            return Done("failed", str(error), is_good=False)
        except Exception as error:  # noqa: BLE001  (a full disk, say: what the others did must be told)
            for line in traceback.format_exception(error):
                say(line.rstrip())
            return Done("failed", f"{type(error).__name__}: {error}", is_good=False)

    with ThreadPoolExecutor(group.at_once) as pool:
        return list(zip((each.client for each in chosen), pool.map(one, chosen), strict=True))


def report(found: Sequence[tuple[str, Done]], *, as_json: bool) -> None:
    """Print what became of clients, and exit with 1, or as the only one says, if any failed."""
    if as_json:
        lines = [
            {"client": client, "outcome": done.outcome, "detail": done.detail, **done.facts}
            for client, done in found
        ]
        typer.echo(json.dumps({"clients": lines}))
    elif len(found) > 1:
        rows = [(client, done.outcome, done.detail) for client, done in found]
        table(("CLIENT", "OUTCOME", "DETAIL"), rows)
    else:
        ((client, done),) = found
        typer.echo(f"{client}: {done.outcome}{done.detail and f', {done.detail}'}")
    if not all(done.is_good for _, done in found):
        raise typer.Exit(_EXIT_FAILED if len(found) > 1 else found[0][1].exit_code)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, each on one line."""
    lines = [tuple(head), *(tuple(" ".join(cell.split()) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
