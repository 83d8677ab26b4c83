"""Mangled configs: whatever happens to a file, loading it ends well or in a ConfigError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tillstream import configs
from tillstream.configs import load
from tillstream.pipelines.errors import ConfigError

LINES = (Path(configs.__file__).parent / "clients" / "globex.yaml").read_text(encoding="utf-8").splitlines()
VALUES = [
    "",
    "[]",
    "{}",
    "5",
    ".nan",
    ".inf",
    "2024-13-01",
    "${X}",
    "${",
    "!!binary aGk=",
    "'~at'",
    "[key]",
    "*a",
    "&a b",
]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(VALUES)), min_size=1, max_size=4
    )
)
def test_values_of_any_kind(tmp_path: Path, changes: list[tuple[int, str]]) -> None:
    """Values of the wrong kind, at any place, are reported with the file's name and a line."""
    lines = list(LINES)
    for place, value in changes:
        lines[place] = f"{lines[place].split(':')[0]}: {value}"
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(lines), encoding="utf-8")
    try:
        load(path, {})
    except ConfigError as error:
        for line in str(error).splitlines():
            assert line.startswith(f"{path}:")
            assert "found " in line


@pytest.mark.parametrize("cut", range(1, LINES.index("sinks:"), 5))
def test_cut_files(tmp_path: Path, cut: int) -> None:
    """A file that ends before its sinks is reported, not taken for a smaller config."""
    path = tmp_path / "c.yaml"
    path.write_text("\n".join(LINES[:cut])[:-1], encoding="utf-8")
    with pytest.raises(ConfigError):
        load(path, {})
