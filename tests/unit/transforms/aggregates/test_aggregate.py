"""An aggregate that cannot work is refused before a job starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.transforms.window import FixedWindows, GlobalWindows, Sessions

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution, Count, check_aggregate


class Working(Aggregate):
    """Count rows."""

    combine = {"rows": Count()}

    def contributions(self, row: dict[str, Any], event: Any) -> Iterator[Contribution]:  # noqa: ARG002
        """Count each row."""
        yield Contribution(())

    def rows(self, group: Any, window: Any, totals: Any) -> Iterator[dict[str, Any]]:  # noqa: ARG002
        """Make one row."""
        yield dict(totals)


@pytest.mark.parametrize("window", [None, FixedWindows(60), GlobalWindows()])
def test_it_may_have_windows_or_none(window: Any) -> None:
    """All windows that do not merge will do."""
    check_aggregate("a.b@1.0.0", type("Windowed", (Working,), {"window": window}))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"combine": {}}, r"found combine \{\}, expected a name and a Combine"),
        ({"combine": {"rows": "count"}}, "expected a name and a Combine"),
        ({"window": Sessions(60)}, "expected one of Beam's that do not merge"),
        ({"window": 60}, "found window 60, expected one of Beam's"),
        ({"allowed_lateness_s": -1}, "found allowed_lateness_s -1, expected 0 or more"),
    ],
)
def test_what_cannot_work_is_named(changes: dict[str, Any], said: str) -> None:
    """The error names the transform, what was found, and what is expected."""
    with pytest.raises(TransformError, match=f"transform 'a.b@1.0.0': .*{said}"):
        check_aggregate("a.b@1.0.0", type("Broken", (Working,), changes))


def test_both_methods_are_needed() -> None:
    """What has no rows is none."""
    with pytest.raises(TransformError, match="found no contributions and no rows, expected both"):
        check_aggregate("a.b@1.0.0", type("Empty", (Aggregate,), {"combine": {"rows": Count()}}))
