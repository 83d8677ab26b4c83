"""Say by what a new version of a client's job is judged before it is kept."""

from typing import Annotated

from pydantic import Field

from tillstream.configs.base import NO_TRUTH, ConfigModel, Number

__all__ = ["Upgrade"]

_Share = Annotated[float, Field(ge=0, le=1), NO_TRUTH]
_Factor = Annotated[float, Field(ge=0, le=1000), NO_TRUTH]


class Upgrade(ConfigModel):
    """Bound what an upgrade may change; past it, `tillstream upgrade` goes back to the version before."""

    watch_s: Number = Field(
        default=60,
        ge=0,
        le=86_400,
        description="How long the new version is watched before it is kept, seconds.",
    )
    restarts_max: Number = Field(
        default=0,
        ge=0,
        description="How often the new version may be restarted by Flink while it is watched.",
    )
    checkpoint_age_s_max: Number = Field(
        default=60,
        ge=1,
        description="Age that the newest checkpoint may have, and longest wait for the first, seconds.",
    )
    lag_events_max: Number = Field(
        default=1000,
        ge=0,
        description="Events that may wait to be read at the end; more are well if they have become fewer.",
    )
    dead_letter_rate_max: _Share = Field(
        default=0.01, description="Dead letters for each event read that are always well."
    )
    dead_letter_rate_factor_max: _Factor = Field(
        default=2.0, description="How many times the rate of before is well too."
    )
    dead_letters_min: Number = Field(
        default=5, ge=1, description="Dead letters that must be there before their rate is judged."
    )
    rows_ratio_min: _Factor = Field(
        default=0.5,
        description="Least rows written for each event read, as a part of what it was before; 0 for any.",
    )
    rows_ratio_max: Annotated[float, Field(gt=0), NO_TRUTH] | None = Field(
        default=2.0,
        description="Most rows written for each event read, as a multiple of the one before; null for any.",
    )
    events_min: Number = Field(
        default=100, ge=1, description="Events that must be read, before and after, before rows are judged."
    )
