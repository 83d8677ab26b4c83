"""Size the local stack's Flink and its warehouse by the number of jobs that are to run in it.

What is set are limits. How much of them a job takes was measured with `python -m benchmarks.fleet`
(docs/decisions/0026-a-hundred-jobs.md).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SLOTS", "Sizes"]

# Of a stack that is told nothing else; a job of parallelism n takes n of them.
SLOTS = 8
# From here on they are taken to rest most of the time.
_MANY = 32
_SESSION_MS, _SESSION_OF_MANY_MS = 6_000, 30_000
_HEARTBEAT_MS, _HEARTBEAT_OF_MANY_MS = 1_000, 5_000
_CONNECTIONS = 100
_CONNECTIONS_OF_A_JOB = 3


@dataclass(frozen=True)
class Sizes:
    """Name limits in mebibytes, as Flink's own scripts compute them from one figure.

    Attributes:
        slots: of the TaskManager.
    """

    slots: int = SLOTS

    @property
    def are_many(self) -> bool:
        """Tell whether jobs rest most of the time: what speeds up a busy one costs too much for all."""
        return self.slots >= _MANY

    @property
    def _more(self) -> int:
        return max(0, self.slots - SLOTS)

    @property
    def task_heap_mb(self) -> int:
        """Return the heap of jobs in the TaskManager."""
        return 896 + 10 * self._more

    @property
    def task_off_heap_mb(self) -> int:
        """Return their direct memory: most is gRPC's."""
        return 64 + 3 * self._more

    @property
    def network_mb(self) -> int:
        """Return the buffers between tasks: a stage boundary of a job takes five of 32 KiB at least."""
        return 128 + 2 * self._more

    @property
    def metaspace_mb(self) -> int:
        """Return the classes: each job has a loader of its own."""
        return 256 + 4 * self._more

    @property
    def jobmanager_heap_mb(self) -> int:
        """Return the JobManager's heap, with the dashboard's memory of ended jobs."""
        return 512 + 6 * self._more

    @property
    def session_ms(self) -> int:
        """Return how long ZooKeeper waits for a JobManager or TaskManager that says nothing.

        One that was killed is followed only then. One that merely waits for a processor must keep its
        session: all jobs start again when it is lost, which makes processors scarcer.
        """
        return _SESSION_OF_MANY_MS if self.are_many else _SESSION_MS

    @property
    def heartbeat_ms(self) -> int:
        """Return how often each job's master and the TaskManager tell each other that they live."""
        return _HEARTBEAT_OF_MANY_MS if self.are_many else _HEARTBEAT_MS

    @property
    def connections(self) -> int:
        """Return how many the warehouse takes."""
        return _CONNECTIONS + _CONNECTIONS_OF_A_JOB * self._more
