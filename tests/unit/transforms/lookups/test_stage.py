"""The stages of lookups within the pipeline, and who may write what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import ChangeEvent, Mutation
from tillstream.pipelines.template import build
from tillstream.transforms.api import Lookup, transform
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.writers import keys_of

from .network import SalesNamed, config, transforms


@transform("shop.straying@1.0.0", outputs={})
class Straying(beam.DoFn):
    """Make rows of what asks for nothing."""

    def process(self, event: ChangeEvent) -> Iterator[Mutation]:
        """Yield the row."""
        yield event.upsert(event.after or {})


def _proto() -> Any:
    with transforms():
        pipeline = beam.Pipeline()
        build(pipeline, config(), bounded=True)
        return pipeline.to_runner_api()


def test_labels_and_states_are_pinned() -> None:
    """State is found again by these names: changing one loses every savepoint."""
    proto = _proto()
    states = set()
    for step in proto.components.transforms.values():
        if step.spec.urn == "beam:transform:pardo:v1" and step.unique_name.startswith("JoinLookups"):
            payload = beam_runner_api_pb2.ParDoPayload()
            payload.ParseFromString(step.spec.payload)
            states |= {(step.unique_name.split("/ParDo(")[0], name) for name in payload.state_specs}
    assert states == {
        ("JoinLookups/Resolve", "references_head"),
        ("JoinLookups/Resolve", "references_log"),
        ("JoinLookups/Join", "joined_head"),
        ("JoinLookups/Join", "joined_log"),
    }
    assert not [each for each in proto.components.coders.values() if "pickled" in each.spec.urn]


def test_a_client_without_lookups_has_none_of_this() -> None:
    """What nobody asks for costs nothing, not even a stage."""
    client = config()
    entities = {name: each for name, each in client.entities.items() if name != "sales_named"}
    pipeline = beam.Pipeline()
    build(pipeline, client.model_copy(update={"entities": entities}), bounded=True)
    names = [each.unique_name for each in pipeline.to_runner_api().components.transforms.values()]
    assert not [name for name in names if "Lookup" in name]


def test_an_entity_has_one_stage_that_writes_it() -> None:
    """Each stage numbers its batches, so two of them on one entity would look like a gap."""
    with transforms():
        client = config()
        flows = flows_of(client, registry_of(client))
        assert set(keys_of(client, flows, "lookup")) == {"sales_named"}
        assert set(keys_of(client, flows, "copy")) == {"people", "places", "sales"}

    @transform("shop.sales_named@1.0.0", outputs={"people": Lookup})  # type: ignore[dict-item]  # never read
    class Greedy(SalesNamed):
        pass

    with (
        transforms(Greedy),
        pytest.raises(TransformError, match="'people' is written by what makes 'people'"),
    ):
        keys_of(client, flows_of(client, registry_of(client)), "lookup")
