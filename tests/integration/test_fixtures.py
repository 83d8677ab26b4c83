"""What is shipped ends in the same rows, however its events are delivered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream import configs
from tillstream.transforms.fixtures.report import report

# Plans and runs each client's whole pipeline many times, which takes too long for the unit tests.
pytestmark = pytest.mark.integration

SHIPPED = sorted((Path(configs.__file__).parent / "clients").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_client_that_is_shipped_passes_the_simulator(path: Path) -> None:
    """Other bundles, repeats, other orders and crashes change nothing of what the fixtures end in."""
    (_, *lines), is_good = report(str(path), seeds=5, update=False)
    assert is_good, "\n".join(lines)
    assert all("yes" in line and "5 seeds" in line for line in lines), lines
