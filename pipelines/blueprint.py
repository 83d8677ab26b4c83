"""Make pipelines that are looked at or written down, and never run by the process that made them."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

__all__ = ["blueprint"]


def blueprint(runner: str, options: PipelineOptions | None = None) -> beam.Pipeline:
    """Return an empty pipeline that will not be run.

    Beam gives each pipeline a temporary folder as it is made, for the jars of transforms of other languages,
    and takes it away only when the pipeline is run: an empty folder was left in the machine's by each plan.

    Args:
        runner: Beam's name of it.
        options: of the pipeline.
    """
    pipeline = beam.Pipeline(runner=runner, options=options)
    Path(pipeline.local_tempdir).rmdir()
    return pipeline
