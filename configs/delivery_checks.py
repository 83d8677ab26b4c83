"""Check what `delivery.atomicity` asks of the rest of a config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tillstream.configs.problems import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["TRANSACTIONAL_FORMATS", "check_delivery"]

# Formats whose messages tell their transaction.
TRANSACTIONAL_FORMATS = ("debezium_json", "debezium_avro", "cloudevents", "flattened")
# prefix.schema.table
_DOTS_MIN = 2


def check_delivery(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what transactions could not arrive whole with."""
    delivery = _mapping(config.get("delivery"))
    if delivery.get("atomicity") != "transaction":
        return
    at = ("delivery", "atomicity")
    if delivery.get("guarantee", "exactly-once") == "at-least-once":
        yield Problem(
            at,
            "found 'transaction' with delivery.guarantee at-least-once, expected exactly-once: what is "
            "written again after a failure would show older rows beside newer ones",
        )
    source = _mapping(config.get("source"))
    if source.get("files") is not None and source.get("kafka") is None:
        yield Problem(
            at,
            "found 'transaction' with a files source, expected row: files do not tell where transactions "
            "end, and nobody reads the rows of a bounded run before its end",
        )
    kind = _mapping(source.get("events")).get("format", TRANSACTIONAL_FORMATS[0])
    if isinstance(kind, str) and kind not in TRANSACTIONAL_FORMATS:
        yield Problem(
            at,
            f"found 'transaction' with source.events.format {shown(kind)}, whose events do not tell their "
            f"transaction; expected {' or '.join(TRANSACTIONAL_FORMATS)}, or row",
        )
    if delivery.get("transaction_topics") is not None:
        return
    for name, entity in _mapping(config.get("entities")).items():
        topic = _mapping(entity).get("topic")
        if not isinstance(topic, str) or topic.endswith(".message"):
            continue
        if topic.count(".") < _DOTS_MIN:
            yield Problem(
                ("entities", name, "topic"),
                f"found {shown(topic)}, of which the topic of its transactions cannot be told; expected "
                "<prefix>.<schema>.<table>, or delivery.transaction_topics",
            )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
