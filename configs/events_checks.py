"""Check what the format of a client's messages asks of the rest of its config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tillstream.configs.keyless import has_messages
from tillstream.configs.problems import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["check_events"]

# Formats, and the field that each cannot be read without.
_NEEDED = {
    "debezium_avro": ("schema_registry", "a registry that holds the messages' schemas"),
    "avro": ("avro_schema_file", "the file of the messages' schema"),
}
# Fields that mean something to these formats only.
_ONLY = {
    "schema_registry": ("debezium_avro",),
    "avro_schema_file": ("avro",),
    "avro_key_schema_file": ("avro",),
    "field_names": ("avro", "debezium_avro"),
}
# Ways to write deletes that leave nothing but the key, and so nothing where there is none.
_TOMBSTONES = ("tombstone", "delete-to-tombstone")


def check_events(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what a format lacks, and what it does not use."""
    source = config.get("source")
    events = source.get("events") if isinstance(source, dict) else None
    if not isinstance(source, dict) or not isinstance(events, dict):
        return
    kind = events.get("format", "debezium_json")
    if not isinstance(kind, str):
        return
    at = ("source", "events")
    needed, what = _NEEDED.get(kind, ("", ""))
    if needed and events.get(needed) is None:
        yield Problem((*at, "format"), f"found {kind!r} without {needed}, expected {what}")
    for field, kinds in _ONLY.items():
        if events.get(field) not in (None, "plain") and kind not in kinds:
            yield Problem(
                (*at, field),
                f"found it with format {kind}, expected format {' or '.join(kinds)}, or none of it",
            )
    if kind in _NEEDED and source.get("files") is not None and source.get("kafka") is None:
        yield Problem(
            (*at, "format"),
            f"found {kind!r} with a files source, expected debezium_json: it reads container files too",
        )
    if kind == "flattened":
        yield from _check_deletes(config, events)


def _check_deletes(config: Mapping[str, Any], events: Mapping[str, Any]) -> Iterator[Problem]:
    mode = events.get("delete_tombstone_handling_mode", "tombstone")
    entities = config.get("entities")
    if mode not in _TOMBSTONES or not isinstance(entities, dict):
        return
    for name, entity in entities.items():
        if not isinstance(entity, dict) or entity.get("keyless") is None or has_messages(entity):
            continue
        yield Problem(
            ("entities", name, "keyless"),
            f"found {shown(str(entity['keyless']))} where source.events.delete_tombstone_handling_mode is "
            f"{mode}, expected rewrite, rewrite-with-tombstone or drop: a tombstone tells nothing of a row "
            "that has no key",
        )
