"""Say what an entity's rows must be like before they are delivered, and which of their columns are masked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tillstream.configs import forms
from tillstream.configs.base import NO_TRUTH, ConfigModel, Name
from tillstream.configs.secrets import SecretRef

__all__ = ["STREAM_KINDS", "Expectation", "Mask", "Privacy", "Severity"]

Severity = Literal["drop", "quarantine", "warn", "fail"]
# What these look at is no single row, so they can refuse none.
STREAM_KINDS = ("unique", "row_count_drift")

_Column = Annotated[str, StringConstraints(pattern=forms.COLUMN)]
_Bound = Annotated[int | float | str, NO_TRUTH]
_Value = bool | int | float | str


class Expectation(ConfigModel):
    """Say one thing that holds for all rows of an entity; deletes are not looked at."""

    expect: Literal[
        "not_null",
        "range",
        "in_set",
        "regex",
        "freshness",
        "cross_field",
        "unique",
        "row_count_drift",
    ] = Field(description="What is expected; docs/trust.md has all kinds with their fields.")
    name: Name | None = Field(
        default=None, description="Its name in dead letters and metrics. Default: kind and columns."
    )
    severity: Severity | None = Field(
        default=None,
        description=(
            "What becomes of a row that breaks it. drop: it is counted and not delivered. quarantine: it "
            "becomes a dead letter. warn: it is delivered, counted and logged. fail: the job stops. Default: "
            "quarantine; of unique and row_count_drift, which take warn and fail alone, warn."
        ),
    )
    column: _Column | None = Field(
        default=None, description="Column that not_null, range, in_set and regex look at."
    )
    columns: list[_Column] | None = Field(
        default=None, min_length=1, description="Columns whose values together are unique."
    )
    min: _Bound | None = Field(default=None, description="Least value of a range, itself included.")
    max: _Bound | None = Field(default=None, description="Greatest value of a range, itself included.")
    values: list[_Value] | None = Field(default=None, min_length=1, description="All values of in_set.")
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Regular expression that the whole text matches."
    )
    expression: str | None = Field(
        default=None,
        description=(
            "Condition of cross_field over columns, such as `total >= 0 and shipped_at >= ordered_at`."
        ),
    )
    age_s_max: Annotated[int, Field(ge=1), NO_TRUTH] | None = Field(
        default=None, description="Longest time since the commit in the source for freshness, seconds."
    )
    window_s: Annotated[int, Field(ge=1, le=366 * 86_400), NO_TRUTH] | None = Field(
        default=None,
        description=(
            "Event time, in seconds: within which unique holds, or over which row_count_drift counts rows."
        ),
    )
    windows: Annotated[int, Field(ge=1, le=1000), NO_TRUTH] | None = Field(
        default=None,
        description="Windows of the past whose mean row_count_drift compares with. Default: 7.",
    )
    drift_ratio_max: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description="How far a window's rows may lie from that mean, as a part of it: 0.5 for half of it.",
    )

    @property
    def own_severity(self) -> Severity:
        """Return what becomes of a row that breaks it."""
        return self.severity or ("warn" if self.expect in STREAM_KINDS else "quarantine")

    @property
    def own_name(self) -> str:
        """Return its name, or what stands for it."""
        return self.name or "_".join([self.expect, *self.used_columns])

    @property
    def used_columns(self) -> list[str]:
        """Return the columns that it names, but for those inside of an expression."""
        return [self.column] if self.column is not None else list(self.columns or ())


class Mask(ConfigModel):
    """Say what takes the place of a value; null stays null."""

    mask: Literal["hash", "truncate", "redact", "tokenise"] = Field(
        description=(
            "hash: HMAC-SHA256 with the client's salt, 64 hex digits. tokenise: 16 letters and digits, the "
            "same ones for the same value of one PII class in all entities. truncate: its first characters. "
            "redact: null, or a fixed text."
        )
    )
    characters: Annotated[int, Field(ge=1, le=1000), NO_TRUTH] | None = Field(
        default=None, description="How many characters truncate keeps."
    )
    text: str | None = Field(default=None, description="What redact writes. Default: null.")


class Privacy(ConfigModel):
    """Say how personal data is masked before anything is written, dead letters included."""

    salt: SecretRef | None = Field(
        default=None,
        description="Reference to the salt of hashes and tokens, at least 16 bytes; needed where masks are.",
    )
    by_class: dict[Name, Mask] = Field(
        default={}, description="Mask of each PII class that contracts give columns, by the class."
    )
    error_messages: Literal["replace", "withhold"] = Field(
        default="replace",
        description=(
            "What dead letters say of an exception. replace: its message, with the record's masked values "
            "replaced. withhold: its type and place alone, so that a transform that puts a part of a value "
            "into a message reveals nothing."
        ),
    )
