"""Turn pydantic models into the columns of a contract, and help authors to write such models.

A contract checks rows in compiled code, never by pydantic itself. So whatever a model asks of its fields is
compiled here into the rules of a column, or the model is refused: nothing in it is left unchecked in silence.
"""

from __future__ import annotations

import datetime as dt
import enum
import types
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tillstream.configs import Column, ColumnModel
from tillstream.configs.column_rules import ColumnRules
from tillstream.pipelines.errors import TransformError

__all__ = ["EXTRA", "columns_of_model", "field"]

# Under this name a field's JSON Schema carries what JSON Schema has no words for.
EXTRA = "x-tillstream"

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
_RULES = tuple(ColumnRules.model_fields)
_DIGITS = ("max_digits", "decimal_places")
# What no rule is made of, because decoding keeps to it anyway: values are never coerced.
_KEPT = {"strict": True, "coerce_numbers_to_str": False, "allow_inf_nan": True, "union_mode": "smart"}
_EXPECTED = (
    "expected one of bool, int, float, Decimal, str, bytes, date, time, datetime, UUID, dict, list, "
    "a Literal or an Enum of texts or whole numbers"
)


def field(
    default: Any = ...,
    *,
    type: str | None = None,  # noqa: A002  (what authors look for)
    unit: str = "",
    pii: str | None = None,
    key: bool = False,
    description: str = "",
    **rules: Any,
) -> Any:
    """Return a field of a contract: pydantic's Field, with what a column has beside it.

        class Order(BaseModel):
            order_id: int = field(key=True, description="Number of the order.")
            total: Decimal = field(type="decimal(12,2)", unit="EUR", ge=0)
            email: str | None = field(None, pii="email")

    Args:
        default: value of a row that lacks the column; none by default.
        type: of the column, as a config spells it; by default the annotation's. `json` takes any value, and
            so lets an annotation stand whose inner parts nobody checks.
        unit: of its values, such as EUR.
        pii: class of personal data that it holds, such as email.
        key: whether it is part of the primary key.
        description: what it means, for people.
        rules: constraints as of pydantic's Field: ge, gt, le, lt, multiple_of, min_length, max_length,
            pattern, and of decimals max_digits and decimal_places.
    """
    about = {"type": type, "unit": unit or None, "pii": pii, "key": key or None}
    extra: Any = {name: value for name, value in about.items() if value is not None}
    return Field(
        default,
        description=description or None,
        json_schema_extra={EXTRA: extra} if extra else None,
        **rules,
    )


def columns_of_model(model: type[BaseModel]) -> tuple[Column, ...]:
    """Return the columns of a model, in order.

    Raises:
        TransformError: for a field whose type no column has, and for a rule that none is checked for.
    """
    found = model.__pydantic_decorators__
    validators = [
        *found.validators,
        *found.field_validators,
        *found.root_validators,
        *found.model_validators,
    ]
    if validators:
        raise TransformError(
            f"contract {model.__name__}: found validator {validators[0]}, expected none, because contracts "
            "run compiled and call no Python: check it in process, or by an expectation in the config"
        )
    return tuple(_column(model, name, about) for name, about in model.model_fields.items())


def _column(model: type[BaseModel], name: str, about: FieldInfo) -> Column:
    place = f"contract {model.__name__}: field {name!r}"
    kind, nullable, metadata = _unwrapped(about.annotation)
    asked = dict(_constraints(place, [*about.metadata, *metadata]))
    extra = about.json_schema_extra if isinstance(about.json_schema_extra, dict) else {}
    own: Any = extra.get(EXTRA) or {}
    digits = {rule: asked.pop(rule) for rule in _DIGITS if rule in asked}
    kind, one_of = _choices(place, kind)
    if one_of is not None:
        asked["one_of"] = one_of
    text = own.get("type") or _text(kind, digits)
    if text is None:
        raise TransformError(f"{place} is a {about.annotation}, {_EXPECTED}{_hint(kind)}")
    if about.alias or about.validation_alias:
        raise TransformError(f"{place} has an alias, expected none: a field is named as its column")
    try:
        column = ColumnModel(
            type=str(text),
            nullable=nullable,
            description=about.description or "",
            unit=own.get("unit", ""),
            pii=own.get("pii"),
            rules=ColumnRules(**asked) if asked else None,
            default=_default(place, about),
        )
    except ValidationError as error:
        said = "; ".join(each["msg"].removeprefix("Value error, ") for each in error.errors())
        raise TransformError(f"{place}: {said}") from error
    return column.column(name, is_key=bool(own.get("key")))


def _unwrapped(annotation: Any) -> tuple[Any, bool, list[Any]]:
    """Return a type without None and without what annotates it, whether None fits, and the latter."""
    metadata: list[Any] = []
    nullable = False
    while True:
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            for each in arguments[1:]:
                metadata += each.metadata if isinstance(each, FieldInfo) else [each]
            annotation = arguments[0]
        elif origin in (Union, types.UnionType):
            kinds = [each for each in arguments if each is not type(None)]
            nullable = nullable or len(kinds) < len(arguments)
            if len(kinds) != 1:
                return Union, nullable, metadata
            annotation = kinds[0]
        else:
            return annotation, nullable, metadata


def _constraints(place: str, metadata: list[Any]) -> Iterator[tuple[str, Any]]:
    for each in metadata:
        found = {
            name: value
            for name in (*_RULES, *_DIGITS, *_KEPT)
            if (value := getattr(each, name, None)) is not None
        }
        extra = {name: value for name, value in _attributes(each).items() if value not in (None, False)}
        unknown = [name for name in extra if name not in found]
        if unknown or not found:
            raise TransformError(
                f"{place} asks for {unknown[0] if unknown else each!r}, which no column is checked for, "
                f"expected one of {', '.join((*_RULES, *_DIGITS))}"
            )
        for name, value in found.items():
            if name in _KEPT:
                if value is not _KEPT[name] and value != _KEPT[name] and name != "strict":
                    raise TransformError(f"{place} asks for {name}={value}, which no column is checked for")
            else:
                # A compiled pattern is as good as its text.
                yield name, getattr(value, "pattern", value)


def _attributes(each: Any) -> dict[str, Any]:
    slots = getattr(each, "__dict__", None)
    if slots is None:
        slots = {name: getattr(each, name) for name in getattr(each, "__slots__", ())}
    # Pydantic's own holder keeps them one level down.
    return dict(slots.get("__dict__", slots))


def _choices(place: str, kind: Any) -> tuple[Any, tuple[Any, ...] | None]:
    """Return the type of the values of a Literal or an Enum, and the values; others as they are."""
    if get_origin(kind) is Literal:
        values = get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        values = tuple(each.value for each in kind)
    else:
        return kind, None
    kinds = {type(value) for value in values}
    if kinds not in ({str}, {int}):
        raise TransformError(f"{place} is one of {values}, expected all of them texts, or all whole numbers")
    return kinds.pop(), values


def _text(kind: Any, digits: dict[str, int]) -> str | None:
    if kind is Decimal:
        return f"decimal({digits.get('max_digits', 38)},{digits.get('decimal_places', 9)})"
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (list, dict) and arguments not in ((Any,), (str, Any)):
        return None
    return _KINDS.get(origin or kind)


def _hint(kind: Any) -> str:
    inner = get_origin(kind) in (list, dict) or (isinstance(kind, type) and issubclass(kind, BaseModel))
    said = "; what lies inside of JSON is not checked: say that this is meant, by field(type='json')"
    return said if inner else ""


def _default(place: str, about: FieldInfo) -> Any:
    if about.default_factory is not None:
        raise TransformError(f"{place} has a default_factory, expected a default that is a value")
    value = None if about.default is PydanticUndefined else about.default
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    return str(value) if isinstance(value, (Decimal, uuid.UUID)) else value
