"""Deliver mutations to a far side: one file a sink, one conformance suite for all."""

from tillstream.io.sinks.base import (
    Refuse,
    Sink,
    Writer,
    keeps_positions,
    open_sink,
    register,
    sink_class,
    sink_types,
)

__all__ = [
    "Refuse",
    "Sink",
    "Writer",
    "keeps_positions",
    "open_sink",
    "register",
    "sink_class",
    "sink_types",
]
