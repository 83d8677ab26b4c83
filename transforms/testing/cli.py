"""Offer recording as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["record"]


def record(
    config: Annotated[Path, typer.Argument(help="Config of the client, YAML.")],
    entities: Annotated[list[str], typer.Argument(metavar="ENTITY", help="Whose events.")],
    *,
    out: Annotated[Path, typer.Option(dir_okay=False, help="Fixture to write, .jsonl.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most events of each entity.")] = 100,
    topic: Annotated[
        str | None, typer.Option(help="Topic to read in place of the entity's, of one entity.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Take the newest events, not the oldest.")] = False,
    unmasked: Annotated[
        bool, typer.Option("--unmasked", help="Record entities without any contract too, all in clear.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a fixture that is there.")] = False,
) -> None:
    """Record real events into a fixture for tests, with personal data hidden.

    Columns that a contract, a transform's models or a mask mark as personal data get made-up values of their
    type, the same ones for the same value within one recording. Columns that nobody described are left out.
    Read the fixture with `tillstream.testing.load_fixture`.
    """
    from tillstream.configs.cli import check
    from tillstream.pipelines.errors import UserError
    from tillstream.transforms.testing import recording

    client = check(config)
    if out.exists() and not force:
        raise UserError(f"{out}: there is a file already; --force replaces it")
    recorded = recording.record(client, entities, count, topic=topic, newest=newest, unmasked=unmasked)
    out.write_bytes(recorded.text)
    typer.echo(f"{out}: {recorded.events} events of {', '.join(entities)}")
    for name in entities:
        hidden, dropped = recorded.hidden[name], recorded.dropped[name]
        typer.echo(
            f"  {name}: hidden: {', '.join(hidden) or 'none, because no column is marked as personal'}"
        )
        if dropped:
            typer.echo(f"  {name}: left out, because no contract has them: {', '.join(dropped)}")
    if recorded.skipped:
        typer.echo(f"  {recorded.skipped} messages were no changes of rows")
