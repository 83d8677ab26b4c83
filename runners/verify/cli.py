"""Offer the proof as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["verify"]

_BACKENDS = ("hashmap", "rocksdb")


def verify(
    *,
    sink: Annotated[
        str, typer.Option(help="Sinks to compare, with commas: postgres, kafka, files, or all.")
    ] = "all",
    faults: Annotated[
        str,
        typer.Option(
            help="Faults, with commas: taskmanager, jobmanager, zookeeper, harness, kafka, connect, "
            "warehouse (each killed), zombie, slow, failing, rescale, or all."
        ),
    ] = "all",
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="Rounds of one or two faults.")] = 3,
    seed: Annotated[
        int | None, typer.Option(help="Seed of workload and faults; random and printed by default.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=1, max=20_000, help="Row changes a second; five times as many in bursts.")
    ] = 300.0,
    state_backend: Annotated[
        str, typer.Option(metavar="hashmap|rocksdb", help="Where the job's state is: flink.state_backend.")
    ] = "hashmap",
    unaligned: Annotated[bool, typer.Option("--unaligned", help="With flink.unaligned_checkpoints.")] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", file_okay=False, help="Folder of a stack of its own; a new one by default."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object in the last line.")
    ] = False,
) -> None:
    """Prove that nothing is lost and nothing doubled, whatever is killed.

    Commits a seeded workload through the local stack, kills and pauses its parts, fails its transactions,
    rescales the job, and compares every sink with what was committed, record by record, the order of each
    key included.
    Exit code 0 means that every sink is exact.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.runners.verify.command import run

    if state_backend not in _BACKENDS:
        raise UserError(f"--state-backend: found {state_backend!r}, expected {' or '.join(_BACKENDS)}")
    report, replay = run(
        sinks=sink,
        faults=faults,
        rounds=rounds,
        seed=seed,
        rate_per_s=rate,
        flink={"state_backend": state_backend, "unaligned_checkpoints": unaligned},
        folder=directory,
        say=typer.echo,
    )
    typer.echo(report.verdict())
    if not report.is_exact:
        typer.echo(f"replay it with: {replay}")
    if as_json:
        typer.echo(report.json_line())
    raise typer.Exit(0 if report.is_exact else 1)
