"""Offer the demo as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    *,
    duration: Annotated[
        float, typer.Option(min=1, max=86_400, help="How long the traffic runs, in seconds.")
    ] = 30.0,
    rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="Events a second; five times as many in a burst.")
    ] = 200.0,
    seed: Annotated[int, typer.Option(help="Seed of the traffic: the same one gives the same rows.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack and the job running.")] = False,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the local stack.", file_okay=False)
    ] = None,
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
