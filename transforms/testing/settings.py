"""Hold what the command line of pytest says of simulations; light to import, because pytest always does."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SETTINGS", "Settings"]


@dataclass
class Settings:
    """Hold defaults of `simulate`.

    Attributes:
        seeds: how many seeds are tried.
        seed: the only one to try, or None.
    """

    seeds: int = 1000
    seed: int | None = None


SETTINGS = Settings()
