"""Every block of docs/trust.md is a config that loads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tillstream.configs import load

PAGE = Path(__file__).parents[2] / "docs" / "trust.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
BASE = """
client: shop
source: {files: {paths: [in.jsonl]}}
entities:
  orders:
    topic: shop.public.orders
    key: [order_id]
    contract:
      order_id: int64
      reference: string
      customer_email: string
      status: string
      total: decimal(12,2)
      ordered_at: timestamptz
      shipped_at: timestamptz
    sinks: [out]
  customers:
    topic: shop.public.customers
    key: [email]
    contract: {email: string}
    sinks: [out]
sinks: {out: {type: files, path: /out}}
"""


def merged(base: Any, more: Any) -> Any:
    """Return a mapping with another one laid over it."""
    if not (isinstance(base, dict) and isinstance(more, dict)):
        return more
    return {**base, **{name: merged(base.get(name), value) for name, value in more.items()}}


@pytest.mark.parametrize("block", BLOCKS)
def test_the_block_loads(block: str, tmp_path: Path) -> None:
    """What a reader copies into a config fits there."""
    path = tmp_path / "shop.yaml"
    path.write_text(yaml.safe_dump(merged(yaml.safe_load(BASE), yaml.safe_load(block))), encoding="utf-8")
    assert load(path, {}).client == "shop"


def test_there_are_blocks() -> None:
    """The page shows expectations, masks, what is withheld, and schema evolution."""
    assert len(BLOCKS) >= 4
