"""Tell what of a checkpoint's state a new build of a client's job would find, and what it would not.

Flink finds state by a stage's id, which is made of the name of its input; by the state's name; and by key
groups. It refuses a savepoint with state of a stage that the job lacks (Flink 1.19,
`Checkpoints.loadAndValidateCheckpoint`), or with another maximum parallelism; it says nothing where a state
within a stage is asked for no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tillstream.runners.flink.metadata import Metadata
from tillstream.runners.jobs.holdings import holds, is_droppable, is_runners
from tillstream.runners.jobs.planned import Change, Loss
from tillstream.transforms.lint.uids import Uids

__all__ = ["Sides", "state_changes"]

_FRESH = "put it back, or start anew: 'tillstream cancel', then 'tillstream launch --fresh'"


@dataclass(frozen=True)
class Sides:
    """Hold what both sides know of stages and state.

    Attributes:
        new: what the build finds state by.
        new_stages: name of each of its stages, by the id that its state has.
        old: what the job that runs has it by; None where that is not known.
        old_stages: name of each of its stages, by id; empty where that is not known.
        checkpoint: what Flink wrote; None where there is none, or it is out of reach.
    """

    new: Uids
    new_stages: Mapping[str, str]
    old: Uids | None
    old_stages: Mapping[str, str]
    checkpoint: Metadata | None


def state_changes(sides: Sides) -> Iterator[Change | Loss]:
    """Yield what of the state would not be found, and why; what is refused with the way that there is."""
    if sides.old is not None:
        yield from _shape(sides.new, sides.old)
        yield from _cells(sides.new, sides.old)
    yield from _key_groups(sides)
    for stage, states, is_known in _held(sides):
        name = sides.old_stages.get(stage) or _label_of(sides.old, states) or f"operator {stage}"
        if stage in sides.new_stages:
            yield from _left_in(name, states, sides)
        elif name in sides.new_stages.values():
            yield Change(
                "stage",
                name,
                stage,
                next(each for each, other in sides.new_stages.items() if other == name),
                "refused",
                f"its state would be looked for under another id, as its input is another one; {_the_way()}",
            )
        else:
            yield from _without(name, states, sides, is_known=is_known)


def _shape(new: Uids, old: Uids) -> Iterator[Change]:
    if new.client != old.client:
        yield Change("config", "/client", old.client, new.client, "refused", f"another client; {_the_way()}")
    for entity, key in old.keys.items():
        now = new.keys.get(entity, key)
        if now != key:
            yield Change(
                "config",
                f"/entities/{entity}/key",
                list(key),
                list(now),
                "refused",
                "state and sinks know rows by their key; the way is an entity of another name, or to put it "
                "back, or a fresh start into another table",
            )
    for name, size in old.sizes.items():
        if new.sizes.get(name) != size:
            yield Change(
                "config",
                f"/flink/{name}",
                size,
                new.sizes.get(name),
                "refused",
                f"state lies by it, and would not be found; {_the_way()}",
            )


def _the_way() -> str:
    return f"the way is to {_FRESH}"


def _cells(new: Uids, old: Uids) -> Iterator[Loss]:
    for entity, cells in old.cells.items():
        if entity in new.keys:
            for cell in cells:
                if cell not in new.cells.get(entity, ()):
                    yield Loss("TransformChanges", cell, f"what it kept for each key of {entity}")


def _key_groups(sides: Sides) -> Iterator[Change]:
    size = sides.new.sizes.get("max_parallelism")
    if sides.checkpoint is None or size is None:
        return
    found = {each.max_parallelism for each in sides.checkpoint.held().values()} - {size}
    is_told = sides.old is not None and sides.old.sizes.get("max_parallelism") != size
    if found and not is_told:
        yield Change(
            "config",
            "/flink/max_parallelism",
            min(found),
            size,
            "refused",
            f"the checkpoint has that many key groups, and Flink takes no other; {_the_way()}",
        )


def _held(sides: Sides) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Yield the id of each stage with state, the names of what it has, and whether these are known."""
    if sides.checkpoint is not None:
        names = sides.checkpoint.states or {}
        for stage in sides.checkpoint.held():
            found = tuple(each for each in names.get(stage, ()) if not is_runners(each))
            label = _label_at(sides.old, sides.old_stages.get(stage))
            declared = () if sides.old is None or label is None else sides.old.stages[label]
            yield stage, found or declared, bool(found or declared)
        return
    for stage, name in sides.old_stages.items():
        label = _label_at(sides.old, name)
        if sides.old is not None and label is not None and sides.old.stages[label]:
            yield stage, sides.old.stages[label], True


def _left_in(stage: str, states: tuple[str, ...], sides: Sides) -> Iterator[Loss]:
    """Yield what a stage that stays asks for no more."""
    declared = {state for label in sides.new.stages for state in sides.new.stages[label]}
    for state in states:
        if state not in declared:
            yield Loss(stage, state, holds(state))


def _without(stage: str, states: tuple[str, ...], sides: Sides, *, is_known: bool) -> Iterator[Change | Loss]:
    """Yield what becomes of the state of a stage that goes."""
    declared = {state for found in sides.new.stages.values() for state in found}
    if is_known and all(is_droppable(each) and each not in declared for each in states):
        yield Change("stage", stage, stage, None, "restore_without", "nothing asks for it any more")
        for state in states:
            yield Loss(stage, state, holds(state), is_dropped=True)
        return
    kept = ", ".join(sorted({holds(each) for each in states})) or "state"
    yield Change(
        "stage",
        stage,
        stage,
        None,
        "refused",
        f"the checkpoint holds {kept} for it, and Flink refuses a job that lacks it; {_the_way()}",
    )


def _label_at(uids: Uids | None, name: str | None) -> str | None:
    """Return the label of the stage with state that a vertex of some name runs."""
    if uids is None or name is None:
        return None
    found = [label for label, states in uids.stages.items() if states and _is_part(label, name)]
    return max(found, key=len, default=None)


def _is_part(label: str, name: str) -> bool:
    return label == name or label.startswith(f"{name}/")


def _label_of(uids: Uids | None, states: tuple[str, ...]) -> str | None:
    """Return the label of the stage that declares some states."""
    if uids is None or not states:
        return None
    return next((label for label, found in uids.stages.items() if set(states) <= set(found)), None)
