"""A cluster is made without its password being told."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tillstream.pipelines.errors import StackError
from tillstream.runners.local import postgres
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.ports import PREFERRED_PORTS
from tillstream.runners.local.service import Context
from tillstream.runners.local.toolchain import Jars


def test_a_statement_that_fails_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres writes a failing statement out unless it is told not to, and this one holds the password."""

    def run(command: list[str], **arguments: Any) -> subprocess.CompletedProcess[str]:
        said = "ERROR:  no space left on device\n" if "--single" in command else ""
        if said and "log_min_error_statement=panic" not in command:
            said += f"STATEMENT:  {arguments['input']}"
        return subprocess.CompletedProcess(command, 0, said)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(postgres, "_as_somebody", list)
    monkeypatch.setattr(postgres.os, "geteuid", lambda: 1000)
    warehouse = postgres.Warehouse(
        Context(Layout(tmp_path), PREFERRED_PORTS, Path("java"), Jars(tmp_path / "jars"))
    )
    warehouse.password_file.parent.mkdir()
    warehouse.data.mkdir(parents=True)
    with pytest.raises(StackError, match="no space left") as found:
        warehouse.prepare()
    assert warehouse.password_file.read_text(encoding="ascii").strip() not in str(found.value)
