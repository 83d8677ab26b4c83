"""pytest has fixtures and options for transforms, and other tests do not notice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

TEST = """
from tillstream.testing import Table, DivergedError
import apache_beam as beam
import pytest

class Counts(beam.DoFn):
    def setup(self):
        self.n = 0
    def process(self, event):
        self.n += 1
        yield event.upsert({**event.after, "n": self.n})

def test_it(simulate, run_transform):
    orders = Table("orders", "id")
    events = [orders.created({"id": i}) for i in range(4)]
    assert run_transform(Counts, events[:1]).rows == {"orders": {0: {"id": 0, "n": 1}}}
    simulate(Counts, events, seeds=50)
"""


def pytest_in(folder: Path, *arguments: str) -> str:
    """Return what pytest prints in a folder of its own."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments, str(folder)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    return done.stdout + done.stderr


def test_fixtures_and_options(tmp_path: Path) -> None:
    """A seed that fails is printed, and can be asked for again; one on the command line goes before."""
    (tmp_path / "test_counts.py").write_text(TEST)
    found = pytest_in(tmp_path)
    assert "1 failed" in found
    assert "def test_counts_seed_" in found
    assert "with 2 events" in found or "with 1 events" in found
    assert "1 passed" in pytest_in(tmp_path, "--tillstream-seeds", "0")


def test_other_tests_do_not_pay(tmp_path: Path) -> None:
    """The plugin is there, and Beam is not imported."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_it(request):\n"
        "    assert request.config.pluginmanager.hasplugin('tillstream')\n"
        "    assert not [name for name in sys.modules if name.startswith('apache_beam')]\n"
    )
    assert "1 passed" in pytest_in(tmp_path)
