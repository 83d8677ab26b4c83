"""Choose the Beam and Flink options of a client's job."""

from __future__ import annotations

import json
from typing import Any

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.bounds import BOUNDS_VARIABLE, FOLDER_VARIABLE, bounds_of
from tillstream.runners.harness import MEMORY_VARIABLE

__all__ = ["harness_environment", "job_options", "job_settings", "shadow_options"]

# The least time that a stage's bundle may stay open, and that time in polls. Beam looks at the clock of each
# stage twice in it, idle or not. Where rows wait for a checkpoint that ends all bundles, they wait for none.
_BUNDLE_MS = 50
_BUNDLE_POLLS, _BUNDLE_POLLS_OF_WAITING = 0.4, 2
# Bundles end by time: an element is a whole batch, so a count says little.
_BUNDLE_ELEMENTS_MAX = 100_000


def harness_environment(config: ClientConfig, launch: LaunchParameters | None = None) -> dict[str, str]:
    """Return the variables of the processes that run a client's stages.

    Args:
        config: the client's.
        launch: that they are of.
    """
    limit = config.flink.memory_mb_max
    environment = {BOUNDS_VARIABLE: bounds_of(config, launch).encode()}
    if limit is not None:
        environment[MEMORY_VARIABLE] = str(limit)
    if launch is not None and launch.canary is not None:
        # What processes leave behind goes with the rest of the shadow.
        environment[FOLDER_VARIABLE] = f"{launch.canary.folder}/flights"
    return environment


def shadow_options(job: str) -> dict[str, Any]:
    """Return what is different in the options of a job that only is a shadow of the client's.

    Args:
        job: its name.
    """
    return {"job_name": job, "app_name": job, "retain_externalized_checkpoints_on_cancellation": False}


def _bundle_ms(config: ClientConfig, *, bounded: bool) -> int:
    if config.source.kafka is None:
        return _BUNDLE_MS
    poll_ms, delivery = config.source.kafka.poll_interval_ms, config.delivery
    # An unaligned checkpoint overtakes what a bundle has just given away.
    aligned = not bounded and not config.flink.unaligned_checkpoints
    if aligned and delivery.guarantee == "exactly-once":
        return max(_BUNDLE_MS, min(poll_ms * _BUNDLE_POLLS_OF_WAITING, delivery.checkpoint_interval_ms))
    return max(_BUNDLE_MS, int(poll_ms * _BUNDLE_POLLS))


def job_options(config: ClientConfig, *, bounded: bool) -> dict[str, Any]:
    """Return the job's options by Beam's names; the cluster decides parallelism and restart at launch."""
    interval_ms = config.delivery.checkpoint_interval_ms
    return {
        "job_name": config.client,
        "app_name": config.client,
        # Bounded runs too: Flink's batch mode would lose the order of a shard's batches.
        "streaming": True,
        "max_parallelism": config.flink.max_parallelism,
        "max_bundle_size": _BUNDLE_ELEMENTS_MAX,
        # Beam spells it so.
        "max_bundle_time_mills": _bundle_ms(config, bounded=bounded),
        "max_cache_memory_usage_mb": config.flink.state_cache_mb,
        # Flink's own setting alone would leave the runner thinking that there are no checkpoints.
        "checkpointing_interval": -1 if bounded else interval_ms,
        # Without it a bundle's results wait a whole interval.
        "finish_bundle_before_checkpointing": True,
        "externalized_checkpoints_enabled": True,
        "retain_externalized_checkpoints_on_cancellation": True,
        "environment_type": "PROCESS",
        "experiments": ["beam_fn_api"],
    }


def job_settings(config: ClientConfig) -> dict[str, str]:
    """Return the job's settings by Flink's names; they go before the cluster's own.

    Source: Flink 1.19 documentation, "Configuration".
    """
    flink = config.flink
    incremental = flink.state_backend == "rocksdb" and flink.incremental_checkpoints
    return {
        "state.backend.type": flink.state_backend,
        # What goes from stage to stage is a batch already, and is sent at once. With Flink's default a thread
        # of each subtask looks ten times a second whether something waits to be sent.
        "execution.buffer-timeout.interval": "0 ms",
        # What a cluster gives to each slot is shared out for heaps, where RocksDB would write all the time.
        "state.backend.rocksdb.memory.fixed-per-slot": f"{flink.rocksdb_memory_mb} mb",
        "state.backend.incremental": json.dumps(incremental),
        "execution.checkpointing.unaligned.enabled": json.dumps(flink.unaligned_checkpoints),
        "execution.checkpointing.timeout": f"{flink.checkpoint_timeout_s} s",
        "execution.checkpointing.min-pause": f"{flink.checkpoint_pause_ms} ms",
        "execution.checkpointing.tolerable-failed-checkpoints": str(flink.failed_checkpoints_max),
    }
