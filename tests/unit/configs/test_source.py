"""Files sources: which files their patterns stand for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.configs import FilesSource
from tillstream.pipelines.errors import ConfigError


def source_of(folder: Path, *paths: str) -> FilesSource:
    """Return a source of patterns that start from a folder."""
    return FilesSource.model_validate({"paths": list(paths)}, context={"folder": folder})


def test_patterns(tmp_path: Path) -> None:
    """Patterns come in their order, files of one in the order of their names, each file once."""
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = source_of(tmp_path, "b*", "*.jsonl", "**/*.gz").expand()
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        "b.jsonl",
        "a.jsonl",
        "deep/c.jsonl.gz",
    ]


def test_folders_are_taken_literally(tmp_path: Path) -> None:
    """A folder's own name is no pattern, whatever signs it holds; folders are no files."""
    folder = tmp_path / "a[b]*"
    (folder / "x.d").mkdir(parents=True)
    (folder / "x.jsonl").touch()
    assert source_of(folder, "x*").expand() == [folder / "x.jsonl"]


def test_homes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may start from one's home; the home of an unknown user is refused."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jsonl").touch()
    assert source_of(Path("/nowhere"), "~/a.jsonl").expand() == [tmp_path / "a.jsonl"]
    with pytest.raises(ValueError, match="home of nobody"):
        source_of(tmp_path, "~no-such-user/a.jsonl")


def test_nothing_found(tmp_path: Path) -> None:
    """A pattern that matches nothing is named."""
    with pytest.raises(ConfigError, match=r"none\*"):
        source_of(tmp_path, "none*").expand()
