"""Offer rescaling as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tillstream.runners.jobs.many import (
    AsJson,
    AtOnce,
    Clients,
    Done,
    Everyone,
    Folder,
    Group,
    Labels,
    carry_out,
)

if TYPE_CHECKING:
    from tillstream.runners.jobs.job import Say
    from tillstream.runners.jobs.selection import Chosen

__all__ = ["rescale"]


def rescale(
    *,
    clients: Clients = None,
    parallelism: Annotated[int, typer.Argument(min=1, help="Subtasks of each stage.")],
    everyone: Everyone = False,
    label: Labels = None,
    folder: Folder = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Longest wait for the savepoint, and for the start, seconds.")
    ] = 120.0,
    at_once: AtOnce = 1,
    as_json: AsJson = False,
) -> None:
    """Change how many subtasks clients' jobs have, with all of their state.

    Stops the job with a savepoint and starts the same template from it. Where it does not start, it is
    started as it was. Exit code 0 means that it has the parallelism, 1 that it could not, and runs as before.
    """
    from tillstream.runners.jobs.rescale import rescale as work

    def one(chosen: Chosen, say: Say) -> Done:
        return work(chosen, say, parallelism, timeout)

    carry_out(Group(clients, everyone, label, folder, at_once), one, as_json=as_json)
