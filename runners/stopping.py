"""End a job that has stopped itself, so that Flink does not start it again and again.

Flink's restart strategy has no end here, because outages must pass by themselves; it cannot tell one error
from another. So the process that finds that its job has stopped itself asks the cluster to cancel it. What
was raised stays in the job's exceptions, and its newest checkpoint is retained.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tillstream.pipelines.errors import TillstreamError
from tillstream.pipelines.isolation.budget import StopNote

__all__ = ["obey_stop"]

_logger = logging.getLogger(__name__)


def obey_stop(folder: Path, client: str, rest_url: str) -> None:
    """Cancel a client's job if the folder of its launch holds a note; without an answer the note stays.

    Args:
        folder: of the launch.
        client: name of the job.
        rest_url: of the cluster.
    """
    note = StopNote.read(folder)
    if note is None:
        return
    from tillstream.runners.flink.rest import FlinkRest

    rest = FlinkRest(rest_url)
    try:
        for job_id in rest.running(client):
            rest.ask_to_cancel(job_id)
            StopNote.path(folder).unlink(missing_ok=True)
    except TillstreamError as error:
        # The job's own steps raise the note's reason then, at each restart.
        _logger.error("%s; cannot cancel it: %s", note.reason, error)  # noqa: TRY400
