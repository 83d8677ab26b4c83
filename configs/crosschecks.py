"""Check what one field of a config asks of another.

The checks take plain data, as it stands in the file, and pass over what has not its proper form. So they
run beside the checks of single fields, and a person sees all that is wrong at once.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from tillstream.configs import forms
from tillstream.configs.capture_checks import check_capture
from tillstream.configs.delivery_checks import check_delivery
from tillstream.configs.events_checks import check_events
from tillstream.configs.handling_checks import check_handling
from tillstream.configs.keyless import check_keyless
from tillstream.configs.problems import Problem, near, shown
from tillstream.configs.trust_checks import check_trust

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tillstream.configs.problems import Path

__all__ = ["AT_LEAST_ONCE", "LETTER_STORES", "RESERVED_PREFIX", "Known", "check_transforms", "cross_check"]

# Dead letters and ledgers are written under such names.
RESERVED_PREFIX = "tillstream_"


# Sinks whose dead letters `tillstream dlq` can read and mark.
LETTER_STORES = ("postgres", "files")

# Sinks that cannot give more, and why.
AT_LEAST_ONCE = {
    "http": "a request whose answer is lost is sent again, and only the far side can tell",
}


def cross_check(data: Any, defaults: Mapping[str, int]) -> Iterator[Problem]:
    """Yield what does not fit together.

    Args:
        data: the config as plain mappings, lists and scalars; references are interpolated.
        defaults: of the numbers under `flink`.
    """
    config = _mapping(data)
    yield from _check_entities(config)
    yield from _check_dead_letters(config)
    yield from _check_guarantee(config)
    yield from check_delivery(config)
    yield from check_events(config)
    yield from check_handling(config)
    yield from check_trust(config, is_whole=False)
    yield from check_capture(config)
    yield from _check_flink(_mapping(config.get("flink")), defaults)


class Known(NamedTuple):
    """Hold the names of transforms that exist, and what is wrong with packages that may define more."""

    names: Sequence[str]
    broken: Sequence[str] = ()


def check_transforms(data: Any, known: Callable[[list[str], str | None], Known]) -> Iterator[Problem]:
    """Yield what asks for a transform that does not exist.

    Args:
        data: the config as plain mappings, lists and scalars; references are interpolated.
        known: returns what is known of all transforms, given the config's modules and their folder; called
            where an entity has a transform of proper form.
    """
    wanted = {}
    for entity, value in _mapping(_mapping(data).get("entities")).items():
        transform = _mapping(value).get("transform")
        if isinstance(transform, str) and re.fullmatch(forms.TRANSFORM, transform):
            wanted[entity] = transform
    about = _mapping(_mapping(data).get("transforms"))
    modules = [module for _, module in _strings(about.get("modules"))]
    folder = about.get("path")
    names, broken = known(modules, folder if isinstance(folder, str) else None) if wanted else Known(())
    for entity, transform in wanted.items():
        if transform not in names:
            yield Problem(
                ("entities", entity, "transform"),
                f"found {shown(transform)}, expected one of {', '.join(names)}{near(transform, names)}"
                + "".join(f"; {each}" for each in broken),
            )


def _check_entities(config: Mapping[str, Any]) -> Iterator[Problem]:
    sinks = _mapping(config.get("sinks"))
    topics = _mapping(_mapping(config.get("source")).get("kafka")).get("topics")
    readers: dict[str, str] = {}
    for name, value in _mapping(config.get("entities")).items():
        entity = _mapping(value)
        path: Path = ("entities", name)
        if name.startswith(RESERVED_PREFIX):
            yield Problem(
                path,
                f"found {name!r}, expected a name that does not begin with {RESERVED_PREFIX}: "
                "dead letters and ledgers are written under such names",
            )
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
        yield from _check_origin(path, name, entity, _mapping(config.get("entities")))
        yield from _check_key(path, entity)
        yield from check_keyless(path, entity, _mapping(config.get("entities")))
        plain = entity.get("contract") is None and entity.get("transform") is None
        if plain and entity.get("schema_evolution"):
            yield Problem(
                (*path, "schema_evolution"),
                "found it without a contract or transform, expected one of them: else rows pass as they are",
            )
        yield from _check_entity_sinks(path, entity, sinks)


def _check_origin(
    path: Path, name: str, entity: Mapping[str, Any], entities: Mapping[str, Any]
) -> Iterator[Problem]:
    origin = entity.get("from", entity.get("from_entity"))
    if origin is None:
        if entity.get("topic") is None and entity.get("transform") is not None:
            yield Problem(
                (*path, "transform"),
                f"found {shown(str(entity['transform']))} without changes to apply it to, "
                "expected the entity to have a topic, or a from",
            )
        return
    at: Path = (*path, "from")
    if entity.get("topic") is not None:
        yield Problem(at, f"found {shown(str(origin))} beside a topic, expected the one or the other")
    known = [each for each in entities if each != name and _mapping(entities[each]).get("topic") is not None]
    if not isinstance(origin, str) or origin not in known:
        yield Problem(
            at,
            f"found {shown(str(origin))}, expected an entity that has a topic: "
            f"{', '.join(known) or 'there is none'}{near(str(origin), known)}",
        )
    elif entity.get("transform") is None and entity.get("key") != _mapping(entities[origin]).get(
        "key", entity.get("key")
    ):
        yield Problem(
            (*path, "key"),
            f"found {shown(str(entity.get('key')))}, expected the key of {origin!r}, "
            "because without a transform its rows are copied",
        )


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
            if sink.get("type") == "postgres" or sink.get("format") in ("parquet", "avro"):
                needing = name
        seen.add(name)
    # A transform may bring the contract.
    if needing is not None and entity.get("contract") is None and entity.get("transform") is None:
        yield Problem(
            (*path, "contract"), f"found nothing, expected the columns that sink {needing!r} writes"
        )


def _check_dead_letters(config: Mapping[str, Any]) -> Iterator[Problem]:
    name = _mapping(config.get("dead_letters")).get("sink")
    sinks = _mapping(config.get("sinks"))
    if isinstance(name, str) and name not in sinks:
        yield _unknown_sink(("dead_letters", "sink"), name, sinks)
    kind = _mapping(sinks.get(name if isinstance(name, str) else next(iter(sinks), ""))).get("type")
    read = _mapping(config.get("source"))
    for entity, value in _mapping(config.get("entities")).items():
        path = ("entities", entity, "on_error")
        if _mapping(value).get("on_error") != "hold_key":
            continue
        if isinstance(kind, str) and kind not in LETTER_STORES:
            yield Problem(
                path,
                f"found hold_key with dead letters in a {kind} sink, expected dead_letters.sink to name one "
                f"of type {' or '.join(LETTER_STORES)}: no other's letters can be replayed",
            )
        if read.get("files") is not None and read.get("kafka") is None:
            yield Problem(
                path,
                "found hold_key with a files source, expected skip: its run ends before anybody can help",
            )


def _check_guarantee(config: Mapping[str, Any]) -> Iterator[Problem]:
    if _mapping(config.get("delivery")).get("guarantee", "exactly-once") != "exactly-once":
        return
    for name, value in _mapping(config.get("sinks")).items():
        kind = _mapping(value).get("type")
        if isinstance(kind, str) and kind in AT_LEAST_ONCE:
            yield Problem(
                ("sinks", name, "type"),
                f"found {kind!r}, which cannot give delivery.guarantee exactly-once: {AT_LEAST_ONCE[kind]}; "
                "expected another sink, or delivery.guarantee at-least-once",
            )


def _check_flink(flink: Mapping[str, Any], defaults: Mapping[str, int]) -> Iterator[Problem]:
    number = {name: _number(flink.get(name, default)) for name, default in defaults.items()}
    # Subtasks without a shard would idle, and each shard has a key group of its own.
    for low, high in (
        ("parallelism", "shards"),
        ("parallelism", "max_parallelism"),
        ("shards", "max_parallelism"),
    ):
        least, most = number[low], number[high]
        if least is not None and most is not None and most < least:
            yield Problem(("flink", high), f"found {most}, expected at least flink.{low}, {least}")


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
