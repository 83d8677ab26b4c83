"""Offer the runners as commands; what they need is imported when they run, to keep `--help` fast."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["run", "setup"]


class RunnerName(str, Enum):
    """Name a runner."""

    DIRECT = "direct"
    FLINK = "flink"


def run(
    config: Annotated[Path, typer.Argument(help="Config of the client, YAML.")],
    *,
    runner: Annotated[RunnerName, typer.Option(help="Where it runs.")] = RunnerName.DIRECT,
    savepoint: Annotated[
        str | None, typer.Option(help="Savepoint or checkpoint to start from (flink).")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until a bounded job has ended (flink).")] = False,
) -> None:
    """Run a client's pipeline.

    direct: in this process, what the source holds now, then the end. flink: on the cluster of the config's
    flink.rest_url, from the beginning or from a savepoint; `tillstream launch` goes on where the client was.
    """
    from tillstream.configs.cli import check
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.preflight import check_far_sides

    client = check(config)
    if runner is RunnerName.DIRECT and (wait or savepoint is not None):
        raise UserError("--wait and --savepoint are for --runner flink")
    if wait and client.source.files is None:
        raise UserError("--wait is for a files source: a job that reads from Kafka does not end")
    check_far_sides(client)
    if runner is RunnerName.DIRECT:
        from tillstream.runners import direct

        counts = direct.run(client)
        typer.echo(
            f"{client.client}: {counts['events_read']} events read, "
            f"{counts['mutations_written']} mutations written, {counts['dead_letters']} dead letters"
        )
        return
    from tillstream.runners.flink.launch import launch
    from tillstream.runners.local.toolchain import ensure_jars

    jars = ensure_jars(progress=_say)
    launched = launch(client, jars.flink_runner, savepoint=savepoint, wait=wait, progress=_say)
    typer.echo(
        f"{client.client}: job {launched.job_id} {'has ended' if wait else 'runs'}, see {launched.url}"
    )


def setup() -> None:
    """Fetch what pip cannot: the Java libraries of the local stack and of the Flink runner."""
    from tillstream.runners.local.toolchain import ensure_jars, ensure_java

    ensure_java()
    ensure_jars(progress=_say)


def _say(line: str) -> None:
    typer.echo(line, err=True)
