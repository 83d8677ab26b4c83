"""Offer clients' logs as a command; what it needs is imported when it runs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.runners.jobs.many import AsJson, Clients, Everyone, Folder, Group, Labels

if TYPE_CHECKING:
    from tillstream.runners.jobs.logs import Line, LogReader

__all__ = ["logs"]

_FOLLOW_S = 1.0


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
    """Print what clients' processes have logged, and their jobs' failures with their stack traces."""
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
    readers = _readers(Group(clients, everyone, label, folder), since_ms)
    end_s = None if timeout is None else time.monotonic() + timeout
    found = _read(readers)
    if as_json:
        lines = [
            {"client": line.client, "at_ms": line.at_ms, "source": line.source, "text": line.text}
            for line in found
        ]
        typer.echo(json.dumps({"lines": lines}))
        return
    while True:
        for line in found:
            typer.echo(line.shown)
        if not follow or (end_s is not None and time.monotonic() >= end_s):
            return
        sys.stdout.flush()
        time.sleep(_FOLLOW_S)
        found = _read(readers)


def _readers(group: Group, since_ms: int) -> list[LogReader]:
    """Return a reader for each cluster: the log of a TaskManager is read once for all of its clients."""
    from tillstream.runners.flink.rest import FlinkRest
    from tillstream.runners.jobs.logs import LogReader

    clients: dict[str, list[str]] = {}
    for config in (each.load() for each in group.chosen()):
        clients.setdefault(config.flink.rest_url, []).append(config.client)
    return [LogReader(FlinkRest(url), names, since_ms) for url, names in clients.items()]


def _read(readers: list[LogReader]) -> list[Line]:
    return sorted(line for reader in readers for line in reader.read())
