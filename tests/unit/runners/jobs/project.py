"""A client's project as its people keep it: a config, and transforms in a folder beside it."""

from __future__ import annotations

from pathlib import Path

CONFIG = """\
client: shop
source:
  kafka:
    bootstrap_servers: ${KAFKA}
    sasl_mechanism: PLAIN
    security_protocol: SASL_PLAINTEXT
    sasl_username: ${KAFKA_USER:-reader}
    sasl_password: ${KAFKA_PASSWORD}
entities:
  orders:
    topic: shop.public.orders
    key: [order_id]
    contract: {order_id: int64, total: "decimal(12,2)", note: string}
    transform: shop.big@${BIG_VERSION:-1.0.0}
    sinks: [lake]
transforms:
  path: transforms
  modules: [shop_transforms.big]
sinks:
  lake: {type: files, path: out}
"""
MODULE = """\
import apache_beam as beam
import shop_rules
from tillstream.transforms.api import transform

@transform("shop.big@1.0.0")
class Big(beam.DoFn):
    NAMES = frozenset({"a", "b", "c", "d"})

    def __init__(self):
        self.seen = {"x", "y", "z"}

    def process(self, event):
        yield event.upsert({**event.after, "note": shop_rules.NOTE})
"""


def write_project(folder: Path, *, config: str = CONFIG, module: str = MODULE) -> Path:
    """Write a project into a folder, and return the path of its config."""
    package = folder / "transforms" / "shop_transforms"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "big.py").write_text(module)
    (package / "rates.csv").write_text("eur,1\n")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "big.pyc").write_bytes(b"never carried")
    (folder / "transforms" / "shop_rules.py").write_text("NOTE = 'big'\n")
    (folder / "transforms" / "notes_of_nobody.py").write_text("NOTE = 'unused'\n")
    path = folder / "shop.yaml"
    path.write_text(config)
    return path
