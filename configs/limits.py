"""Say what a client's transforms may use, and how much may go wrong."""

from typing import Annotated

from pydantic import Field, StringConstraints

from tillstream.configs.base import NO_TRUTH, ConfigModel, Number

__all__ = ["Limits"]

_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Limits(ConfigModel):
    """Bound one client's job, so that what goes wrong in it stays in it; see also flink.memory_mb_max."""

    record_timeout_ms: Annotated[int, Field(ge=100, le=3_600_000), NO_TRUTH] | None = Field(
        default=10_000,
        description=(
            "How long a transform may work on one record, milliseconds; past it the record becomes a dead "
            "letter, timed_out. null: for ever."
        ),
    )
    mutations_per_record_max: Number = Field(
        default=10_000, ge=1, description="How many mutations a transform may make of one record."
    )
    errors_max: Annotated[int, Field(ge=1), NO_TRUTH] | None = Field(
        default=10_000,
        description=(
            "Dead letters of transforms and trust stages within the window, in each Python process, past "
            "which the job stops and says why. null: it never does."
        ),
    )
    error_window_s: Number = Field(
        default=60, ge=1, le=86_400, description="Window in which errors are counted, seconds of wall time."
    )
    log_lines_per_s_max: Number = Field(
        default=100,
        ge=1,
        description="Lines that each Python process may log, a second; ten seconds' worth may come at once.",
    )
    environment: list[_Variable] = Field(
        default=[],
        description=(
            "Environment variables that the job's processes see, beside the system's own and the secrets "
            "that this config names."
        ),
    )
