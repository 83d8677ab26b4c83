"""Let the author of an aggregate say what each row contributes, and what a group's row is made of."""

from __future__ import annotations

from abc import ABC

__all__ = ["Aggregate"]


class Aggregate(ABC):
    """Be the base of aggregates."""
