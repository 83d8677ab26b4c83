"""Give a benchmark a local stack of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tillstream.runners.local.ports import unusual_ports
from tillstream.runners.local.stack import LocalStack

__all__ = ["own_stack"]


@contextmanager
def own_stack(folder: Path, services: Sequence[str], slots: int | None = None) -> Iterator[LocalStack]:
    """Start a stack that nobody else uses, and take it down again.

    Args:
        folder: made if need be; the stack is in it.
        services: to start.
        slots: as of `LocalStack.up`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stack = LocalStack.open(folder / "stack")
    try:
        stack.up(services, slots=slots, ports=unusual_ports())
        yield stack
    finally:
        stack.down(wipe=True)
