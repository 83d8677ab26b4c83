"""Hold what the command line of pytest says of simulations; light to import, because pytest always does."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SEEDS", "SETTINGS", "Settings"]

SEEDS = 1000


@dataclass
class Settings:
    """Hold what a person asked for, which goes before what tests say.

    Attributes:
        seeds: how many seeds are tried, or None.
        seed: the only one to try, or None.
    """

    seeds: int | None = None
    seed: int | None = None


SETTINGS = Settings()
