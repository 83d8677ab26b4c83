"""Read a client's history as what it is made of: its launches, and which of them a roll-back goes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.history import Entry

__all__ = ["Goal", "Launched", "goal_of", "kept", "launches", "replaced_by", "same", "standing", "unfinished"]

_DONE = "done"
_SHOWN = 10


@dataclass(frozen=True)
class Launched:
    """Say all that a history knows of one launch.

    Attributes:
        entry: what its last entry says, completed by those before it.
        begun_at: when its first entry was written, ISO 8601, UTC.
    """

    entry: Entry
    begun_at: str

    @property
    def generation(self) -> int:
        """Return which one it is, milliseconds since 1970 UTC."""
        assert self.entry.generation is not None  # `launches` takes no others
        return self.entry.generation

    def parameters(self, generation: int, undoes: int = 0) -> LaunchParameters:
        """Return the parameters of another launch like this one."""
        overrides = self.entry.overrides
        return LaunchParameters(generation, self.entry.parallelism or 1, overrides, undoes=undoes)

    def line(self) -> str:
        """Return it in a line."""
        entry = self.entry
        transforms = ", ".join(sorted(set(entry.transforms.values()))) or "no transforms"
        return (
            f"{self.generation}  {self.begun_at[:19]}  {entry.action} {entry.outcome}  template "
            f"{entry.template}  parallelism {entry.parallelism}  {transforms}"
        )


@dataclass(frozen=True)
class Goal:
    """Say where a roll-back goes to.

    Attributes:
        launch: whose template is run again.
        savepoint: the state that it was left in; None where nobody took any.
        undone: the launches since, oldest first, without upgrades that ended before they stopped anything.
    """

    launch: Launched
    savepoint: str | None
    undone: tuple[Launched, ...]


def launches(entries: Sequence[Entry]) -> list[Launched]:
    """Return the launches of a history, in the order in which they were begun."""
    found: dict[int, dict[str, Any]] = {}
    begun: dict[int, str] = {}
    for entry in entries:
        if entry.generation is None or entry.template is None:
            continue
        begun.setdefault(entry.generation, entry.at)
        known = found.setdefault(entry.generation, {})
        fields = {name: getattr(entry, name) for name in entry.__struct_fields__}
        known.update({name: value for name, value in fields.items() if value not in (None, {}, "")})
    return [Launched(Entry(**known), begun[generation]) for generation, known in found.items()]


def kept(all_: Sequence[Launched]) -> list[Launched]:
    """Return the launches that have held, oldest first, without those that were rolled back since."""
    stack: list[Launched] = []
    for each in all_:
        if each.entry.outcome != _DONE:
            continue
        if each.entry.action == "rollback" and any(same(each, other) for other in stack):
            while not same(each, stack[-1]):
                stack.pop()
        stack.append(each)
    return stack


def standing(all_: Sequence[Launched], current: Launched) -> list[Launched]:
    """Return the launches that the current version has had since another one held, oldest first."""
    found = [current]
    for each in reversed(all_):
        if each.generation >= current.generation or each.entry.outcome != _DONE:
            continue
        if not same(each, current):
            break
        found.append(each)
    return found[::-1]


def goal_of(all_: Sequence[Launched], current: int, wanted: int | None = None) -> Goal:
    """Return where a roll-back goes to: by default the last launch of another template that has held.

    Args:
        all_: the launches of a history.
        current: generation of the launch that runs, or ran last.
        wanted: generation of the launch to go to.

    Raises:
        UserError: if there is none; lists those that there are.
    """
    before = [each for each in all_ if each.generation < current]
    found: Launched | None
    if wanted is not None:
        found = next((each for each in before if each.generation == wanted), None)
    else:
        now = next((each for each in all_ if each.generation == current), None)
        good = [each for each in kept(all_) if each.generation < current]
        found = None if now is None else _replaced(all_, now)
        if found is None or now is None or same(found, now):
            found = next((each for each in reversed(good) if now is None or not same(each, now)), None)
    if found is None:
        lines = "".join(f"\n  {each.line()}" for each in before[-_SHOWN:]) or " none"
        what = "an earlier launch of another version" if wanted is None else f"an earlier launch {wanted}"
        raise UserError(f"roll back: found no such launch, expected {what}; launches before this one:{lines}")
    later = (each for each in all_ if each.generation > found.generation)
    since = tuple(each for each in later if each.generation == current or not _never_began(each))
    return Goal(found, next((each.entry.savepoint for each in since), None), since)


def replaced_by(all_: Sequence[Launched], upgraded: Launched) -> Launched:
    """Return the launch whose job an upgrade has stopped, or was to stop.

    Raises:
        UserError: if the history does not have it.
    """
    found = _replaced(all_, upgraded)
    if found is None and not upgraded.entry.replaces:
        # Earlier releases did not note it.
        before = [each for each in all_ if each.generation < upgraded.generation]
        found = next((each for each in reversed(before) if each.entry.outcome == _DONE), None)
    if found is None:
        left = upgraded.entry.savepoint
        place = f" --savepoint {left}" if left else ""
        raise UserError(
            f"upgrade {upgraded.generation}: found no launch in the history that it took the place of, "
            f"expected one to go back to: 'tillstream launch{place}' goes on from what was left"
        )
    return found


def unfinished(all_: Sequence[Launched]) -> Launched | None:
    """Return the upgrade or roll-back whose command ended in its midst; None without one."""
    last = all_[-1] if all_ else None
    if last is None or last.entry.action not in {"upgrade", "rollback"}:
        return None
    # A roll-back that failed has left no job running.
    ended = {_DONE, "rolled_back"} if last.entry.action == "rollback" else {_DONE, "rolled_back", "failed"}
    return None if last.entry.outcome in ended else last


def _replaced(all_: Sequence[Launched], upgraded: Launched) -> Launched | None:
    return next((each for each in all_ if each.generation == upgraded.entry.replaces), None)


def _never_began(launch: Launched) -> bool:
    """Tell whether a launch failed before anything was stopped for it, or from nothing."""
    return launch.entry.outcome == "failed" and launch.entry.savepoint is None


def same(one: Launched, other: Launched) -> bool:
    """Tell whether two launches are of one template."""
    return one.entry.template == other.entry.template
