"""Hold the transforms that come with tillstream, one file a client."""

from tillstream.transforms.clients import globex
from tillstream.transforms.registry import Registry

__all__ = ["bundled_transforms"]


def bundled_transforms() -> Registry:
    """Return a registry of every transform that comes with tillstream."""
    registry = Registry()
    globex.register(registry)
    return registry
