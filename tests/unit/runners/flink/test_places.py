"""What Flink names by an address is found where it lies on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.runners.flink.places import local_path


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("file:/a/b", Path("/a/b")),
        ("file:///a/b%20c", Path("/a/b c")),
        ("gs://bucket/a", None),
        ("/a/b", None),
        ("", None),
    ],
)
def test_only_files_have_a_path(address: str, path: Path | None) -> None:
    """Both of Flink's spellings are read; another store, or no address at all, has none."""
    assert local_path(address) == path
