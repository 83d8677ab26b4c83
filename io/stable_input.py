"""Ask for stable input, for which Beam's Python SDK has no interface of its own."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.portability import common_urns

__all__ = ["StableInputParDo"]


class StableInputParDo(beam.ParDo):
    """Apply a DoFn to elements only once the checkpoint that holds them is complete.

    A restart then replays exactly the same elements. Source: beam_runner_api.proto,
    `ParDoPayload.requires_stable_input`; the Flink runner buffers elements in its state.
    """

    def to_runner_api_parameter(self, context: Any, **extra_kwargs: Any) -> tuple[str, Any]:
        """Return the payload with the requirement set, and note it for the pipeline."""
        urn, payload = super().to_runner_api_parameter(context, **extra_kwargs)
        payload.requires_stable_input = True
        context.add_requirement(common_urns.requirements.REQUIRES_STABLE_INPUT.urn)
        return urn, payload
