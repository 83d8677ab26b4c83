"""Check what the capture section of a config asks of the others."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tillstream.configs import forms
from tillstream.configs.keyless import has_messages
from tillstream.configs.problems import Problem, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["check_capture", "prefix_and_table"]

# They say whose capture it is, and what `tillstream capture` looks for.
_OWN = frozenset(
    {
        "connector.class",
        "database.dbname",
        "database.hostname",
        "database.password",
        "database.port",
        "database.user",
        "name",
        "publication.name",
        "slot.name",
        "table.include.list",
        "topic.prefix",
    }
)


def prefix_and_table(topic: str) -> tuple[str, str] | None:
    """Return the prefix and the `schema.table` of a topic `<prefix>.<schema>.<table>`; None for others."""
    prefix, _, table = topic.rpartition(".")
    prefix, _, schema = prefix.rpartition(".")
    found = f"{schema}.{table}"
    return (prefix, found) if prefix and re.fullmatch(forms.TABLE, found) else None


def check_capture(config: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what does not fit; the config is plain mappings, lists and scalars."""
    capture = config.get("capture")
    if not isinstance(capture, dict):
        return
    source = config.get("source")
    if isinstance(source, dict) and source.get("kafka") is None:
        yield Problem(("capture",), "found it without source.kafka, expected the cluster that is captured to")
    yield from _check_topics(config.get("entities"))
    alert, most = capture.get("slot_lag_mb_alert", 1024), capture.get("slot_lag_mb_max", 8192)
    if isinstance(alert, int) and isinstance(most, int) and alert >= most:
        yield Problem(
            ("capture", "slot_lag_mb_alert"),
            f"found {alert}, expected less than capture.slot_lag_mb_max, {most}",
        )
    settings = capture.get("connector")
    for each in settings if isinstance(settings, dict) else ():
        if each in _OWN:
            yield Problem(
                ("capture", "connector", each), "found a property that tillstream sets, expected another"
            )


def _check_topics(entities: Any) -> Iterator[Problem]:
    prefixes: dict[str, str] = {}
    for name, entity in entities.items() if isinstance(entities, dict) else ():
        topic = entity.get("topic") if isinstance(entity, dict) else None
        # What is said beside the tables' changes comes with them.
        if not isinstance(topic, str) or has_messages(entity):
            continue
        found = prefix_and_table(topic)
        path = ("entities", name, "topic")
        if found is None:
            yield Problem(
                path, f"found {shown(topic)}, expected <prefix>.<schema>.<table>, because it is captured"
            )
            continue
        first = prefixes.setdefault(found[0], topic)
        if len(prefixes) > 1 and first == topic:
            other = next(iter(prefixes.values()))
            yield Problem(
                path, f"found {shown(topic)}, expected the prefix of {shown(other)}: one capture has one"
            )
