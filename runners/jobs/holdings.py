"""Say in words what the states of a job hold."""

from __future__ import annotations

__all__ = ["holds", "is_droppable", "is_runners"]

# By the name of a state without _head or _log.
_WORDS = {
    "offset": "how far each partition was read",
    "shard": "which changes were seen, and the numbers of batches",
    "client": "what transforms keep for each key",
    "held": "rows of keys that are held back",
    "aggregate": "the totals of groups, and what rows have added to them",
    "joined": "events that lookups wait for, and what they found",
    "references": "the newest rows of looked-up entities, and who asked for them",
    "packed": "the numbers of batches",
    "watched": "what expectations have seen",
    "gather": "rows of transactions that are not whole yet",
    "released": "which transactions were let go",
    "keyed": "batches that no sink has taken yet",
}
# Derived from rows that sinks have. The others hold rows, or what keeps them from being written twice.
_DROPPABLE = frozenset({"aggregate", "joined", "references", "packed", "watched", "released"})
_RUNNERS = (
    *("pushed-back-elements", "watermark-holds", "pending-timers", "sortBuffer", "stable-input-buffer"),
    *("_timer_state", "buffered"),
)
_SUFFIXES = ("_head", "_log")


def _plain(state: str) -> str:
    for suffix in _SUFFIXES:
        state = state.removesuffix(suffix)
    return state


def holds(state: str) -> str:
    """Return what a state holds."""
    return _WORDS.get(_plain(state), "what the client's code keeps in it")


def is_runners(state: str) -> bool:
    """Tell whether a state is the runner's own, which it has in each stage with state."""
    return state.startswith(_RUNNERS)


def is_droppable(state: str) -> bool:
    """Tell whether a state may be dropped with the stage that nobody wants any more."""
    plain = _plain(state)
    return plain in _DROPPABLE or plain not in _WORDS
