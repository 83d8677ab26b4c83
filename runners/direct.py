"""Run a client's pipeline in this process, on Beam's DirectRunner: a bounded set, then the end."""

from __future__ import annotations

import datetime as dt

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from tillstream.configs import ClientConfig
from tillstream.pipelines.template import build

__all__ = ["run"]


def run(config: ClientConfig) -> dict[str, int]:
    """Process what the source holds now, and return the counts of what happened.

    Returns:
        events_read, mutations_written and dead_letters.
    """
    if config.source.kafka is not None:
        kafka = config.source.kafka.starting_at(dt.datetime.now(dt.timezone.utc))
        config = config.model_copy(update={"source": config.source.model_copy(update={"kafka": kafka})})
    options = PipelineOptions(flags=[], runner="DirectRunner", job_name=config.client)
    pipeline = beam.Pipeline(options=options)
    build(pipeline, config, bounded=True)
    result = pipeline.run()
    result.wait_until_finish()
    counts = dict.fromkeys(("events_read", "mutations_written", "dead_letters"), 0)
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.name in counts:
            counts[counter.key.metric.name] += counter.committed or 0
    return counts
