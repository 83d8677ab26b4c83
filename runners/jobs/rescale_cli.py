"""Offer rescaling as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from tillstream.runners.jobs.many import AsJson, Done, Group, carry_out
from tillstream.runners.jobs.selection import Chosen

__all__ = ["rescale"]


def rescale(
    client: Annotated[str, typer.Argument(help="Name of a client, or path of its config.")],
    parallelism: Annotated[int, typer.Argument(min=1, help="Subtasks of each stage.")],
    *,
    timeout: Annotated[
        float, typer.Option(min=1, help="Longest wait for the savepoint, and for the start, seconds.")
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Change how many subtasks a client's job has, with all of its state.

    Stops the job with a savepoint and starts the same template from it. Where it does not start, it is
    started as it was. Exit code 0 means that it has the parallelism, 1 that it could not, and runs as before.
    """
    from tillstream.runners.jobs.rescale import rescale as work

    def one(chosen: Chosen, say: Callable[[str], None]) -> Done:
        return work(chosen, say, parallelism, timeout)

    carry_out(Group([client]), one, as_json=as_json)
