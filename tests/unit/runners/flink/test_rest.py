"""What is asked of a cluster bears with a job that is being started again, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.runners.flink.rest import FlinkRest, JobFailedError

# As Flink 1.19 words it.
STARTING = (
    "java.util.concurrent.CompletionException: org.apache.flink.runtime.checkpoint.CheckpointException: "
    "Checkpoint triggering task Source: Clock -> Ticks (1/1) of job 1f is not being executed at the moment. "
    "Aborting checkpoint. Failure reason: Not all required tasks are currently running.\n\tat a.b(C.java:1)"
)
# Of a TaskManager that was killed, and that the JobManager has not missed yet.
GONE = (
    "java.util.concurrent.CompletionException: org.apache.flink.runtime.rpc.exceptions."
    "RecipientUnreachableException: Could not send message [RemoteRpcInvocation()] from sender [Actor[a]] to "
    "recipient [Actor[b]], because the recipient is unreachable. This can either mean "
    "that the recipient has been terminated or that the remote RpcService is not reachable.\n\tat a.b(C)"
)
FAILED = (
    "java.util.concurrent.CompletionException: x.CheckpointException: Task has failed.\n\tat a.b(C.java:1)\n"
    "Caused by: java.io.IOException: the disk is full\n\tat a.c(C.java:2)"
)


class Rest(FlinkRest):
    """Be a cluster whose savepoints fail for some reasons, one after another, and then succeed."""

    def __init__(self, *failures: str) -> None:
        super().__init__("http://cluster")
        self.failures = list(failures)
        self.looks = 0

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        del arguments
        if method == "POST":
            return {"request-id": "r"}
        if path == "/jobs/1f":
            self.looks += 1
            status = "RUNNING" if self.looks > 1 else "INITIALIZING"
            return {"state": "RUNNING", "vertices": [{"status": status}]}
        if self.failures:
            return {"operation": {"failure-cause": {"stack-trace": self.failures.pop(0)}}}
        return {"operation": {"location": "file:/s"}}


def test_a_savepoint_waits_for_a_job_that_is_being_started() -> None:
    """The tasks are waited for, and it is asked for again."""
    rest = Rest(GONE, STARTING)
    assert rest.savepoint("1f", stop=True) == "file:/s"
    assert rest.looks > 1


def test_a_savepoint_that_fails_says_why_in_a_sentence() -> None:
    """Another failure is no matter of time; of Java's stack the innermost cause is left."""
    with pytest.raises(JobFailedError, match=r"^savepoint of job 1f: the disk is full$"):
        Rest(FAILED).savepoint("1f", stop=True)


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that never comes to run has no savepoint."""
    monkeypatch.setattr("tillstream.runners.flink.rest._RESTART_S_MAX", 0.0)
    with pytest.raises(JobFailedError, match="is not being executed at the moment"):
        Rest(*[STARTING] * 3).savepoint("1f", stop=True)
