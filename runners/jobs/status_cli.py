"""Offer the status of clients' jobs as a command; what it needs is imported when it runs."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.runners.jobs.many import AsJson, Clients, Everyone, Folder, Group, Labels, table

if TYPE_CHECKING:
    from tillstream.runners.jobs.selection import Chosen
    from tillstream.runners.jobs.status import Status

__all__ = ["status"]

_WATCH_S = 2.0
_POLL_S = 0.5
_CLEARED = "\033[2J\033[H"
_AT_ONCE = 8
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400
_KIB = 1024


def status(
    clients: Clients = None,
    *,
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again each two seconds.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Longest wait until all are well, seconds; then it is shown.")
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Show how clients' jobs do: state, version, checkpoints, failures, lag. Exits with 1 if one is unwell.

    Paused and cancelled jobs are as somebody wanted them, and files that were read to their end, hence well.
    """
    from tillstream.pipelines.errors import UserError

    if watch and (as_json or wait):
        raise UserError("found --watch beside --json or --wait, expected one of them")
    chosen = Group(clients, everyone, label, folder).chosen()
    end_s = time.monotonic() + wait
    while True:
        with ThreadPoolExecutor(min(_AT_ONCE, len(chosen))) as pool:
            found = list(pool.map(_status, chosen))
        if time.monotonic() < end_s and not all(each.is_healthy for each in found):
            time.sleep(_POLL_S)
            continue
        if watch:
            typer.echo(_CLEARED, nl=False)
        _print(found, as_json=as_json)
        if not watch:
            break
        time.sleep(_WATCH_S)
    if not all(each.is_healthy for each in found):
        raise typer.Exit(1)


def _status(chosen: Chosen) -> Status:
    from tillstream.pipelines.errors import TillstreamError
    from tillstream.runners.jobs.status import Status, status_of

    try:
        return status_of(chosen.load())
    except TillstreamError as error:
        return Status(chosen.client, "unknown", is_healthy=False, cause=str(error), troubles=(str(error),))


def _print(found: list[Status], *, as_json: bool) -> None:
    import msgspec

    if as_json:
        typer.echo(json.dumps({"clients": [msgspec.to_builtins(each) for each in found]}))
        return
    head = ("CLIENT", "STATE", "SINCE", "JOB", "TRANSFORMS", "PAR", "CHECKPOINT", "FAILED", "RESTARTS", "LAG")
    table((*head, "READ", "LETTERS"), [_row(each) for each in found])
    for each in found:
        if each.canary:
            typer.echo(f"{each.client}: a canary runs: {', '.join(each.canary)}")
        for trouble in each.troubles:
            typer.echo(f"{each.client}: {trouble}")


def _row(each: Status) -> tuple[str, ...]:
    point = each.checkpoint
    taken = "-" if point is None else "none yet"
    if point is not None and point.age_s is not None:
        taken = f"{_age(point.age_s)} ago, {_size(point.size_bytes or 0)}, {point.duration_ms} ms"
    versions = [f"{entity}={transform}" for entity, transform in each.transforms.items()]
    return (
        each.client,
        each.state if each.is_healthy else f"{each.state} (!)",
        (each.since or "-")[:19],
        (each.job_id or "-")[:8],
        " ".join(versions) or "-",
        _shown(each.parallelism),
        each.savepoint or "-" if point is None else taken,
        "-" if point is None else str(point.failed),
        _shown(each.restarts),
        _shown(each.lag),
        _shown(each.events_read),
        _shown(each.dead_letters),
    )


def _shown(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _age(seconds: float) -> str:
    for unit_s, unit in ((_DAY_S, "d"), (_HOUR_S, "h"), (_MINUTE_S, "min")):
        if seconds >= unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < _KIB or unit == "GiB":
            break
        size /= _KIB
    return f"{size:.0f} {unit}"
