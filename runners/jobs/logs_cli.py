"""Offer clients' logs as a command; what it needs is imported when it runs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.runners.jobs.many import AsJson, Clients, Everyone, Folder, Group, Labels

if TYPE_CHECKING:
    from tillstream.runners.jobs.logs import Line, LogReader

__all__ = ["logs"]

_FOLLOW_S = 1.0
_EXIT_FAILED = 1


def logs(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    since: Annotated[
        str | None, typer.Option(help="Only of then or later: 90s, 10m, 2h, 1d ago, or ISO 8601, UTC.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as more comes, until Ctrl-C.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Longest time of --follow, seconds; default: no end.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print what clients' processes have logged, and their jobs' failures with their stack traces.

    Exits with 1 if a cluster does not answer, or a config is wrong; the others' lines are printed.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.jobs.logs import since_of

    if follow and as_json:
        raise UserError("found --follow beside --json, expected one of them")
    if timeout is not None and not follow:
        raise UserError("found --timeout without --follow, expected both")
    try:
        since_ms = 0 if since is None else since_of(since)
    except ValueError as error:
        raise UserError(f"--since: found {since!r}, expected 90s, 10m, 2h, 1d, or ISO 8601") from error
    faults: dict[str, str] = {}
    readers = _readers(Group(clients, everyone, label, folder), since_ms, faults)
    end_s = None if timeout is None else time.monotonic() + timeout
    found = _read(readers, faults)
    if as_json:
        lines = [
            {"client": line.client, "at_ms": line.at_ms, "source": line.source, "text": line.text}
            for line in found
        ]
        errors = [{"of": name, "error": fault} for name, fault in faults.items()]
        typer.echo(json.dumps({"lines": lines, "errors": errors}))
    else:
        told = dict[str, str]()
        while True:
            for line in found:
                typer.echo(line.shown)
            for name, fault in faults.items() - told.items():
                typer.echo(f"error: {name}: {fault}", err=True)
            told = dict(faults)
            if not follow or (end_s is not None and time.monotonic() >= end_s):
                break
            sys.stdout.flush()
            time.sleep(_FOLLOW_S)
            found = _read(readers, faults)
    if faults:
        raise typer.Exit(_EXIT_FAILED)


def _readers(group: Group, since_ms: int, faults: dict[str, str]) -> dict[str, LogReader]:
    """Return a reader for each cluster: the log of a TaskManager is read once for all of its clients.

    Args:
        group: of the clients.
        since_ms: as of the readers.
        faults: takes what is wrong with a client's config.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.flink.rest import FlinkRest
    from tillstream.runners.jobs.logs import LogReader

    clients: dict[str, list[str]] = {}
    for each in group.chosen():
        try:
            config = each.load()
        except UserError as error:
            faults[each.client] = str(error)
            continue
        clients.setdefault(config.flink.rest_url, []).append(config.client)
    return {url: LogReader(FlinkRest(url), names, since_ms) for url, names in clients.items()}


def _read(readers: Mapping[str, LogReader], faults: dict[str, str]) -> list[Line]:
    """Read what is new; a cluster that does not answer is a fault, until it answers again."""
    from tillstream.pipelines.errors import UnavailableError

    found: list[Line] = []
    for url, reader in readers.items():
        faults.pop(url, None)
        try:
            found += reader.read()
        except UnavailableError as error:
            faults[url] = str(error)
    return sorted(found)
