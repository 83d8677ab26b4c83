"""What docs/codecs.md shows is what the code takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import yaml

from tillstream.configs.events import Events, Format
from tillstream.configs.handling_checks import check_handling

PAGE = (Path(__file__).parents[4] / "docs" / "codecs.md").read_text(encoding="utf-8")


def test_every_format_is_in_the_table() -> None:
    """In the order of the config's own list."""
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.partition("## One spelling")[0], re.MULTILINE)) == set(
        get_args(Format)
    )


def test_the_examples_are_taken() -> None:
    """Each is what may stand under source.events, and asks for nothing more."""
    examples = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert examples
    for text in examples:
        events = yaml.safe_load(text)
        Events.model_validate(events)
        contract = {"total": "decimal(12,2)", "placed_at": "timestamp", "place": "bytes"}
        entity = {"topic": "t", "contract": contract}
        assert not list(check_handling({"source": {"events": events}, "entities": {"orders": entity}}))
