"""The options of a canary are taken together, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.canary.cli import chosen_canary
from tillstream.runners.jobs.canary.options import CanaryOptions

NONE: dict[str, Any] = {
    "canary": False,
    "seconds": None,
    "timeout_s": None,
    "folder": None,
    "tolerate": None,
    "expect_changes": False,
    "diff_file": None,
    "clients": 1,
}


def test_without_it_there_is_none() -> None:
    """With it, what is not said is its default."""
    assert chosen_canary(**NONE) is None
    assert chosen_canary(**{**NONE, "canary": True}) == CanaryOptions()
    found = chosen_canary(**{**NONE, "canary": True, "seconds": 0.0, "timeout_s": 5.0, "tolerate": ["a.b"]})
    assert found == CanaryOptions(seconds=0.0, deadline_s=5.0, tolerate=("a.b",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tolerate": ["a.b"]}, "found --tolerate without --canary"),
        ({"expect_changes": True, "seconds": 3.0}, "found --canary-for, --expect-changes without --canary"),
        ({"canary": True, "diff_file": Path("d"), "clients": 2}, "found --diff-file for 2 clients"),
    ],
)
def test_what_would_do_nothing_is_refused(given: dict[str, Any], message: str) -> None:
    """An option that is passed over would be taken for one that is heeded."""
    with pytest.raises(UserError, match=message):
        chosen_canary(**{**NONE, **given})
