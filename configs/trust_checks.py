"""Check what expectations and masks ask of the columns that they name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tillstream.configs.contract import Column, ColumnModel
from tillstream.configs.expressions import Expression
from tillstream.configs.literals import ORDERED, ordered_of, wire_of
from tillstream.configs.problems import Path, Problem, near, shown
from tillstream.configs.trust import STREAM_KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["check_trust"]

# Fields that each kind needs, and those that it may have.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "not_null": (("column",), ()),
    "range": (("column",), ("min", "max")),
    "in_set": (("column", "values"), ()),
    "regex": (("column", "pattern"), ()),
    "freshness": (("age_s_max",), ()),
    "cross_field": (("expression",), ()),
    "unique": (("columns", "window_s"), ()),
    "row_count_drift": (("window_s", "drift_ratio_max"), ("windows",)),
}
_COMMON = ("expect", "name", "severity")
_WHY_NOT = {
    "unique": (
        "the other row may lie in another shard and be delivered already, so no row can be held back in time"
    ),
    "row_count_drift": "it looks at a whole window, whose rows are delivered already",
}
_MASK_FIELDS = {"hash": (), "tokenise": (), "truncate": ("characters",), "redact": ("text",)}


def check_trust(config: Mapping[str, Any], *, is_whole: bool) -> Iterator[Problem]:
    """Yield what does not fit together in expectations and masks.

    Args:
        config: as plain data.
        is_whole: whether contracts that transforms bring are in it already.
    """
    privacy = _mapping(config.get("privacy"))
    by_class = _mapping(privacy.get("by_class"))
    classes: set[str] = set()
    masked = bool(by_class)
    entities = _mapping(config.get("entities"))
    for name, value in entities.items():
        entity = _mapping(value)
        yield from _check_entity((("entities", name)), entity, by_class, is_whole=is_whole)
        classes |= {column.pii for column in _columns(entity).values() if column.pii is not None}
        masked = masked or bool(_mapping(entity.get("masks")))
    for name, mask in by_class.items():
        path: Path = ("privacy", "by_class", name)
        yield from _check_mask(path, _mapping(mask), None, is_key=False)
        settled = is_whole or not any(_mapping(each).get("transform") for each in entities.values())
        if settled and name not in classes:
            known = ", ".join(sorted(classes)) or "there is none"
            yield Problem(path, f"found no column of PII class {name!r}, expected one of {known}")
    if masked and privacy.get("salt") is None:
        yield Problem(
            ("privacy", "salt"),
            "found nothing, expected a reference to the salt of the masks, such as ${PRIVACY_SALT}",
        )


def _check_entity(
    path: Path, entity: Mapping[str, Any], by_class: Mapping[str, Any], *, is_whole: bool
) -> Iterator[Problem]:
    columns = _columns(entity)
    has_transform = entity.get("transform") is not None
    yield from _check_masks(path, entity, columns, by_class)
    masks = _mapping(entity.get("masks"))
    lossy = {
        name
        for name, column in columns.items()
        if _mapping(masks.get(name, by_class.get(column.pii or ""))).get("mask") in ("redact", "truncate")
    }
    names: set[str] = set()
    for place, value in enumerate(_list(entity.get("expectations"))):
        expectation, at = _mapping(value), (*path, "expectations", place)
        kind = expectation.get("expect")
        if not isinstance(kind, str) or kind not in _FIELDS:
            continue
        name = _name(expectation)
        if name in names:
            yield Problem(at, f"found a second expectation {name!r}, expected a name of its own")
        names.add(name)
        yield from _check_fields(at, kind, expectation)
        yield from _check_severity(at, kind, expectation)
        if columns:
            yield from _check_columns(at, kind, expectation, columns, lossy)
        elif kind not in ("freshness", "row_count_drift") and (is_whole or not has_transform):
            yield Problem(at, f"found {kind} without a contract, expected the columns with their types")


def _check_masks(
    path: Path, entity: Mapping[str, Any], columns: Mapping[str, Column], by_class: Mapping[str, Any]
) -> Iterator[Problem]:
    keys = _list(entity.get("key"))
    masks = _mapping(entity.get("masks"))
    for name, value in masks.items():
        at: Path = (*path, "masks", name)
        column = columns.get(name)
        # What a transform reads may have columns that it does not make; its dead letters show them.
        if columns and column is None and entity.get("transform") is None:
            yield Problem(at, f"found {shown(name)}, expected a column of the contract{near(name, columns)}")
        yield from _check_mask(at, _mapping(value), column, is_key=name in keys)
    for name, column in columns.items():
        mask = _mapping(by_class.get(column.pii or ""))
        if mask and name not in masks:
            at = (*path, "contract", name)
            for each in _check_mask(at, mask, column, is_key=name in keys):
                yield Problem(at, f"by PII class {column.pii!r}: {each.text}")


def _check_fields(at: Path, kind: str, expectation: Mapping[str, Any]) -> Iterator[Problem]:
    needed, possible = _FIELDS[kind]
    for field in needed:
        if expectation.get(field) is None:
            yield Problem((*at, field), f"found nothing, expected it for {kind}")
    for field, value in expectation.items():
        if value is not None and field not in (*_COMMON, *needed, *possible):
            known = ", ".join((*needed, *possible))
            yield Problem((*at, field), f"found it for {kind}, expected {known} alone")
    if kind == "range" and expectation.get("min") is None and expectation.get("max") is None:
        yield Problem(at, "found a range without bounds, expected min, max or both")
    pattern = expectation.get("pattern")
    if isinstance(pattern, str):
        try:
            re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            yield Problem((*at, "pattern"), f"found {shown(pattern)}, expected a regular expression: {error}")


def _check_severity(at: Path, kind: str, expectation: Mapping[str, Any]) -> Iterator[Problem]:
    severity = expectation.get("severity")
    if kind in STREAM_KINDS and severity in ("drop", "quarantine"):
        yield Problem(
            (*at, "severity"), f"found {severity!r} for {kind}, expected warn or fail: {_WHY_NOT[kind]}"
        )


def _check_columns(
    at: Path, kind: str, expectation: Mapping[str, Any], columns: Mapping[str, Column], lossy: set[str]
) -> Iterator[Problem]:
    expression = expectation.get("expression")
    if kind == "cross_field" and isinstance(expression, str):
        try:
            Expression(expression, columns)
        except ValueError as error:
            yield Problem((*at, "expression"), str(error))
    found: list[tuple[Path, Any]] = [(("column",), expectation.get("column"))]
    found += [(("columns", place), each) for place, each in enumerate(_list(expectation.get("columns")))]
    for where, name in found:
        if not isinstance(name, str):
            continue
        column = columns.get(name)
        if column is None:
            yield Problem(
                (*at, *where),
                f"found {shown(name)}, expected a column of the contract{near(name, columns)}",
            )
            continue
        yield from _check_column((*at, *where), kind, column)
        yield from _check_values(at, kind, expectation, column)
        if kind == "unique" and name in lossy:
            yield Problem(
                (*at, *where),
                f"found {shown(name)}, whose mask makes different values alike, expected another column, or "
                "the mask hash or tokenise",
            )


# The other types whose values have several spellings, or none that a config could hold.
_INCOMPARABLE = ("json", "bytes", "array", "interval", "timetz")


def _check_column(at: Path, kind: str, column: Column) -> Iterator[Problem]:
    if kind == "range" and column.kind not in ORDERED:
        yield Problem(at, f"found a column of type {column.kind}, expected one of {', '.join(ORDERED)}")
    if kind == "regex" and column.kind != "string":
        yield Problem(at, f"found a column of type {column.kind}, expected one of type string")
    if kind in ("in_set", "unique") and column.kind in _INCOMPARABLE:
        yield Problem(at, f"found a column of type {column.kind}, expected one whose values can be compared")


def _check_values(at: Path, kind: str, expectation: Mapping[str, Any], column: Column) -> Iterator[Problem]:
    bounds = {}
    for field in ("min", "max"):
        value = expectation.get(field)
        if kind != "range" or value is None or column.kind not in ORDERED:
            continue
        try:
            bounds[field] = ordered_of(column, value)
        except ValueError as error:
            yield Problem((*at, field), f"found {shown(str(value))}, expected {error}")
    if len(bounds) == len(("min", "max")) and bounds["min"] > bounds["max"]:
        yield Problem(
            (*at, "max"), f"found {expectation['max']}, expected at least min, {expectation['min']}"
        )
    if kind != "in_set" or column.kind in _INCOMPARABLE:
        return
    for place, value in enumerate(_list(expectation.get("values"))):
        try:
            wire_of(column, value)
        except ValueError as error:
            yield Problem((*at, "values", place), f"found {shown(str(value))}, expected {error}")


def _check_mask(
    at: Path, mask: Mapping[str, Any], column: Column | None, *, is_key: bool
) -> Iterator[Problem]:
    kind = mask.get("mask")
    if not isinstance(kind, str) or kind not in _MASK_FIELDS:
        return
    for field in ("characters", "text"):
        if mask.get(field) is not None and field not in _MASK_FIELDS[kind]:
            yield Problem((*at, field), f"found it for {kind}, which takes no such field")
    if kind == "truncate" and mask.get("characters") is None:
        yield Problem((*at, "characters"), "found nothing, expected how many characters truncate keeps")
    if is_key and kind in ("truncate", "redact"):
        yield Problem(
            at, f"found {kind} on a column of the key, expected hash or tokenise: rows would be one"
        )
    if column is None:
        return
    if kind == "redact" and mask.get("text") is None:
        if not column.nullable and not is_key:
            yield Problem(
                at,
                f"found redact to null on {column.name!r}, which is not nullable, expected a text, or null",
            )
    elif column.kind != "string":
        result = "a text" if kind == "redact" else kind
        also = "" if is_key else ", or redact to null"
        yield Problem(
            at,
            f"found {result} on {column.name!r} of type {column.kind}, which cannot hold it, "
            f"expected a column of type string{also}",
        )


def _columns(entity: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns whose description has its proper form, by name."""
    keys = _list(entity.get("key"))
    columns = {}
    for name, value in _mapping(entity.get("contract")).items():
        try:
            model = ColumnModel.model_validate(value)
        except ValueError:
            continue
        columns[name] = model.column(name, is_key=name in keys)
    return columns


def _name(expectation: Mapping[str, Any]) -> str:
    columns = [expectation.get("column"), *_list(expectation.get("columns"))]
    parts = [str(expectation["expect"]), *[each for each in columns if isinstance(each, str)]]
    return str(expectation.get("name") or "_".join(parts))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
