"""Tests of the stack's passwords."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from tillstream.runners.local.secret_files import ensure_password, read_password


def test_a_password_stays(tmp_path: Path) -> None:
    """The second call finds what the first one made, which only its owner reads."""
    file = tmp_path / "secret"
    made = ensure_password(file)
    assert ensure_password(file) == made == read_password(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_all_who_ask_at_once_get_the_same(tmp_path: Path) -> None:
    """Services that start side by side share one password, none fails, and nothing is left over."""
    callers = 8
    barrier = Barrier(callers)

    def asked(file: Path) -> str:
        barrier.wait(30)
        return ensure_password(file)

    with ThreadPoolExecutor(callers) as pool:
        for number in range(50):
            file = tmp_path / f"secret-{number}"
            assert len(set(pool.map(asked, [file] * callers))) == 1
    assert len(list(tmp_path.iterdir())) == 50
