"""Acme's models say what its config and people need to know of their columns."""

from __future__ import annotations

from pathlib import Path

from tillstream import configs
from tillstream.configs import load
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.registry import find_transforms
from tillstream.transforms.resolving import resolve

CONFIG = load(Path(configs.__file__).parent / "clients" / "acme.yaml", {})


def test_every_output_marks_the_key_of_its_entity() -> None:
    """So a config that names another is refused."""
    registry = find_transforms()
    made = {name: entity for name, entity in CONFIG.entities.items() if entity.transform is not None}
    assert made
    for entity in made.values():
        output = registry.info(entity.transform or "").outputs[None]
        assert [column.name for column in columns_of_model(output) if column.key] == entity.key


def test_money_has_its_unit_and_names_their_class() -> None:
    """Decimals are euros; a name that a view looks up is masked as names are."""
    entities = resolve(CONFIG).entities
    for name in ("orders_enriched", "order_items_enriched", "sales_per_store_and_hour"):
        money = [column for column in entities[name].columns() if column.kind == "decimal"]
        assert money
        assert {column.unit for column in money} == {"EUR"}
    (found,) = (each for each in entities["orders_enriched"].columns() if each.name == "customer_name")
    assert found.pii == "name"
