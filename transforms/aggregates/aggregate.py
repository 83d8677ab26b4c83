"""Let the author of an aggregate say what each row contributes, and what a group's rows are made of.

    @transform("acme.sales_per_store@1.0.0", input=Order, output=StoreSales)
    class SalesPerStore(Aggregate):
        window = FixedWindows(3600)
        combine = {"orders": Count(), "revenue": Sum("total")}

        def contributions(self, row, event):
            yield Contribution((row["store_id"],), {"total": row["total"]}, row["ordered_at"])

        def rows(self, group, window, totals):
            yield {"store_id": group[0], "hour": window.start, **totals}

When a row changes, what it contributed is taken back, and what it contributes now is added; when it is
deleted, it is only taken back. The rows of each group that this touches are upserted, those that are gone are
deleted.
"""

from __future__ import annotations

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from apache_beam.transforms.window import WindowFn

from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import ChangeEvent, Row
from tillstream.transforms.aggregates.combining import Combine, Count, Max, Min, Sum, TopN
from tillstream.transforms.aggregates.windowing import Window

__all__ = [
    "Aggregate",
    "Combine",
    "Contribution",
    "Count",
    "Max",
    "Min",
    "Sum",
    "TopN",
    "Window",
    "check_aggregate",
]

_WEEK_S = 7 * 86_400


@dataclass(frozen=True)
class Contribution:
    """Say what a row adds to one group.

    Attributes:
        group: values that tell the group apart; must be found again in the key of the rows that `rows` makes.
        values: that `combine` adds up, by name.
        time: event time, with its zone; picks the windows. Not needed where the aggregate has none.
    """

    group: tuple[Any, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    time: dt.datetime | None = None


class Aggregate(ABC):
    """Be the base of aggregates; an instance has no state of its own.

    Attributes:
        window: Beam's window function, such as FixedWindows(3600) or SlidingWindows(3600, 300), in seconds.
            None counts all time together. Windows that merge, such as sessions, are refused.
        allowed_lateness_s: how long behind its end a window takes changes, in seconds of event time. The
            clock is the newest event time seen. What comes later becomes a dead letter `late`.
        combine: what is added up, by the name under which `rows` finds it.
    """

    window: ClassVar[WindowFn | None] = None
    allowed_lateness_s: ClassVar[int] = _WEEK_S
    combine: ClassVar[Mapping[str, Combine]] = {}

    @abstractmethod
    def contributions(self, row: dict[str, Any], event: ChangeEvent) -> Iterable[Contribution]:
        """Return what a row contributes; it must depend on the arguments alone.

        Args:
            row: as the change left it, `event.after`; never called for deletes.
            event: the change.
        """

    @abstractmethod
    def rows(self, group: tuple[Any, ...], window: Window | None, totals: Mapping[str, Any]) -> Iterable[Row]:
        """Return the rows of one group that has contributions; must depend on the arguments alone.

        Args:
            group: as of its contributions.
            window: of event time; None where the aggregate has none.
            totals: results of `combine` by name.
        """


def check_aggregate(name: str, found: type[Aggregate]) -> None:
    """Raise TransformError where a class cannot work as an aggregate.

    Args:
        name: of the transform, for messages.
        found: the class.
    """
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise TransformError(f"transform {name!r}: found no {' and no '.join(missing)}, expected both")
    if not found.combine or not all(isinstance(each, Combine) for each in found.combine.values()):
        raise TransformError(
            f"transform {name!r}: found combine {found.combine!r}, expected a name and a Combine, "
            'such as {"orders": Count(), "revenue": Sum("total")}'
        )
    window = found.window
    if window is not None and (not isinstance(window, WindowFn) or window.is_merging()):
        raise TransformError(
            f"transform {name!r}: found window {window!r}, expected one of Beam's that do not merge, "
            "such as FixedWindows(3600), or None"
        )
    if found.allowed_lateness_s < 0:
        raise TransformError(
            f"transform {name!r}: found allowed_lateness_s {found.allowed_lateness_s}, expected 0 or more"
        )
