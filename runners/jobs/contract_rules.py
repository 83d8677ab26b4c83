"""Tell what differs between the contracts of two builds of a job, and whether its sinks take that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tillstream.configs import Column, Entity
from tillstream.runners.jobs.planned import Change
from tillstream.transforms.contracts.diff import compare

__all__ = ["contract_changes"]

_Config = Mapping[str, Any]
_TABLES = "postgres"
# A table of another schema or database is another table.
_PLACES = ("type", "host", "port", "database", "schema")


def contract_changes(
    old: _Config, new: _Config, old_made: Mapping[str, Any], new_made: Mapping[str, Any]
) -> Iterator[Change]:
    """Yield what differs, by entity and column.

    Args:
        old: config of the job that runs, as JSON values.
        new: of the one that is wanted.
        old_made: contracts that transforms bring, by entity, of the one that runs.
        new_made: of the one that is wanted.
    """
    for name, entity in new["entities"].items():
        if name not in old["entities"]:
            continue
        before = _columns(old["entities"][name], old_made.get(name))
        after = _columns(entity, new_made.get(name))
        if before is None or after is None:
            if (before is None) != (after is None):
                said = "is known now" if before is None else "is not known any more"
                yield Change("contract", name, None, None, "restore", said)
            continue
        sinks = _sinks(entity, old, new)
        for change in compare(before, after, ["rows", *sinks]):
            yield _judged(name, change.column, change.text, change.verdicts, sinks)


def _judged(
    entity: str, column: str, text: str, verdicts: Mapping[str, Any], sinks: Mapping[str, str]
) -> Change:
    place = f"{entity}.{column}"
    if _TABLES in sinks and not verdicts[_TABLES].backward:
        return Change(
            "contract",
            place,
            None,
            text,
            "refused",
            f"the table of sink {sinks[_TABLES]!r} cannot become that; the way is another name for the "
            f"column, or another schema for the sink and 'tillstream resync' of {entity}",
        )
    broken = sorted({name for name in sinks if not verdicts[name].forward} - {_TABLES})
    note = (
        f"who reads {', '.join(sinks[each] for each in broken)} by the old contract cannot" if broken else ""
    )
    return Change("contract", place, None, text, "restore", note)


def _columns(entity: Mapping[str, Any], made: Any) -> tuple[Column, ...] | None:
    contract = entity.get("contract") or made
    if not contract:
        return None
    try:
        return Entity.model_validate({**entity, "contract": contract}).columns()
    except ValidationError:
        # Another release's config; what it means is not known here.
        return None


def _sinks(entity: Mapping[str, Any], old: _Config, new: _Config) -> dict[str, str]:
    """Return a sink of each kind of place that goes on taking an entity's rows, by place."""
    found: dict[str, str] = {}
    for name in entity["sinks"]:
        now, was = new["sinks"][name], old["sinks"].get(name)
        place = now.get("format") or now["type"]
        if was is None or (place == _TABLES and any(was.get(each) != now.get(each) for each in _PLACES)):
            continue
        found.setdefault(place, name)
    return found
