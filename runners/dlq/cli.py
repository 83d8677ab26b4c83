"""Offer dead letters as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

import datetime as dt
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tillstream.configs import ClientConfig
    from tillstream.io.sinks.letter_store import Filters, LetterStore, StoredLetter
    from tillstream.runners.dlq.give_back import Outcome

__all__ = ["dlq"]

dlq = typer.Typer(
    help="Look at dead letters, give them back to the job, or give them up.", no_args_is_help=True
)

_Config = Annotated[Path, typer.Argument(help="Config of the client, YAML.")]
_Ids = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Letters, by the beginning of their identity.")
]
_Entity = Annotated[str | None, typer.Option(help="Only letters of this entity.")]
_Step = Annotated[str | None, typer.Option(help="Only of this step: read, transform, trust or write.")]
_Reason = Annotated[str | None, typer.Option(help="Only with this reason.")]
_Of = Annotated[str | None, typer.Option("--of", help="Only of this transform, with its version or without.")]
_Transform = Annotated[
    str | None,
    typer.Option("--of", "--transform", help="Only of this transform, with its version or without."),
]
_Key = Annotated[str | None, typer.Option(help="Only of this key, or with this value of a key's column.")]
_Topic = Annotated[str | None, typer.Option(help="Only of records of this topic.")]
_FORMATS = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]
_Since = Annotated[
    dt.datetime | None,
    typer.Option(formats=_FORMATS, help="Only recorded then or later; UTC without a zone."),
]
_Until = Annotated[dt.datetime | None, typer.Option(formats=_FORMATS, help="Only recorded before then.")]
_Status = Annotated[
    str, typer.Option(help="Only with this status: open, replayed, superseded, discarded, or all.")
]
_Limit = Annotated[int, typer.Option(min=1, help="Most letters, oldest first.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, one letter a line.")]
_Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print which letters it would be, and do nothing.")]
_Wait = Annotated[float, typer.Option(min=0, help="Longest wait for the job's answer, seconds; 0 for none.")]

_SHOWN_MAX = 60
_ID = 12


@dlq.command("list")
def list_(
    config: _Config,
    *,
    entity: _Entity = None,
    step: _Step = None,
    reason: _Reason = None,
    of: _Transform = None,
    key: _Key = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    status: _Status = "open",
    limit: _Limit = 100,
    as_json: _Json = False,
) -> None:
    """List dead letters, oldest first."""
    _, store = _opened(config)
    filters = _filters(entity, step, reason, of, key, topic, since, until, status)
    with closing(store):
        _print(store.select(filters, limit), as_json=as_json)


@dlq.command()
def show(
    config: _Config,
    letter: Annotated[str, typer.Argument(help="The beginning of its identity.")],
    *,
    as_json: _Json = False,
) -> None:
    """Show all of one dead letter: traceback and payload too."""
    _, store = _opened(config)
    with closing(store):
        (stored,) = _named(store, [letter])
    if as_json:
        _print([stored], as_json=True)
        return
    for name, value in _line(stored).items():
        if value is not None and name not in ("version", "traceback", "payload"):
            typer.echo(f"{name:15} {value if isinstance(value, str) else json.dumps(value)}")
    for name in ("traceback", "payload"):
        text = _line(stored).get(name)
        if text is not None:
            typer.echo(f"\n{name}\n{text.rstrip()}")


@dlq.command()
def replay(
    config: _Config,
    ids: _Ids = None,
    *,
    transform: Annotated[
        str | None, typer.Option(help="Apply this version, client.name@1.2.3, and not the job's own.")
    ] = None,
    entity: _Entity = None,
    step: _Step = None,
    reason: _Reason = None,
    of: _Of = None,
    key: _Key = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    limit: _Limit = 1000,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    wait: _Wait = 60.0,
    as_json: _Json = False,
) -> None:
    """Give dead letters back to the running job, in the order in which their records were read.

    Each is applied once. Exit code 0 says that all were delivered or superseded.
    """
    from tillstream.runners.dlq import give_back

    client, store = _opened(config)
    with closing(store):
        filters = _filters(entity, step, reason, of, key, topic, since, until, "open")
        letters = _chosen(store, ids, filters, limit)
        if transform is not None:
            give_back.check_transform(client, letters, transform)
        if not _agreed(
            letters, f"replay by {transform or 'the version that runs'}", yes=yes, dry_run=dry_run
        ):
            return
        _report(store, give_back.replay(client, letters, transform or ""), wait, as_json=as_json)


@dlq.command()
def discard(
    config: _Config,
    ids: _Ids = None,
    *,
    entity: _Entity = None,
    step: _Step = None,
    reason: _Reason = None,
    of: _Transform = None,
    key: _Key = None,
    topic: _Topic = None,
    since: _Since = None,
    until: _Until = None,
    limit: _Limit = 1000,
    yes: _Yes = False,
    dry_run: _DryRun = False,
    wait: _Wait = 60.0,
    as_json: _Json = False,
) -> None:
    """Give dead letters up; a key that waits for one goes on without it."""
    from tillstream.runners.dlq import give_back

    client, store = _opened(config)
    with closing(store):
        filters = _filters(entity, step, reason, of, key, topic, since, until, "open")
        letters = _chosen(store, ids, filters, limit)
        if not _agreed(letters, "discard", yes=yes, dry_run=dry_run):
            return
        outcome = give_back.discard(client, store, letters)
        done = [each for each in letters if each.id not in outcome.sent and each.id not in outcome.refused]
        if done and not as_json:
            typer.echo(f"{len(done)} discarded")
        _report(store, outcome, wait, as_json=as_json)


def _opened(path: Path) -> tuple[ClientConfig, LetterStore]:
    from tillstream.configs.cli import check
    from tillstream.io.sinks.letter_store import open_store

    client = check(path)
    return client, open_store(client)


def _filters(  # noqa: PLR0917  (as the commands' options come)
    entity: str | None,
    step: str | None,
    reason: str | None,
    of: str | None,
    key: str | None,
    topic: str | None,
    since: dt.datetime | None,
    until: dt.datetime | None,
    status: str,
) -> Filters:
    from tillstream.io.sinks.letter_store import Filters
    from tillstream.pipelines.errors import UserError

    known = ("open", "replayed", "superseded", "discarded", "all")
    if status not in known:
        raise UserError(f"--status: found {status!r}, expected one of {', '.join(known)}")
    asked = None if status == "all" else status
    return Filters(entity, step, reason, of, key, topic, _aware(since), _aware(until), asked)


def _aware(time: dt.datetime | None) -> dt.datetime | None:
    return time.replace(tzinfo=dt.timezone.utc) if time is not None and time.tzinfo is None else time


def _chosen(
    store: LetterStore, ids: list[str] | None, filters: Filters, limit: int
) -> Sequence[StoredLetter]:
    return _named(store, ids) if ids else store.select(filters, limit)


def _named(store: LetterStore, ids: list[str]) -> list[StoredLetter]:
    from tillstream.pipelines.errors import UserError

    letters: list[StoredLetter] = []
    for each in dict.fromkeys(ids):
        found = store.find(each.lower())
        if len(found) != 1:
            which = "none" if not found else ", ".join(stored.id[: len(each) + 4] for stored in found[:5])
            raise UserError(
                f"letter {each!r}: found {which}, expected the beginning of one letter's identity"
            )
        letters += found
    return letters


def _agreed(letters: Sequence[StoredLetter], what: str, *, yes: bool, dry_run: bool) -> bool:
    from tillstream.pipelines.errors import UserError

    if not letters:
        typer.echo("no open letter", err=True)
        return False
    if dry_run:
        typer.echo(f"would {what}:", err=True)
        _print(letters, as_json=False)
        return False
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UserError(f"{what}: {len(letters)} letters; say --yes where nobody can be asked")
    _print(letters, as_json=False)
    typer.confirm(f"{what}: {len(letters)} letters?", abort=True, err=True)
    return True


def _report(store: LetterStore, outcome: Outcome, wait_s: float, *, as_json: bool) -> None:
    """Print what became of each letter; exit with 1 unless all are solved."""
    from tillstream.runners.dlq.give_back import wait_for

    good = not outcome.refused
    heard = wait_for(store, outcome, wait_s) if wait_s else dict.fromkeys(outcome.sent)
    lines: list[dict[str, Any]] = [
        {"id": each, "status": "refused", "detail": why} for each, why in outcome.refused.items()
    ]
    for identity, stored in heard.items():
        if stored is None:
            said = "sent" if not wait_s else "not answered yet: is the job running, and by this config?"
            lines.append({"id": identity, "status": "sent", "detail": said})
            good = good and not wait_s
            continue
        is_open = stored.letter.status == "open"
        good = good and not is_open
        detail = f"{stored.letter.reason}: {stored.letter.detail}" if is_open else stored.resolution
        lines.append({"id": identity, "status": stored.letter.status, "detail": detail or ""})
    for line in lines:
        typer.echo(
            json.dumps(line) if as_json else f"{line['id'][:_ID]} {line['status']} {line['detail']}".rstrip()
        )
    if not good:
        raise typer.Exit(1)


def _line(stored: StoredLetter) -> dict[str, Any]:
    import base64

    from tillstream.io.sinks.letters import letter_line

    line = letter_line(stored.letter)
    encoded = {
        name: base64.b64encode(value).decode() for name, value in line.items() if isinstance(value, bytes)
    }
    resolved_at = None if stored.resolved_at is None else stored.resolved_at.isoformat()
    return {
        **line,
        **encoded,
        "recorded_at": stored.recorded_at.isoformat(),
        "resolved_at": resolved_at,
        "resolution": stored.resolution,
    }


def _print(letters: Sequence[StoredLetter], *, as_json: bool) -> None:
    if as_json:
        for stored in letters:
            typer.echo(json.dumps(_line(stored)))
        return
    rows = [("ID", "RECORDED", "STATUS", "ENTITY", "STEP", "REASON", "KEY", "PLACE", "DETAIL")]
    for stored in letters:
        letter = stored.letter
        rows.append(
            (
                stored.id[:_ID],
                f"{stored.recorded_at.astimezone(dt.timezone.utc):%Y-%m-%dT%H:%M:%S}Z",
                letter.status,
                letter.entity or "-",
                letter.step,
                letter.reason,
                _short((letter.key or b"-").decode("utf-8", "replace")),
                f"{letter.topic}[{letter.partition}]@{letter.offset}",
                _short(letter.detail),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_MAX else f"{line[: _SHOWN_MAX - 3]}..."
