"""Spread a job's stages over Python processes, because one process uses hardly more than one core.

Beam starts one harness for each environment of a pipeline that differs from the others. Flink's uids are
made of labels and of the environment's URN, not of its id: a savepoint fits any number of processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apache_beam.portability.api import beam_runner_api_pb2

__all__ = ["READING", "STAGES_VARIABLE", "spread"]

# Tells the environments apart, and shows in a process's environment which stages it runs.
STAGES_VARIABLE = "TILLSTREAM_STAGES"
# Ends the id of the environment of the reading stages, and is what the variable says in it.
READING = "reading"
_READING = frozenset({"Ticks", "ReadChanges", "ReadBounded"})


def spread(pipeline: beam_runner_api_pb2.Pipeline, processes: int) -> None:
    """Give the reading stages of a pipeline a process of their own.

    Args:
        pipeline: its transforms share one environment; changed in place.
        processes: 1 leaves it as it is.
    """
    if processes == 1:
        return
    (shared,) = {each.environment_id for each in pipeline.components.transforms.values()} - {""}
    environments = pipeline.components.environments
    reading = f"{shared}_{READING}"
    # Their payloads, which tell them apart, are a matter of the launch (`template.launchable`).
    environments[reading].CopyFrom(environments[shared])
    for transform in pipeline.components.transforms.values():
        if transform.environment_id and transform.unique_name.partition("/")[0] in _READING:
            transform.environment_id = reading
