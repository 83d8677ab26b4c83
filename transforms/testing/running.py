"""Run a transform, or a client's whole pipeline, on literal events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from tillstream.pipelines.records import ChangeEvent
from tillstream.transforms.testing.events import Columns, place
from tillstream.transforms.testing.executor import Executor, deliveries
from tillstream.transforms.testing.result import Result, result_of
from tillstream.transforms.testing.schedules import Schedule
from tillstream.transforms.testing.subjects import Tested, subject_of

__all__ = ["run"]


def run(
    tested: Tested,
    events: Iterable[ChangeEvent],
    *,
    source: str | None = None,
    into: str | None = None,
    keys: Mapping[str, Columns] | None = None,
    modules: Sequence[str] = (),
    schedule: Schedule | None = None,
) -> Result:
    """Run a transform on events and return what it made.

        result = run(OrdersEnriched, [created("orders", {"order_id": 1}, key="order_id")])
        assert result.rows == {"orders": {1: {"order_id": 1}}}

    The stages are those of the pipeline, deduplication and contracts included; only Beam's runner and the
    sinks are left out. It takes milliseconds.

    Args:
        tested: a DoFn or Aggregate, marked by @transform or not; the name of one that is registered, such as
            "acme.orders_enriched@1.0.0"; or a client, by its config (a ClientConfig) or its config's path,
            whose entities, transforms and contracts are then its own.
        events: in the order of the log; `place` says what those without a place get.
        source: the entity whose changes the transform takes. Default: the only one of the events' that it
            does not look up.
        into: the entity whose rows it makes. Default: the source itself.
        keys: key columns of entities that have no events, by name. Default for `into`: the source's.
        modules: where a name is looked for, beside what is installed.
        schedule: how the events are delivered. Default: in order, once, in one bundle.

    Raises:
        UserError: if the events and the transform do not fit together; TransformError if it cannot be used.
    """
    placed = place(events)
    subject = subject_of(tested, placed, source=source, into=into, keys=keys, modules=modules)
    delivered = deliveries(subject, placed, partitions=1)
    return result_of(Executor(subject).run(delivered, schedule or Schedule()), subject.shown)
