"""The registry is a dict that refuses duplicates, checks names, and helps."""

from __future__ import annotations

import apache_beam as beam
import pytest

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.clients import bundled_transforms
from tillstream.transforms.registry import Registry


class _DoFn(beam.DoFn):
    """Do nothing."""


def test_versions_live_side_by_side() -> None:
    """Two versions of one transform are two entries."""
    registry = Registry()
    registry.register("acme.orders@1.0.0")(_DoFn)
    registry.register("acme.orders@1.1.0")(_DoFn)
    assert registry.names() == ["acme.orders@1.0.0", "acme.orders@1.1.0"]
    assert registry.get("acme.orders@1.1.0") is _DoFn


def test_a_name_is_taken_once() -> None:
    """A second DoFn of one name and version is refused."""
    registry = Registry()
    registry.register("acme.orders@1.0.0")(_DoFn)
    with pytest.raises(TransformError, match="registered already"):
        registry.register("acme.orders@1.0.0")


@pytest.mark.parametrize("name", ["orders@1.0.0", "acme.orders", "acme.orders@1.0", "Acme.orders@1.0.0", ""])
def test_names_have_a_form(name: str) -> None:
    """Client, name and three numbers, or a sentence."""
    with pytest.raises(TransformError, match=r"client\.transform@1\.2\.3"):
        Registry().register(name)


def test_an_unknown_name_lists_near_ones() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(TransformError, match=r"expected one of: globex\.price_in_euros@1\.0\.0"):
        bundled_transforms().get("globex.price_in_euro@1.0.0")
