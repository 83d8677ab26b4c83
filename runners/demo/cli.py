"""Offer the demo, and its traffic alone; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo", "traffic"]

_Folder = Annotated[Path | None, typer.Option("--dir", help="Folder of the local stack.", file_okay=False)]
_Seed = Annotated[int, typer.Option(help="Seed of the traffic: the same one gives the same rows.")]


def demo(
    *,
    duration: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long the traffic runs, in seconds.")
    ] = 30.0,
    rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="Events a second; five times as many in a burst.")
    ] = 200.0,
    seed: _Seed = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack and the job running.")] = False,
    directory: _Folder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object in the last line.")
    ] = False,
) -> None:
    """Watch a retailer's changes travel from one database to another, and see that none is missing.

    Starts the local stack, fills a source database, runs the job of client acme, commits changes, and
    compares source and warehouse row by row. Exit code 0 means that they are exactly the same.
    """
    from rich.console import Console

    from tillstream.runners.demo.demo import DemoOptions, run
    from tillstream.runners.demo.site import Site

    options = DemoOptions(duration_s=duration, rate_per_s=rate, seed=seed, keep=keep)
    outcome = run(options, Site(directory), Console())
    if as_json:
        typer.echo(outcome.json_line())
    raise typer.Exit(0 if outcome.is_exact else 1)


def traffic(
    client: Annotated[
        str, typer.Argument(help="Whose topics are filled, <client>.public.orders and others.")
    ] = "acme",
    *,
    duration: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long changes are committed, in seconds.")
    ] = 30.0,
    rate: Annotated[float, typer.Option(min=1, max=100_000, help="Events a second.")] = 50.0,
    seed: _Seed = 1,
    directory: _Folder = None,
) -> None:
    """Give a client of your own something to read: the demo's database and traffic, without its job.

    On a stack that is up it fills a retailer's database, captures its tables into the client's topics, and
    commits changes. What it left the last time is removed first.
    """
    from tillstream.runners.demo.feed import Feed, feed

    feed(Feed(client, duration, rate, seed, directory), lambda line: typer.echo(line, err=True))
