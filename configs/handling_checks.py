"""Check what the handling modes of a connector ask of the rest of a client's config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tillstream.configs.problems import Problem, near, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tillstream.configs.problems import Path

__all__ = ["check_handling"]

_EVENTS: Path = ("source", "events")
_MODES = {
    "decimal_handling_mode": "string",
    "time_precision_mode": "isostring",
    "binary_handling_mode": "base64",
    "interval_handling_mode": "string",
    "hstore_handling_mode": "json",
}
_TELLING = ("debezium_avro", "avro")
_ADAPTIVE = {"adaptive": ("time", "timestamp"), "adaptive_time_microseconds": ("timestamp",)}


def check_handling(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what does not fit together.

    Args:
        config: the whole, as plain data; what has not its proper form is passed over.
    """
    events = _mapping(_mapping(config.get("source")).get("events"))
    entities = _mapping(config.get("entities"))
    yield from _check_hints(_mapping(events.get("columns")), entities)
    changed = [name for name, mode in _MODES.items() if events.get(name, mode) != mode]
    kind = events.get("format", "debezium_json")
    for name in changed:
        if kind in _TELLING:
            yield Problem(
                (*_EVENTS, name), f"found it with format {kind}, expected none: Avro tells its types"
            )
    if kind in _TELLING:
        return
    for name, entity in entities.items():
        described = _mapping(entity)
        if described.get("topic") is None:
            continue
        if changed and described.get("contract") is None:
            yield Problem(
                ("entities", name),
                f"found no contract, expected one: with source.events.{changed[0]} other than "
                f"{_MODES[changed[0]]} only a contract tells what a value is",
            )
        yield from _check_columns(name, _mapping(described.get("contract")), events)


def _check_hints(hints: Mapping[str, Any], entities: Mapping[str, Any]) -> Iterator[Problem]:
    path = (*_EVENTS, "columns")
    for entity, columns in hints.items():
        if entity not in entities:
            names = list(map(str, entities))
            yield Problem(
                (*path, entity),
                f"found entity {shown(str(entity))}, expected one of {', '.join(names)}"
                f"{near(str(entity), names)}",
            )
            continue
        known = list(map(str, _mapping(_mapping(entities[entity]).get("contract"))))
        for column in _mapping(columns):
            if column not in known:
                yield Problem(
                    (*path, entity, column),
                    f"found column {shown(str(column))}, expected one of the entity's contract"
                    f"{near(str(column), known)}",
                )


def _check_columns(entity: str, contract: Mapping[str, Any], events: Mapping[str, Any]) -> Iterator[Problem]:
    hints = _mapping(_mapping(events.get("columns")).get(entity))
    is_precise = events.get("decimal_handling_mode") == "precise"
    timed = _ADAPTIVE.get(str(events.get("time_precision_mode")), ())
    for column, described in contract.items():
        kind = _kind(described)
        hint = _mapping(hints.get(column))
        if is_precise and kind.startswith("decimal(") and hint.get("scale") is None:
            yield Problem(
                (*_EVENTS, "columns"),
                f"found no scale of {entity}.{column}, expected {{{entity}: {{{column}: {{scale: n}}}}}}: "
                "a precise decimal without a schema does not tell where its point is",
            )
        if kind in timed and hint.get("fraction_digits") is None:
            yield Problem(
                (*_EVENTS, "columns"),
                f"found no fraction_digits of {entity}.{column}, expected "
                f"{{{entity}: {{{column}: {{fraction_digits: n}}}}}}: an adaptive {kind} without a "
                "schema does not tell its unit",
            )


def _kind(described: Any) -> str:
    kind = str(described.get("type") if isinstance(described, dict) else described)
    return kind[len("array(") : -1].strip() if kind.startswith("array(") else kind


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
