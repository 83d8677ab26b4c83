"""Tell which values of a config a built job leaves open, and which shaped it.

Stages, their state and what is in them are fixed when a template is built. Addresses, bounds and what the job
reads anew at each start may differ from launch to launch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tillstream.configs.launching import differences

__all__ = ["is_open", "open_differences", "pointer_of"]

# A star stands for any name. What lies below is open too.
_OPEN = (
    ("source", "kafka"),
    ("source", "files"),
    ("source", "events", "schema_registry"),
    ("source", "events", "avro_schema_file"),
    ("source", "events", "avro_key_schema_file"),
    ("sinks", "*"),
    ("flink", "rest_url"),
    ("flink", "parallelism"),
    ("flink", "memory_mb_max"),
    ("flink", "state_cache_mb"),
    ("flink", "state_backend"),
    ("flink", "rocksdb_memory_mb"),
    ("flink", "incremental_checkpoints"),
    ("flink", "unaligned_checkpoints"),
    ("flink", "checkpoint_timeout_s"),
    ("flink", "checkpoint_pause_ms"),
    ("flink", "failed_checkpoints_max"),
    ("delivery", "checkpoint_interval_ms"),
    ("privacy", "salt"),
    ("limits",),
    ("capture",),
)
# The clock's own interval is part of its stage.
_FIXED = (("source", "kafka", "poll_interval_ms"), ("sinks", "*", "type"))
# Of these another kind would be another job.
_KINDS = (("source", "kafka"), ("source", "files"), ("sinks", "*"))


def pointer_of(path: tuple[str | int, ...]) -> str:
    """Return a place as a JSON pointer (RFC 6901)."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def is_open(path: tuple[str | int, ...]) -> bool:
    """Tell whether a launch may fix the value at a place."""
    return any(_below(path, each) for each in _OPEN) and not any(_below(path, each) for each in _FIXED)


def open_differences(built: Mapping[str, Any], launched: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a launch puts in place of what was built, by JSON pointer; what is fixed stays.

    Args:
        built: config that a template was built of, as JSON values.
        launched: config whose addresses and bounds are wanted.
    """
    return _open(built, launched, ())


def _open(built: Any, launched: Any, path: tuple[str, ...]) -> dict[str, Any]:
    if any(len(path) == len(each) and _below(path, each) for each in _OPEN):
        return {} if _other_kind(built, launched, path) else _kept(differences(built, launched), path)
    if not isinstance(built, Mapping) or not isinstance(launched, Mapping):
        return {}
    found: dict[str, Any] = {}
    for name in built:
        if name in launched:
            found |= _open(built[name], launched[name], (*path, name))
    return found


def _other_kind(built: Any, launched: Any, path: tuple[str, ...]) -> bool:
    if not any(len(path) == len(each) and _below(path, each) for each in _KINDS):
        return False
    if not isinstance(built, Mapping) or not isinstance(launched, Mapping):
        return True
    return bool(built.get("type") != launched.get("type"))


def _kept(found: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    places = {pointer: (*path, *_steps(pointer)) for pointer in found}
    return {pointer_of(place): found[pointer] for pointer, place in places.items() if is_open(place)}


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _below(path: tuple[str | int, ...], pattern: tuple[str, ...]) -> bool:
    return len(path) >= len(pattern) and all(
        wanted in ("*", step) for step, wanted in zip(path, pattern, strict=False)
    )
