"""End a job that has stopped itself, so that Flink does not start it again and again.

Flink's restart strategy has no end here, because outages must pass by themselves; it cannot tell one error
from another. So the process that finds that its job has stopped itself asks the cluster to cancel it. What
was raised stays in the job's exceptions, and its newest checkpoint is retained.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.pipelines.errors import TillstreamError
from tillstream.pipelines.isolation.budget import STOPPED, StopNote

if TYPE_CHECKING:
    from tillstream.runners.flink.rest import FlinkRest

__all__ = ["obey_stop", "stop_of"]

_REASON = re.compile(rf"{re.escape(STOPPED)}.*")
_logger = logging.getLogger(__name__)


def obey_stop(folder: Path, job: str, rest_url: str) -> None:
    """Cancel a job if the folder of its launch holds a note; without an answer the note stays.

    Args:
        folder: of the launch.
        job: its name on the cluster.
        rest_url: of the cluster.
    """
    note = StopNote.read(folder)
    if note is None:
        return
    # With requests, which a process needs for this alone.
    from tillstream.runners.flink.rest import FlinkRest

    rest = FlinkRest(rest_url)
    try:
        for job_id in rest.running(job):
            rest.ask_to_cancel(job_id)
            StopNote.path(folder).unlink(missing_ok=True)
    except TillstreamError as error:
        # The job's own steps raise the note's reason then, at each restart.
        _logger.error("%s; cannot cancel it: %s", note.reason, error)  # noqa: TRY400


def stop_of(rest: FlinkRest, client: str) -> str | None:
    """Return why a client's last job has stopped itself, and from where it can go on; None if it has not.

    Args:
        rest: of the cluster, which remembers its last jobs.
        client: name of the job.
    """
    jobs = [job for job in rest.jobs() if job["name"] == client]
    if not jobs:
        return None
    last = max(jobs, key=lambda job: int(job["start-time"]))
    found = _REASON.search(rest.root_cause(last["jid"])) if last["state"] == "CANCELED" else None
    if found is None:
        return None
    newest = (rest.checkpoints(last["jid"]).get("latest") or {}).get("completed") or {}
    return f"job {last['jid']}: {found[0].strip()} Its newest checkpoint: {newest.get('external_path')}"
