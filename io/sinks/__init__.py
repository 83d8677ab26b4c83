"""Deliver mutations to a far side: one file a sink, one conformance suite for all."""

from tillstream.io.sinks.base import Sink, open_sink, register, sink_class

__all__ = ["Sink", "open_sink", "register", "sink_class"]
