"""A failure is said in one sentence."""

from __future__ import annotations

import pytest

from tillstream.runners.jobs.causes import cause_of

OURS = """java.lang.RuntimeException: Error from harness for instruction 5: Traceback (most recent call last):
  File "psycopg/connection.py", line 3, in connect
psycopg.OperationalError: connection refused

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "postgres.py", line 3, in open
tillstream.pipelines.errors.SinkUnavailableError: sink warehouse: gone for 60 s:
  look at it

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "operations.py", line 4, in process
tillstream.pipelines.errors.SinkUnavailableError: sink warehouse: gone for 60 s:
  look at it [while running 'WriteSinks/warehouse']

\tat org.apache.beam.Something
Caused by: java.util.concurrent.ExecutionException: later
"""
THEIRS = """java.lang.RuntimeException: Traceback (most recent call last):
  File "sales.py", line 3, in process
acme_transforms.NoSuchError: no such amount [while running 'TransformChanges/sales']
\tat org.apache.beam.Something
"""
JAVA = """java.lang.RuntimeException: outer
\tat a.B
Caused by: org.apache.flink.SomeException: middle
\tat a.B
Caused by: java.lang.IllegalStateException: Process died with exit code 137
\tat c.D
"""


@pytest.mark.parametrize(
    ("trace", "cause"),
    [
        (OURS, "sink warehouse: gone for 60 s: look at it"),
        (THEIRS, "NoSuchError: no such amount"),
        (JAVA, "Process died with exit code 137"),
        ("job j is FAILED, and not all of its tasks run", "job j is FAILED, and not all of its tasks run"),
        ("", ""),
        (
            "x.JobException: y\nCaused by: x.E: Could not acquire the minimum required resources.\n\tat a.B",
            "Flink has too few free slots: a TaskManager is gone, or has not come up yet",
        ),
        (
            "java.lang.IllegalStateException: call already cancelled. Use ServerCallStreamObserver.setOn",
            "a Python process of the job has ended",
        ),
    ],
)
def test_the_innermost_words_count(trace: str, cause: str) -> None:
    """Those of tillstream before those of Python, and those before Java's."""
    assert cause_of(trace) == cause


def test_a_long_one_is_cut() -> None:
    """A log has the whole."""
    assert len(cause_of("x" * 10_000)) == 500
