"""Check what one field of a config asks of another.

The checks take plain data, as it stands in the file, and pass over what has not its proper form. So they
run beside the checks of single fields, and a person sees all that is wrong at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tillstream.configs.problems import Problem, near, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tillstream.configs.problems import Path

__all__ = ["RESERVED_ENTITY", "cross_check"]

# Dead letters are written under this name.
RESERVED_ENTITY = "dead_letters"


def cross_check(data: Any, defaults: Mapping[str, int]) -> Iterator[Problem]:
    """Yield what does not fit together.

    Args:
        data: the config as plain mappings, lists and scalars; references are interpolated.
        defaults: of the numbers under `flink`.
    """
    config = _mapping(data)
    yield from _check_entities(config)
    yield from _check_dead_letters(config)
    yield from _check_flink(_mapping(config.get("flink")), defaults)


def _check_entities(config: Mapping[str, Any]) -> Iterator[Problem]:
    sinks = _mapping(config.get("sinks"))
    topics = _mapping(_mapping(config.get("source")).get("kafka")).get("topics")
    readers: dict[str, str] = {}
    for name, value in _mapping(config.get("entities")).items():
        entity = _mapping(value)
        path: Path = ("entities", name)
        if name == RESERVED_ENTITY:
            yield Problem(path, f"found {name!r}, expected another name: dead letters are written under it")
        topic = entity.get("topic")
        if isinstance(topic, str):
            other = readers.setdefault(topic, name)
            if other != name:
                yield Problem(
                    (*path, "topic"),
                    f"found {shown(topic)}, which entity {other!r} reads already, expected its own",
                )
            if isinstance(topics, list) and not _is_read(topic, topics):
                yield Problem(
                    (*path, "topic"), f"found {shown(topic)}, expected one that source.kafka.topics reads"
                )
        yield from _check_key(path, entity)
        yield from _check_entity_sinks(path, entity, sinks)


def _check_key(path: Path, entity: Mapping[str, Any]) -> Iterator[Problem]:
    contract = _mapping(entity.get("contract"))
    seen: set[str] = set()
    for place, column in _strings(entity.get("key")):
        at: Path = (*path, "key", place)
        if column in seen:
            yield Problem(at, f"found {shown(column)} twice, expected each column once")
        elif contract and column not in contract:
            yield Problem(
                at, f"found {shown(column)}, expected a column of the contract{near(column, contract)}"
            )
        elif _mapping(contract.get(column)).get("nullable") is True:
            yield Problem(
                (*path, "contract", column, "nullable"),
                "found true, expected false: a key is never null",
            )
        seen.add(column)


def _check_entity_sinks(path: Path, entity: Mapping[str, Any], sinks: Mapping[str, Any]) -> Iterator[Problem]:
    seen: set[str] = set()
    needing = None
    for place, name in _strings(entity.get("sinks")):
        at: Path = (*path, "sinks", place)
        if name in seen:
            yield Problem(at, f"found {shown(name)} twice, expected each sink once")
        elif name not in sinks:
            yield _unknown_sink(at, name, sinks)
        elif needing is None:
            sink = _mapping(sinks[name])
            if sink.get("type") == "postgres" or sink.get("format") == "parquet":
                needing = name
        seen.add(name)
    if needing is not None and entity.get("contract") is None:
        yield Problem(
            (*path, "contract"), f"found nothing, expected the columns that sink {needing!r} writes"
        )


def _check_dead_letters(config: Mapping[str, Any]) -> Iterator[Problem]:
    name = _mapping(config.get("dead_letters")).get("sink")
    sinks = _mapping(config.get("sinks"))
    if isinstance(name, str) and name not in sinks:
        yield _unknown_sink(("dead_letters", "sink"), name, sinks)


def _check_flink(flink: Mapping[str, Any], defaults: Mapping[str, int]) -> Iterator[Problem]:
    parallelism = _number(flink.get("parallelism", defaults["parallelism"]))
    if parallelism is None:
        return
    for name in ("shards", "max_parallelism"):
        value = _number(flink.get(name, defaults[name]))
        if value is not None and value < parallelism:
            yield Problem(
                ("flink", name), f"found {value}, expected at least flink.parallelism, {parallelism}"
            )


def _unknown_sink(path: Path, name: str, sinks: Mapping[str, Any]) -> Problem:
    known = ", ".join(sinks) or "none is defined"
    return Problem(path, f"found {shown(name)}, expected a name under sinks: {known}{near(name, sinks)}")


def _is_read(topic: str, wanted: list[Any]) -> bool:
    for item in wanted:
        if not isinstance(item, str):
            continue
        if item.startswith("^"):
            try:
                if re.search(item, topic):
                    return True
            except re.error:
                return True  # it has a problem of its own
        elif item == topic:
            return True
    return False


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _strings(value: Any) -> Iterator[tuple[int, str]]:
    for place, item in enumerate(value if isinstance(value, list) else ()):
        if isinstance(item, str):
            yield place, item


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
