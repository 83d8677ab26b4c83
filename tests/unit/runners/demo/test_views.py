"""The views that a demo checks are those of acme's config."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream import configs
from tillstream.configs import load
from tillstream.runners.demo.views import VIEWS, View, pairs
from tillstream.transforms.clients.acme_stock import REORDER_LEVEL
from tillstream.transforms.resolving import resolve


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_it_is_a_view_of_acme(view: View) -> None:
    """Name, key and columns are those of an entity that is made of another."""
    config = resolve(load(Path(configs.__file__).parent / "clients" / "acme.yaml", {}))
    entity = config.entities[view.name]
    assert entity.from_entity is not None
    assert tuple(entity.key) == view.key
    assert set(view.columns) <= set(entity.contract or ())


def test_each_is_there_once() -> None:
    """No view takes the place of another."""
    assert len({view.name for view in VIEWS}) == len(VIEWS)


def test_the_level_is_the_transforms() -> None:
    """The query and the transform agree on when to order."""
    (view,) = (view for view in VIEWS if view.name == "inventory_below_reorder")
    assert f"on_hand < {REORDER_LEVEL}" in view.query
    assert f"{REORDER_LEVEL} - on_hand" in view.query


def test_each_is_compared_with_its_table() -> None:
    """Every view is paired with the warehouse's table of its name."""
    assert [pair.warehouse for pair in pairs("acme")] == [("acme", view.name) for view in VIEWS]
