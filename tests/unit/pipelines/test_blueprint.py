"""A pipeline that is only looked at leaves nothing behind."""

from __future__ import annotations

import tempfile
from pathlib import Path

import apache_beam as beam
import pytest

from tillstream.pipelines.blueprint import blueprint


def test_no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Beam's own pipeline leaves one until it is run."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pipeline = blueprint("DirectRunner")
    _ = pipeline | "One" >> beam.Create([1])
    assert pipeline.to_runner_api() is not None
    assert list(tmp_path.iterdir()) == []
    assert Path(beam.Pipeline(runner="DirectRunner").local_tempdir).parent == tmp_path
