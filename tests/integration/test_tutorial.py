"""The tutorial, whole, in a new environment, on a local stack of its own."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tillstream.runners.local.stack import LocalStack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def test_a_new_user_ends_with_their_own_transform_live(walkthrough: Any, tmp_path: Path) -> None:
    """From the empty folder to the rollback, every command and edit works as shown.

    The new environment takes what tillstream needs from the one that runs the tests; tillstream itself is
    installed as the page says.
    """
    folder = tmp_path / "acme"
    folder.mkdir()
    scripts, packages = sysconfig.get_path("scripts"), sysconfig.get_path("purelib")
    page = walkthrough(
        ROOT / "docs" / "tutorial.md",
        folder,
        {"PATH": f"{scripts}:{os.environ['PATH']}", "PYTHONPATH": packages, "PIP_NO_DEPS": "1"},
        {"/path/to/tillstream": str(ROOT)},
    )
    try:
        followed = page.follow("Install", "Make one", "Make it yours", "Live", "Upgrade", "Roll back", "Stop")
    finally:
        LocalStack.open(folder / ".tillstream").down(wipe=True)
    assert followed == len(page.blocks)
