"""Tell what differs between two configs of a client, and what each difference takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from tillstream.configs.open_places import is_open, pointer_of
from tillstream.runners.jobs.planned import Change, Effect

__all__ = ["config_changes"]

_Path: TypeAlias = tuple[str, ...]
_ABSENT: Any = object()
# No job reads them: they are for other commands.
_IDLE = frozenset({"capture", "labels", "upgrade", "version"})
# Told by `state_rules`, `contract_rules` and the rules of transforms, with what they mean.
_TOLD_ELSEWHERE = re.compile(
    r"/entities/[^/]+/(contract(/.*)?|transform|key)|/flink/(shards|max_parallelism)"
)
# Of these the parts would say less than the whole.
_WHOLE = re.compile(r"/entities/[^/]+|/sinks/[^/]+")
_MOVED = re.compile(r"/sinks/[^/]+/(type|database|schema|path|bucket|prefix|topic|topic_prefix|table)")
_OWN_FOLDER = re.compile(r"/transforms/path")
_START = "/source/kafka/start"
_SECRET = re.compile(r"password|secret|token|credential|auth$|salt|key_?file", re.IGNORECASE)
_NOTES = {
    re.compile(r"/privacy/salt"): "values are masked otherwise than those that are written already",
    re.compile(r"/sinks/[^/]+/(host|port|url|bootstrap_servers)"): "the same far side at another address?",
    re.compile(r"/entities/[^/]+/topic"): "the new topic is read from source.kafka.start",
}
_TARGET_MOVED = "rows of before are not written there: fill it by 'tillstream resync'"


def config_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return what differs, by JSON pointer; secrets' values are in no config, and their places are not shown.

    Args:
        old: config of the job that runs, as JSON values, as its launch has it.
        new: of the one that is wanted.
    """
    found = []
    for path, was, now in _differences(dict(old), dict(new), ()):
        pointer = pointer_of(path)
        if not _TOLD_ELSEWHERE.fullmatch(pointer):
            effect = _effect(path, pointer)
            note = _note(pointer, was, now)
            found.append(Change("config", pointer, _shown(path, was), _shown(path, now), effect, note))
    return found


def _differences(old: Any, new: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any]]:
    if old == new:
        return
    is_partial = old is _ABSENT or new is _ABSENT
    if isinstance(old, dict) and isinstance(new, dict) and not is_partial:
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _differences(old.get(name, _ABSENT), new.get(name, _ABSENT), (*path, str(name)))
        return
    # A default that one release does not know of is no difference to a null.
    was, now = (None if each is _ABSENT else each for each in (old, new))
    if was != now:
        yield path, was, now


def _effect(path: _Path, pointer: str) -> Effect:
    if path[0] in _IDLE or _OWN_FOLDER.fullmatch(pointer):
        return "none"
    if pointer.startswith(_START):
        # Partitions that were read before go on from their offsets.
        return "none"
    if _MOVED.fullmatch(pointer):
        return "restore"
    return "restart" if is_open(path) or path[:2] == ("flink", "processes") else "restore"


def _note(pointer: str, was: Any, now: Any) -> str:
    if _WHOLE.fullmatch(pointer):
        return _note_of_part(pointer, was, now)
    if _MOVED.fullmatch(pointer):
        return _TARGET_MOVED
    if pointer.startswith(_START):
        return "holds for partitions that were never read"
    return next((note for pattern, note in _NOTES.items() if pattern.fullmatch(pointer)), "")


def _note_of_part(pointer: str, was: Any, now: Any) -> str:
    if pointer.startswith("/sinks/"):
        return _TARGET_MOVED if was is None else ""
    if now is None:
        return "its rows stay where they are; its offsets too, and hold should it come back"
    if was is None and now.get("from"):
        return f"gets the changes of {now['from']} from now on: 'tillstream resync' brings those of before"
    return ""


def _shown(path: _Path, value: Any) -> Any:
    """Return what may be shown of a value."""
    if value is None:
        return None
    if any(_SECRET.search(step) for step in path[1:]):
        return "..."
    if isinstance(value, dict):
        return {
            name: _shown((*path, name), each) for name, each in value.items() if each not in (None, {}, [])
        }
    return value
