"""What authors import from one place is there, sorted, and costs nothing before it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tillstream import transforms


def test_every_name_is_there_and_sorted() -> None:
    """Classes first, then functions, each once."""
    names = transforms.__all__
    assert list(names) == sorted(set(names), key=lambda name: (name[0].islower(), name))
    assert all(hasattr(transforms, name) for name in names)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = transforms.Nothing


def test_beam_is_not_loaded_before_a_name_is_asked_for() -> None:
    """The command line imports modules of this package, and must answer at once."""
    code = "import sys; import tillstream.transforms; assert 'apache_beam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
