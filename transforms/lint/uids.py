"""Write down what a job's savepoints find state by, and tell what a change of it would lose.

State is found again by the label of its stage and its own name, a transform's cells by the transform's name
without its version, rows by their key, and all of it by shard: see `docs/lint.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import UserError
from tillstream.transforms.lint.rule import Finding

__all__ = ["Uids", "compare", "of_config", "read", "uids_of", "write"]

_VERSION = 1
_STAGES = ("TS101", "the savepoint's state of it is lost, or Flink refuses the savepoint")
_CELLS = ("TS102", "what it holds is no longer found, and starts empty")
_KEYS = ("TS103", "deduplication and state know rows by their key, and sinks keep the old rows")
_SHARDS = ("TS104", "state lies in other shards, and is not found")


class Uids(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hold what one client's savepoints find state by.

    Attributes:
        client: whose job it is.
        stages: label of each stage, and the names of its state.
        cells: keyed state of transforms, by entity that is read.
        keys: columns of each entity's key.
        sizes: shards and key groups.
        version: of this form.
    """

    client: str
    stages: dict[str, tuple[str, ...]]
    cells: dict[str, tuple[str, ...]]
    keys: dict[str, tuple[str, ...]]
    sizes: dict[str, int]
    version: int = _VERSION


def of_config(path: Path) -> Uids:
    """Return what the job of a config would have; raises UserError where the config is wrong."""
    from tillstream.configs.cli import check

    config = check(path)
    # Beam takes seconds to import.
    from tillstream.runners.flink.jar import pipeline_proto

    return uids_of(config, pipeline_proto(config, bounded=config.source.files is not None))


def uids_of(config: ClientConfig, proto: Any) -> Uids:
    """Return what the savepoints of a client's job find state by.

    Args:
        config: the client's.
        proto: its pipeline in Beam's portable form.
    """
    from apache_beam.portability.api import beam_runner_api_pb2

    from tillstream.transforms.flows import flows_of, registry_of

    stages = {}
    for each in proto.components.transforms.values():
        if each.spec.urn == "beam:transform:pardo:v1":
            payload = beam_runner_api_pb2.ParDoPayload()
            payload.ParseFromString(each.spec.payload)
            stages[each.unique_name] = tuple(sorted([*payload.state_specs, *payload.timer_family_specs]))
    cells: dict[str, list[str]] = {}
    for source, flows in flows_of(config, registry_of(config)).items():
        for flow in flows:
            for state in flow.parameters.states.values():
                assert flow.info is not None  # copies ask for none
                cells.setdefault(source, []).append(f"{flow.info.unversioned}/{state.name}")
    return Uids(
        client=config.client,
        stages=dict(sorted(stages.items())),
        cells={name: tuple(sorted(found)) for name, found in sorted(cells.items())},
        keys={name: tuple(entity.key) for name, entity in config.entities.items()},
        sizes={"shards": config.flink.shards, "max_parallelism": config.flink.max_parallelism},
    )


def write(uids: Uids, path: Path) -> None:
    """Write a file for `read`; raises UserError where that cannot be."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(uids), indent=2) + b"\n")
    except OSError as error:
        raise UserError(
            f"--write-uids {path}: {error.strerror}: expected a file that can be written"
        ) from error


def read(path: Path) -> Uids:
    """Read a file that `write` wrote; raises UserError where it is none, or of another version."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Uids)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UserError(
            f"--against {path}: found {error}, expected a file of 'tillstream lint CONFIG --write-uids'"
        ) from error
    if found.version != _VERSION:
        raise UserError(f"--against {path}: found version {found.version}, expected {_VERSION}")
    return found


def compare(now: Uids, before: Uids, path: Path) -> list[Finding]:
    """Return what a job restored from a savepoint of before would not find.

    Args:
        now: of the config as it is.
        before: of the job that runs.
        path: of the config, where findings are shown.
    """
    return [Finding(path, 1, 1, code, f"{what}: {why}") for (code, why), what in _lost(now, before)]


def _lost(now: Uids, before: Uids) -> Iterator[tuple[tuple[str, str], str]]:
    if now.client != before.client:
        yield _STAGES, f"found client {now.client!r}, expected {before.client!r}"
    for label, states in before.stages.items():
        if label not in now.stages:
            new = [each for each, held in now.stages.items() if each not in before.stages and held == states]
            yield _STAGES, f"found no stage {label!r} any more{_perhaps(new)}"
        for state in set(states) - set(now.stages.get(label, states)):
            yield _STAGES, f"found no state {state!r} in stage {label!r} any more"
    for entity, cells in before.cells.items():
        there = now.cells.get(entity, ())
        for cell in cells:
            if cell not in there:
                new = [each for each in there if each not in cells]
                yield _CELLS, f"found no keyed state {cell!r} of {entity!r} any more{_perhaps(new)}"
    for entity, key in before.keys.items():
        if now.keys.get(entity, key) != key:
            yield _KEYS, f"found key {_shown(now.keys[entity])} of {entity!r}, expected {_shown(key)}"
    yield from _resized(now.sizes, before.sizes)


def _resized(now: Mapping[str, int], before: Mapping[str, int]) -> Iterator[tuple[tuple[str, str], str]]:
    for name, size in before.items():
        if now.get(name) != size:
            yield _SHARDS, f"found flink.{name} {now.get(name)}, expected {size}"


def _perhaps(new: list[str]) -> str:
    return f", perhaps it is {', '.join(map(repr, new))} now" if new else ""


def _shown(key: tuple[str, ...]) -> str:
    return f"[{', '.join(key)}]"
