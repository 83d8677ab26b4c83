"""The docs do not lie: what they name exists, what they list is whole."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest
import typer.main

from tillstream.cli import app
from tillstream.cli_reference import reference
from tillstream.io.sinks import sink_class, sink_types
from tillstream.pipelines.isolation.strikes import Kind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "k8s" / "README.md"]
PRODUCT = ("configs", "io", "pipelines", "runners", "transforms")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that is there."""
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_nothing_is_left_to_fill_in(page: Path) -> None:
    """No page holds a placeholder."""
    assert re.findall(r"@[A-Z]+@|TODO|TBD", page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    """Every `make target` and `tillstream command` that a page shows is one."""
    text = page.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    commands = set(getattr(typer.main.get_command(app), "commands", {}))
    assert set(re.findall(r"[`$] ?make ([a-z]+)", text)) <= targets
    assert set(re.findall(r"[`$](?:\.venv/bin/)?tillstream ([a-z0-9]+)", text)) <= commands


def test_the_command_lines_reference_is_up_to_date() -> None:
    """`python -m tillstream.cli_reference > docs/reference/cli.md` was run after the last change."""
    assert (ROOT / "docs/reference/cli.md").read_text(encoding="utf-8") == reference()


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    """The table of reasons has each one that the code gives, and no other."""
    given = set()
    for folder in PRODUCT:
        for path in (ROOT / folder).rglob("*.py"):
            given |= set(re.findall(r"RecordError\(\s*\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
            given |= set(re.findall(r"reason=\"([a-z_]+)\"", path.read_text(encoding="utf-8")))
    given |= set(get_args(Kind))
    page = (ROOT / "docs/dead-letters.md").read_text(encoding="utf-8")
    rows = [
        line.split("|")[2]
        for line in page.splitlines()
        if line.startswith(("| read", "| transform", "| write"))
    ]
    assert {reason for row in rows for reason in re.findall(r"`([a-z_]+)`", row)} == given


def test_every_sink_is_in_the_table_with_its_guarantee() -> None:
    """What a reader is promised is what the sink's class says."""
    page = (ROOT / "docs/sinks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \|[^|]*\| ([a-z-]+) \|", page, re.MULTILINE)
    assert dict(rows) == {kind: sink_class(kind).guarantee for kind in sink_types()}


@pytest.mark.parametrize("name", ["contracts", "transforms", "testing"])
def test_the_python_of_a_page_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its blocks run in order, as a reader would type them, and what they assert holds."""
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    module = ModuleType(f"docs_{name}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    for number, block in enumerate(blocks):
        exec(compile(block, f"{name}.md, block {number}", "exec"), vars(module))  # noqa: S102  (our own page)
    assert len(blocks) > 1
