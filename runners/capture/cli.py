"""Offer capture management as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig
    from tillstream.runners.capture.spec import Capture, Place
    from tillstream.runners.capture.status import Status

__all__ = ["capture", "resync"]

capture = typer.Typer(
    help="Manage what captures a client's tables: role, publication, slot, connector.", no_args_is_help=True
)

_Client = Annotated[str, typer.Argument(metavar="CLIENT", help="Name of the client, or its config, YAML.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_Wait = Annotated[float, typer.Option(min=1, help="Longest wait for the connector, seconds.")]
_EXIT_ALERT = 1
_EXIT_INTERRUPTED = 130


@capture.command()
def create(client: _Client, *, wait: _Wait = 60.0) -> None:
    """Make role, publication, topics, connector and slot, or change what differs; say what was done.

    A slot that is lost is made anew, and all tables are read again.
    """
    from tillstream.runners.capture import manage

    manage.create(*_known(client)[1:], typer.echo, wait)


@capture.command()
def status(client: _Client, *, as_json: _Json = False) -> None:
    """Show connector, slot, lag, snapshot and streaming. Exit code 1 means an alert."""
    from tillstream.runners.capture.status import look

    found = look(*_known(client)[1:])
    _print(found, as_json=as_json)
    if found.alerts:
        raise typer.Exit(_EXIT_ALERT)


@capture.command()
def watch(
    client: _Client,
    *,
    every: Annotated[float, typer.Option(min=1, help="Time between looks, seconds.")] = 30.0,
    drop_abandoned: Annotated[
        bool,
        typer.Option(
            "--drop-abandoned",
            help="Drop the slot, which loses changes, when nobody reads it and slot_lag_mb_max is exceeded.",
        ),
    ] = False,
    as_json: _Json = False,
) -> None:
    """Show the status again and again, one look after another, until interrupted."""
    from tillstream.runners.capture.watching import follow

    _, wanted, place = _known(client)
    follow(
        wanted,
        place,
        every,
        lambda found: _print(found, as_json=as_json),
        say=lambda line: typer.echo(line, err=True),
        drops=drop_abandoned,
    )


@capture.command()
def pause(client: _Client) -> None:
    """Pause the connector; its slot goes on to keep the database's log."""
    from tillstream.runners.capture import manage

    _, wanted, place = _known(client)
    manage.rest_of(wanted, place).pause()
    typer.echo(f"connector {wanted.connector} pauses; its slot keeps the log until it is resumed")


@capture.command()
def resume(client: _Client) -> None:
    """Let a paused connector go on from where it was."""
    from tillstream.runners.capture import manage

    _, wanted, place = _known(client)
    manage.rest_of(wanted, place).resume()
    typer.echo(f"connector {wanted.connector} goes on")


@capture.command()
def rotate(client: _Client, *, wait: _Wait = 60.0) -> None:
    """Give the connector's role a new password; no change is lost."""
    from tillstream.runners.capture import manage

    manage.rotate(*_known(client)[1:], typer.echo, wait)


@capture.command()
def delete(
    client: _Client,
    *,
    topics: Annotated[
        bool, typer.Option("--topics", help="Delete the topics too, with the changes and replays in them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove connector, slot, publication and role, as far as create made them."""
    from tillstream.runners.capture import manage

    _, wanted, place = _known(client)
    if not yes:
        typer.confirm(
            f"delete the capture of {wanted.client}: {len(wanted.tables)} tables?", abort=True, err=True
        )
    manage.delete(wanted, place, typer.echo, topics=topics)


def _known(client: str) -> tuple[ClientConfig, Capture, Place]:
    from tillstream.configs.loader import load
    from tillstream.runners.capture.spec import capture_of, place_of
    from tillstream.runners.clients import config_path

    config = load(config_path(client))
    return config, capture_of(config), place_of(config)


def _print(found: Status, *, as_json: bool) -> None:
    typer.echo(json.dumps(found.as_json()) if as_json else "\n".join(found.lines()))


def resync(
    client: _Client,
    entities: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTITY]...", help="Entities whose tables are read again.")
    ] = None,
    *,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", help="All entities that have a topic, but for those that cannot be read again."
        ),
    ] = False,
    wait: Annotated[float, typer.Option(min=1, help="Longest time for all of it, seconds.")] = 3600.0,
) -> None:
    """Read tables again while job and connector go on, and repair rows that differ in the sinks.

    Rows that were changed, deleted or invented there by hand are as in the source afterwards.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.capture.resync import resync as run

    config, wanted, place = _known(client)
    known = list(config.topics.values())
    names = known if all_ else list(dict.fromkeys(entities or ()))
    if all_ == bool(entities):
        raise UserError(
            f"found {'both' if all_ else 'neither'}, expected either --all or some of {', '.join(known)}"
        )
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"client {config.client}: found {', '.join(unknown)}, expected entities that have a topic: "
            f"{', '.join(known)}"
        )
    try:
        done = run(
            config,
            wanted,
            place,
            names,
            say=lambda line: typer.echo(line, err=True),
            deadline_s=wait,
            leaves_out=all_,
        )
        typer.echo(str(done))
    except KeyboardInterrupt:
        again = "--all" if all_ else " ".join(names)
        typer.echo(
            "interrupted: the connector goes on reading, and rows that it reads are repaired; rows that the "
            f"source no longer has stay until 'tillstream resync {client} {again}' is run again",
            err=True,
        )
        raise typer.Exit(_EXIT_INTERRUPTED) from None
