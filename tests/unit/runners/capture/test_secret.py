"""A password lies in a file that only its owner reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.capture.secret import new_password, read_password, write_password


def test_a_password_is_written_for_its_owner_alone(tmp_path: Path) -> None:
    """What was there is replaced at once, and nothing is left beside it."""
    file = tmp_path / "password"
    assert read_password(file) is None
    file.write_text("old")
    file.chmod(0o644)
    password = new_password()
    write_password(file, password)
    assert read_password(file) == password
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Connect has to read it, so no other is made up."""
    with pytest.raises(UserError, match=r"capture\.role_password_file: cannot write .*/none/password"):
        write_password(tmp_path / "none" / "password", "x")
    with pytest.raises(UserError, match=r"capture\.role_password_file: cannot read"):
        read_password(tmp_path)


def test_passwords_differ() -> None:
    """Each is random, and needs no quotes."""
    first, second = new_password(), new_password()
    assert first != second
    assert all(each.isalnum() or each in "-_" for each in first)
