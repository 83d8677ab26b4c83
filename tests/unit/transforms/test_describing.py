"""What is said of a transform is its own."""

from __future__ import annotations

import apache_beam as beam
import pytest

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.api import transform
from tillstream.transforms.describing import description
from tillstream.transforms.registry import Registry


@transform("acme.bare@1.0.0")
class Bare(beam.DoFn):  # noqa: D101  (which is what is tested)
    def process(self, event: ChangeEvent) -> None:
        """Yield nothing."""


@transform("acme.told@1.0.0")
class Told(beam.DoFn):
    """Tell.

    More of it.
    """

    def process(self, event: ChangeEvent) -> None:
        """Yield nothing."""


@pytest.mark.parametrize(("name", "doc"), [("acme.bare", ""), ("acme.told", "Tell.\n\nMore of it.")])
def test_a_class_without_words_has_none(name: str, doc: str) -> None:
    """Beam's words of its DoFn are not those of a transform."""
    registry = Registry()
    registry.add(Bare)
    registry.add(Told)
    assert description(registry, name)["doc"] == doc
