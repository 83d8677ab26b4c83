"""What a model asks of its fields is checked in each row, or the model is refused."""

from __future__ import annotations

import enum
import json
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Gt
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, StringConstraints, ValidationError, create_model, field_validator

from tillstream.configs import ColumnModel
from tillstream.pipelines.errors import RecordError, TransformError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.models import columns_of_model, field


class Status(enum.Enum):
    """Name a status."""

    OPEN = "open"
    PAID = "paid"


class Order(BaseModel):
    """Be an order."""

    order_id: int = field(key=True, description="Its number.", type="int32", ge=1)
    total: Decimal = field(type="decimal(12,2)", unit="EUR", ge=0)
    email: str | None = field(None, pii="email", pattern="@", max_length=20)
    status: Status = Status.OPEN
    size: Literal["s", "m"] | None = None
    weight: Annotated[float, Gt(0)] | None = None


GOOD = {"order_id": 1, "total": "1.50", "email": "a@b", "status": "paid", "size": "m", "weight": 0.5}


def contract(model: type[BaseModel]) -> CompiledContract:
    """Return the compiled contract of a model."""
    return CompiledContract("t", columns_of_model(model), ())


def model_of(annotation: Any, about: Any = ...) -> type[BaseModel]:
    """Return a model of one field, `v`."""
    return create_model("Made", v=(annotation, about))


def test_a_column_has_what_its_field_says() -> None:
    """Type, nullability, key, unit, class of personal data, meaning and default come from the field."""
    number, total, email, status, *_ = columns_of_model(Order)
    assert (number.kind, number.nullable, number.key, number.description) == (
        "int32",
        False,
        True,
        "Its number.",
    )
    assert (total.kind, total.precision, total.scale, total.unit) == ("decimal", 12, 2, "EUR")
    assert (email.nullable, email.pii) == (True, "email")
    assert (status.kind, status.nullable, status.default) == ("string", False, "open")
    assert all(
        ColumnModel.of(each).column(each.name, is_key=each.key) == each for each in columns_of_model(Order)
    )


def test_a_default_stands_in_for_a_column_that_is_missing() -> None:
    """Null is no missing column."""
    row = {"order_id": 1, "total": 2}
    assert contract(Order).convert(row) == (1, "2.00", None, "open", None, None)
    with pytest.raises(RecordError, match=r"status"):
        contract(Order).decode(b'{"order_id":1,"total":2,"status":null}')


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("order_id", 0, "Expected `int` >= 1"),
        ("order_id", 1 << 31, "Expected `int` <= 2147483647"),
        ("total", "-0.01", "Expected `decimal` >= 0, got `-0.01`"),
        ("email", "nobody", "matching regex '@'"),
        ("email", "@" * 21, "length <= 20"),
        ("status", "lost", "Invalid enum value 'lost', expected one of 'open', 'paid'"),
        ("size", "xl", "expected one of 's', 'm'"),
        ("weight", 0, "Expected `float` > 0"),
    ],
)
def test_a_broken_rule_is_named_with_its_field(column: str, value: Any, told: str) -> None:
    """Rows of JSON, typed rows and rows of Python values are checked alike."""
    row = {**GOOD, column: value}
    encoded = json.dumps(row).encode()
    checked = contract(Order)
    assert checked.decode(json.dumps(GOOD).encode()) == (1, "1.50", "a@b", "paid", "m", 0.5)
    for check, found in ((checked.decode, encoded), (checked.typed, encoded), (checked.convert, row)):
        with pytest.raises(RecordError) as caught:
            check(found)  # type: ignore[operator]
        assert caught.value.reason == "contract"
        assert told in caught.value.detail
        assert f"$.{column}" in caught.value.detail


def test_rows_before_a_change_need_not_keep_rules() -> None:
    """They were written when the rules were others, and may lack columns."""
    assert contract(Order).typed_loosely(b'{"order_id":0}')["order_id"] == 0


@pytest.mark.parametrize(
    ("annotation", "about", "told"),
    [
        (Annotated[str, StringConstraints(strip_whitespace=True)], ..., "strip_whitespace"),
        (list[int], ..., "field\\(type='json'\\)"),
        (dict[str, str] | None, ..., "field\\(type='json'\\)"),
        (Order, ..., "field\\(type='json'\\)"),
        (int | str, ..., "expected one of bool"),
        (str, field(ge=1), "found rule ge on type string"),
        (int, Field(alias="w"), "has an alias"),
        (list, Field(default_factory=list), "default_factory"),
        (Literal["a", 1], ..., "expected all of them texts"),
        (float, Field(allow_inf_nan=False), "allow_inf_nan"),
        (int, field(ge=1, gt=0), "found both ge and gt"),
    ],
)
def test_what_cannot_be_checked_is_refused(annotation: Any, about: Any, told: str) -> None:
    """A model never asks for something that nobody looks at."""
    with pytest.raises((TransformError, ValidationError), match=told):
        columns_of_model(model_of(annotation, about))


def test_a_validator_is_refused() -> None:
    """Contracts run compiled; Python in them would be left out in silence."""

    class Checked(BaseModel):
        v: int

        @field_validator("v")
        @classmethod
        def _odd(cls, value: int) -> int:
            return value

    with pytest.raises(TransformError, match="validator _odd"):
        columns_of_model(Checked)


def test_a_type_said_outright_lets_inner_parts_be() -> None:
    """`json` says that nobody checks what lies inside."""
    (column,) = columns_of_model(model_of(list[int], field(type="json")))
    assert column.kind == "json"


@settings(deadline=None)
@given(
    st.integers(-5, 5) | st.none(),
    st.integers(-5, 5) | st.none(),
    st.integers(1, 4) | st.none(),
    st.integers(-9, 9),
)
def test_bounds_mean_what_pydantic_means(
    gt: int | None, le: int | None, step: int | None, value: int
) -> None:
    """Of whole numbers and decimals, a contract lets pass what the model itself would."""
    rules = {name: each for name, each in (("gt", gt), ("le", le), ("multiple_of", step)) if each is not None}
    for annotation in (int, Decimal):
        model = model_of(annotation, field(**rules))
        try:
            model(v=value)
            fits = True
        except ValidationError:
            fits = False
        try:
            contract(model).decode(b'{"v":%d}' % value)
            passes = True
        except RecordError:
            passes = False
        assert passes == fits
