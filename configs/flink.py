"""Say how a client's job runs on Flink."""

from typing import Annotated, Literal

from pydantic import Field

from tillstream.configs.base import NO_TRUTH, ConfigModel, Interpolated, Number

__all__ = ["FLINK_DEFAULTS", "Flink"]


class Flink(ConfigModel):
    """Say how the job runs on Flink."""

    rest_url: Interpolated = Field(
        default="${TILLSTREAM_FLINK:-http://127.0.0.1:8081}",
        validate_default=True,
        description="The cluster's REST address.",
    )
    parallelism: Number = Field(
        default=1,
        ge=1,
        le=128,
        description="Subtasks of each stage at a launch; `tillstream rescale` changes a job that runs.",
    )
    max_parallelism: Number = Field(
        default=128,
        ge=1,
        le=32768,
        description="Key groups; bounds parallelism, and is fixed while state lives.",
    )
    shards: Number = Field(
        default=16, ge=1, le=1024, description="Parts of the key space; fixed while state lives."
    )
    processes: Number = Field(
        default=1,
        ge=1,
        le=2,
        description="Python processes in each TaskManager; with 2, one reads while the other transforms.",
    )
    memory_mb_max: Annotated[int, Field(ge=256), NO_TRUTH] | None = Field(
        default=2048,
        description=(
            "Limit of each Python process's heap and private mappings, mebibytes; some 400 of them are "
            "Python and Beam. null: none, so that a leak fills the machine."
        ),
    )
    state_cache_mb: Number = Field(
        default=64, ge=1, description="State kept in the Python process, mebibytes."
    )
    state_backend: Literal["hashmap", "rocksdb"] = Field(
        default="hashmap",
        description=(
            "Where Flink keeps state. hashmap: on the TaskManager's heap. rocksdb: on its disk, for what "
            "outgrows the heap. Change it from a savepoint, not from a checkpoint."
        ),
    )
    rocksdb_memory_mb: Number = Field(
        default=64,
        ge=16,
        description="With rocksdb: its caches and write buffers in each slot, beside the heap, mebibytes.",
    )
    incremental_checkpoints: bool = Field(
        default=True, description="With rocksdb: write what has changed since the last checkpoint only."
    )
    unaligned_checkpoints: bool = Field(
        default=False,
        description=(
            "Let checkpoints overtake what is under way between stages, and hold that too: they are sooner "
            "complete while a stage is behind, and larger then."
        ),
    )
    checkpoint_timeout_s: Number = Field(
        default=600, ge=1, description="How long a checkpoint may take before it has failed, seconds."
    )
    checkpoint_pause_ms: Number = Field(
        default=0,
        ge=0,
        description="Least time from the end of a checkpoint to the next one, milliseconds.",
    )
    failed_checkpoints_max: Number = Field(
        default=5,
        ge=0,
        description="Checkpoints that may fail one after the other before the job is restarted.",
    )


FLINK_DEFAULTS = {
    name: int(Flink.model_fields[name].default) for name in ("parallelism", "max_parallelism", "shards")
}
