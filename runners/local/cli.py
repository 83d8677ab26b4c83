"""Offer the local stack as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tillstream.runners.local.status import ServiceStatus

__all__ = ["down", "env", "ps", "sql", "up"]

_Folder = Annotated[
    Path | None,
    typer.Option(
        "--dir", file_okay=False, help="Folder of the stack.  [default: $TILLSTREAM_DIR or .tillstream]"
    ),
]


def up(
    services: Annotated[
        list[str] | None, typer.Argument(metavar="[SERVICE]...", help="Parts to start; all by default.")
    ] = None,
    *,
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PORT", help="Port of a part, such as kafka=19092; may be repeated."),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Jobs that may run at once.  [default: as before, or 8]"),
    ] = None,
    directory: _Folder = None,
) -> None:
    """Start the local stack: two Postgres databases, Kafka, Connect with Debezium, ZooKeeper and Flink.

    Started twice, it starts only what does not run.
    """
    from tillstream.runners.local.ports import parse_ports
    from tillstream.runners.local.stack import LocalStack

    stack = LocalStack.open(directory)
    stack.up(services or None, ports=parse_ports(port or []), slots=slots, progress=_say)
    _print_table(stack.ps())
    typer.echo(f"Flink dashboard {stack.addresses.flink}   logs {stack.layout.logs}")


def down(
    *,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove data, passwords, logs and ports too.")] = False,
    directory: _Folder = None,
) -> None:
    """Stop the local stack, and nothing that it did not start."""
    from tillstream.runners.local.stack import LocalStack

    stack = LocalStack.open(directory)
    stack.down(wipe=wipe, progress=_say)
    typer.echo(f"the stack in {stack.layout.root} is down")


def ps(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
    directory: _Folder = None,
) -> None:
    """Show how each part of the local stack is.

    Exit code 0 means that all parts serve, 1 that some do not.
    """
    from tillstream.runners.local.stack import LocalStack

    statuses = LocalStack.open(directory).ps()
    if as_json:
        import json
        from dataclasses import asdict

        typer.echo(json.dumps([asdict(status) for status in statuses], indent=2))
    else:
        _print_table(statuses)
    raise typer.Exit(0 if all(status.is_healthy for status in statuses) else 1)


def env(*, directory: _Folder = None) -> None:
    """Print the variables that clients' configs refer to, for the shell: eval "$(tillstream env)"."""
    import shlex

    from tillstream.runners.local.stack import LocalStack

    for name, value in LocalStack.open(directory).environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def sql(
    statement: Annotated[str, typer.Argument(help="One SQL statement.")],
    *,
    source: Annotated[
        bool, typer.Option("--source", help="Run it in the source database, not in the warehouse.")
    ] = False,
    directory: _Folder = None,
) -> None:
    """Run a statement in the local stack's warehouse, and print what it returns."""
    from tillstream.runners.local.query import query
    from tillstream.runners.local.stack import LocalStack

    addresses = LocalStack.open(directory).addresses
    for line in query(addresses.source if source else addresses.warehouse, statement):
        typer.echo(line)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _print_table(statuses: list[ServiceStatus]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for heading in ("service", "health", "address", "pid", "MiB"):
        table.add_column(heading, justify="right" if heading in {"pid", "MiB"} else "left", overflow="fold")
    for status in statuses:
        table.add_row(
            status.service,
            status.health,
            status.address or "",
            str(status.pid or ""),
            str(status.rss_mb or ""),
        )
    Console().print(table)
