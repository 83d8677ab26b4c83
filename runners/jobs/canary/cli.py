"""Offer the canary's choices as options of a command, without importing what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.pipelines.errors import UserError

if TYPE_CHECKING:
    from tillstream.runners.jobs.canary.options import CanaryOptions

__all__ = [
    "Canary",
    "CanaryFolder",
    "CanaryFor",
    "CanaryTimeout",
    "DiffFile",
    "ExpectChanges",
    "Tolerate",
    "chosen_canary",
]

Canary = Annotated[
    bool,
    typer.Option(
        "--canary",
        help="First run both versions over the same changes, beside the running job and into files, and "
        "refuse a version that writes something else.",
    ),
]
CanaryFor = Annotated[
    float | None,
    typer.Option(min=0, help="How long changes are gathered for the canary, seconds; default: 30."),
]
CanaryTimeout = Annotated[
    float | None,
    typer.Option(min=1, help="How long either version may take for them, seconds; default: 300."),
]
CanaryFolder = Annotated[
    Path | None, typer.Option(help="Folder of the canary's files, which TaskManagers see too.")
]
Tolerate = Annotated[
    list[str] | None,
    typer.Option(metavar="ENTITY[.COLUMN]", help="What is meant to change; repeated for more."),
]
ExpectChanges = Annotated[
    bool, typer.Option("--expect-changes", help="Show what the canary finds, and go on all the same.")
]
DiffFile = Annotated[
    Path | None, typer.Option(help="File for every difference that the canary finds, JSON lines.")
]


def chosen_canary(
    *,
    canary: bool,
    seconds: float | None,
    timeout_s: float | None,
    folder: Path | None,
    tolerate: Sequence[str] | None,
    expect_changes: bool,
    diff_file: Path | None,
    clients: int,
) -> CanaryOptions | None:
    """Return the canary that a command's options ask for; None without one.

    Args:
        canary: whether there is to be one.
        seconds: `--canary-for`.
        timeout_s: `--canary-timeout`.
        folder: `--canary-folder`.
        tolerate: `--tolerate`.
        expect_changes: `--expect-changes`.
        diff_file: `--diff-file`.
        clients: how many clients the command is for.

    Raises:
        UserError: if options of a canary are there without it, or several clients would share a file.
    """
    if not canary:
        given = {
            "--canary-for": seconds,
            "--canary-timeout": timeout_s,
            "--canary-folder": folder,
            "--tolerate": tolerate,
            "--expect-changes": expect_changes,
            "--diff-file": diff_file,
        }
        lone = [name for name, value in given.items() if value not in (None, False, [], ())]
        if lone:
            raise UserError(f"found {', '.join(lone)} without --canary, expected it too")
        return None
    if diff_file is not None and clients > 1:
        raise UserError(f"found --diff-file for {clients} clients, expected one: each would overwrite it")
    from tillstream.runners.jobs.canary.options import CanaryOptions

    chosen = CanaryOptions(
        tolerate=tuple(tolerate or ()), expect_changes=expect_changes, diff_file=diff_file, folder=folder
    )
    if seconds is not None:
        chosen = replace(chosen, seconds=seconds)
    return chosen if timeout_s is None else replace(chosen, deadline_s=timeout_s)
