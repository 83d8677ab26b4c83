"""Tell what differs between two builds of a client's job beside config and state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tillstream.runners.jobs.manifest import Manifest
from tillstream.runners.jobs.planned import Change, Effect, Loss

__all__ = ["encoding_changes", "library_changes", "total_changes", "transform_changes"]

_NUMBERS = re.compile(r"\d+")
_OLDER = (
    "an older release need not read what a newer one wrote; the way is 'tillstream rollback' to a savepoint "
    "of that release, or the newer release"
)
_BEAM = (
    "checkpoints hold Beam's own serialized classes, which are known to be read within a minor version only; "
    "the way is the version of before, or to start anew"
)


def transform_changes(
    new: Manifest, old: Manifest, before: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[Change]:
    """Yield which entities have another transform, and which versions have other code.

    Args:
        new: what is wanted.
        old: what runs.
        before: config of that, as JSON values.
        wanted: config of the other.
    """
    for name, entity in wanted["entities"].items():
        if name not in before["entities"]:
            continue
        was, now = before["entities"][name].get("transform"), entity.get("transform")
        if was != now:
            yield Change("transform", name, was, now, "restore")
        elif now is not None and old.transforms.get(now) != new.transforms.get(now):
            yield Change(
                "transform",
                f"{name} {now}",
                old.transforms.get(now),
                new.transforms.get(now),
                "restore",
                "the same version has other code: give it a version of its own, so that a roll-back can tell",
            )


def total_changes(new: Manifest, old: Manifest) -> Iterator[Change | Loss]:
    """Yield which aggregates add up something else, or go by another name."""
    for name, signature in old.totals.items():
        now = new.totals.get(name)
        transform, _, entity = name.rpartition("/")
        if now is not None and now != signature:
            yield Change(
                "transform",
                entity,
                None,
                None,
                "refused",
                f"{transform} adds up something else than its state does; the way is a new name for the "
                "transform, or to start anew",
            )
        elif now is None and any(each.rpartition("/")[2] == entity for each in new.totals):
            yield Loss("Aggregate", name, f"the totals of {entity}: it would count from now on")


def encoding_changes(new: Manifest, old: Manifest, reads: Mapping[str, frozenset[int]]) -> Iterator[Change]:
    """Yield which forms in state have another version, and which are not read."""
    for name, version in old.encodings.items():
        now = new.encodings.get(name)
        if version not in reads.get(name, frozenset()):
            note = (
                f"this release does not read that form; the way is tillstream "
                f"{old.libraries.get('tillstream', 'of before')} or a later one"
            )
            yield Change("encoding", name, version, now, "refused", note)
        elif version != now:
            note = "is read, and written anew: the release before cannot go on from a later savepoint"
            yield Change("encoding", name, version, now, "restore", note)


def library_changes(new: Manifest, old: Manifest) -> Iterator[Change]:
    """Yield which libraries have another version, and what is known of going on with it."""
    for name in sorted({*old.libraries, *new.libraries}):
        was, now = old.libraries.get(name), new.libraries.get(name)
        if was != now:
            yield Change("library", name, was, now, *_of_library(name, was or "", now or ""))
    for name in sorted({*old.packages, *new.packages}):
        was, now = old.packages.get(name), new.packages.get(name)
        if was != now:
            yield Change("library", name, was, now, "restore")


def _of_library(name: str, was: str, now: str) -> tuple[Effect, str]:
    older, newer = (tuple(int(each) for each in _NUMBERS.findall(text)) for text in (was, now))
    if name == "python":
        if older[:2] == newer[:2]:
            return "none", ""
        return "restore", f"state has no pickles; the cluster's processes must run Python {now} too"
    if name == "tillstream":
        if newer < older:
            return "refused", _OLDER
        return "restore", ""
    if name == "apache-beam" and older[:2] != newer[:2]:
        return "refused", _BEAM
    return "restore", ""
