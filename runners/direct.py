"""Run a client's pipeline in this process, on Beam's DirectRunner: a bounded set, then the end."""

from __future__ import annotations

import datetime as dt

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tillstream.configs import ClientConfig
from tillstream.pipelines.isolation.budget import last_stop
from tillstream.pipelines.isolation.process import shared
from tillstream.pipelines.isolation.watchdog import exit_with
from tillstream.pipelines.template import build

__all__ = ["run"]


def run(config: ClientConfig) -> dict[str, int]:
    """Process what the source holds now, and return the counts of what happened.

    Returns:
        events_read, mutations_written and dead_letters.

    Raises:
        ErrorBudgetError: if more was refused than the client's limits allow.
        SchemaFrozenError: if changes outgrew a contract that the config froze.
    """
    if config.source.kafka is not None:
        kafka = config.source.kafka.starting_at(dt.datetime.now(dt.timezone.utc))
        config = config.model_copy(update={"source": config.source.model_copy(update={"kafka": kafka})})
    options = PipelineOptions(flags=[], runner="DirectRunner", job_name=config.client)
    # Nobody starts this process again, so a thread that hangs for good ends the run.
    shared().watchdog.stuck = exit_with
    pipeline = beam.Pipeline(options=options)
    build(pipeline, config, bounded=True)
    last_stop()  # of an earlier run
    try:
        result = pipeline.run()
        result.wait_until_finish()
    except Exception:
        stopped = last_stop()
        if stopped is not None:
            raise stopped from None
        raise
    counts = dict.fromkeys(("events_read", "mutations_written", "dead_letters"), 0)
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.name in counts:
            counts[counter.key.metric.name] += counter.committed or 0
    return counts
