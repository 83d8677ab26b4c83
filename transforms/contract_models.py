"""Turn pydantic models into the columns of a contract."""

from __future__ import annotations

import datetime as dt
import types
import uuid
from decimal import Decimal
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tillstream.configs import Column, ColumnModel
from tillstream.pipelines.errors import TransformError

__all__ = ["columns_of_model"]

_KINDS: dict[Any, str] = {
    bool: "bool",
    int: "int64",
    float: "float64",
    str: "string",
    bytes: "bytes",
    dt.date: "date",
    dt.time: "time",
    dt.datetime: "timestamptz",
    uuid.UUID: "uuid",
    dict: "json",
    list: "json",
    Any: "json",
}


def columns_of_model(model: type[BaseModel]) -> tuple[Column, ...]:
    """Return the columns of a model, in order.

    Raises:
        TransformError: for a field whose type no column has.
    """
    return tuple(_column(model, name, field) for name, field in model.model_fields.items())


def _column(model: type[BaseModel], name: str, field: FieldInfo) -> Column:
    kind, nullable = _without_none(field.annotation)
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    text = extra.get("type") or _text(kind, field)
    if text is None:
        raise TransformError(
            f"contract {model.__name__}: field {name!r} is a {field.annotation}, "
            "expected one of bool, int, float, Decimal, str, bytes, date, time, datetime, UUID, dict, list"
        )
    return ColumnModel(type=str(text), nullable=nullable).column(name, is_key=False)


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [each for each in get_args(annotation) if each is not type(None)]
        return (kinds[0] if len(kinds) == 1 else None), len(kinds) < len(get_args(annotation))
    return annotation, False


def _text(kind: Any, field: FieldInfo) -> str | None:
    if kind is Decimal:
        limits = {
            name: value
            for each in field.metadata
            for name in ("max_digits", "decimal_places")
            if (value := getattr(each, name, None)) is not None
        }
        return f"decimal({limits.get('max_digits', 38)},{limits.get('decimal_places', 9)})"
    return _KINDS.get(get_origin(kind) or kind)
