"""The tutorial's first half, which needs no services, does what it says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


def test_a_transform_is_made_changed_and_tested(walkthrough: Any, tmp_path: Path) -> None:
    """Every command and edit up to the tested transform works as shown, in the order shown."""
    folder = tmp_path / "acme"
    folder.mkdir()
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    page = walkthrough(PAGE, folder, {"PATH": path, "PYTHONDONTWRITEBYTECODE": "1"})
    assert page.follow("Make one", "Make it yours") == 10


def test_every_block_is_followed_somewhere(walkthrough: Any, tmp_path: Path) -> None:
    """No section of the page is left out by the tests, and no block is of a kind that they pass over."""
    page = walkthrough(PAGE, tmp_path, {})
    integration = (PAGE.parents[1] / "tests" / "integration" / "test_tutorial.py").read_text(encoding="utf-8")
    assert {block.kind for block in page.blocks} == {"console", "diff"}
    assert all(f'"{block.section}"' in integration for block in page.blocks)
