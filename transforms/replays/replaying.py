"""Apply what a person gives back to the job: one dead letter's change, and what waited for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import msgspec
from apache_beam.metrics import Metrics

from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.errors import RecordError
from tillstream.pipelines.records import ChangeBatch, ChangeRecord, DeadLetter, MutationBatch, Replay
from tillstream.transforms.deduplicate import Deduplicator, Entry
from tillstream.transforms.flow_runner import letter_of
from tillstream.transforms.flows import Flow
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.replays.holding import Holds
from tillstream.transforms.routing import Message
from tillstream.transforms.shard_state import Shard

__all__ = ["Apply", "GivenBack", "Replayer", "held_letter"]

_replace = msgspec.structs.replace

# Applies one flow to the one change of a batch, by the transform of that name or its own; returns what goes
# to later stages, and the dead letters.
Apply: TypeAlias = Callable[[Flow, str, ChangeBatch], tuple[Sequence[Message], Sequence[DeadLetter]]]


@dataclass
class GivenBack:
    """Hold what came of a replay.

    Attributes:
        mutations: not numbered yet.
        letters: dead letters, and marks of solved ones where no mutation can carry them.
        messages: for later stages.
    """

    mutations: list[MutationBatch] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)


class _Work(NamedTuple):
    holds: Holds | None
    apply: Apply
    given: GivenBack


class Replayer:
    """Decide what becomes of a replay, by what the shard knows.

    - A letter that is solved already, by a replay asked for at the same time or delivered twice: nothing.
    - Its change has not been read yet, because the job was launched from nothing or an older savepoint and
      reads the replay topic beside all others: it waits until it has been, or what came before it would seem
      to be overtaken.
    - A newer change of its row is known, and its key is not held: `superseded`. Not so with deduplication by
      event_id or none, where every event counts.
    - Its key waits for another letter: kept back behind it.
    - Else the flow that refused it is applied; then what was kept back for it, in order, by the same version.

    Args:
        flows: of each entity that has a topic.
        packer: that `apply` appends to; empty.
        deduplicator: of the client; None for none.
    """

    def __init__(
        self,
        flows: Mapping[str, Sequence[Flow]],
        packer: MutationPacker,
        deduplicator: Deduplicator | None,
    ) -> None:
        self._flows = flows
        self._packer = packer
        self._deduplicator = deduplicator
        self._counters = {
            name: Metrics.counter("tillstream", f"letters_{name}")
            for name in ("replayed", "superseded", "discarded", "repeated")
        }

    def give_back(
        self, batch: ChangeBatch, shard: Shard[Entry], holds: Holds | None, apply: Apply
    ) -> GivenBack:
        """Return what comes of a batch that has a `replay`.

        Args:
            batch: of one change.
            shard: what the shard has seen; takes note of the letter.
            holds: its held keys; None where there are none.
            apply: applies a flow to a change.
        """
        replay = batch.replay
        assert replay is not None  # what this is for
        (record,) = batch.records
        given = GivenBack()
        work = _Work(holds, apply, given)
        known = shard.get(_noted(replay.letter))
        if known is not None and int(known[1][0]) > replay.seen:
            self._counters["repeated"].inc()
            return given
        deduplicator = self._deduplicator
        is_known = replay.step == "read" or deduplicator is None or deduplicator.has_read(batch, shard)
        if not is_known and holds is not None:
            holds.park(batch)
            return given
        flows = self._flows_of(batch.entity, replay)
        waiting = [
            flow
            for flow in flows
            if holds is not None and holds.letter_of(flow.target, record.key) == replay.letter
        ]
        settled = ("discarded", "")
        if replay.action == "replay":
            readmitted: ChangeRecord | None = record
            if not waiting and self._deduplicator is not None:
                flows = self._deduplicator.standing(batch, shard, flows)
                readmitted = self._deduplicator.readmit(batch, shard) if flows else None
            if readmitted is None:
                settled = ("superseded", "a newer change of its row is known")
            else:
                own = _replace(batch, records=(readmitted,))
                settled = self._apply(own, replay, flows, work)
        status, detail = settled
        if status != "open":
            for flow in waiting:
                self._release(flow, record.key, replay.transform, work)
            self._note(shard, replay, record)
            self._counters[status].inc()
            given.letters.append(_mark(batch, replay, status, detail))
        _send_on(given, replay)
        return given

    def give_back_due(
        self, batch: ChangeBatch, shard: Shard[Entry], holds: Holds, apply: Apply, given: GivenBack
    ) -> None:
        """Take up the replays that waited for what a batch has brought; its rows have been packed.

        Args:
            batch: as it was read.
            shard: what the shard has seen.
            holds: its held keys.
            apply: applies a flow to a change.
            given: takes what comes of it.
        """
        for each in holds.due(batch.topic, batch.partition, batch.records[-1].offset):
            found = self.give_back(each, shard, holds, apply)
            given.mutations += found.mutations
            given.letters += found.letters
            given.messages += found.messages

    def _release(self, flow: Flow, key: tuple[Any, ...], transform: str, work: _Work) -> None:
        """Let a key go, and apply what was kept back; the first that fails holds the key again."""
        holds, apply, given = work
        assert holds is not None  # one of its keys is let go
        kept = holds.take(flow.target, key)
        for number, each in enumerate(kept):
            messages, letters = apply(flow, transform, each)
            mutations, refused = self._packer.flush(each)
            given.messages += messages
            given.mutations += mutations
            given.letters += _of_attempt(each, [*letters, *refused])
            if letters and flow.target in holds.limits:
                time_us = each.records[0].source_time_us
                holds.hold(flow.target, key, letter_id(letters[0]), time_us)
                for later in kept[number + 1 :]:
                    holds.keep_back(flow.target, later)
                return

    def let_go(self, flows: Sequence[Flow], holds: Holds, apply: Apply, given: GivenBack) -> None:
        """Let the keys go of flows that hold none any more, because their config has changed."""
        for flow in flows:
            if flow.target in holds.limits:
                continue
            for key in holds.keys(flow.target):
                self._release(flow, key, "", _Work(holds, apply, given))
        given.mutations = [_replace(each, via=("", 0, 0, n)) for n, each in enumerate(given.mutations)]

    def is_solved(self, shard: Shard[Entry], letter: DeadLetter) -> bool:
        """Tell whether a letter was solved before; then its change, read again, holds no key."""
        return shard.get(_noted(letter_id(letter))) is not None

    def _flows_of(self, source: str, replay: Replay) -> Sequence[Flow]:
        flows = self._flows[source]
        if replay.step == "read" or not replay.entity:
            return flows
        own = [flow for flow in flows if flow.target == replay.entity]
        making = [flow for flow in flows if flow.info is not None and replay.entity in flow.info.outputs]
        return own or making or flows

    def _apply(
        self,
        batch: ChangeBatch,
        replay: Replay,
        flows: Sequence[Flow],
        work: _Work,
    ) -> tuple[str, str]:
        """Apply the flows that refused a change; return what became of the letter."""
        holds, apply, given = work
        (record,) = batch.records
        letters: list[DeadLetter] = []
        for flow in flows:
            held = None if holds is None else holds.letter_of(flow.target, record.key)
            if holds is not None and held is not None and held != replay.letter:
                if not holds.keep_back(flow.target, batch):
                    letters.append(held_letter(batch, record, flow))
                continue
            messages, refused = apply(flow, replay.transform, batch)
            given.messages += messages
            letters += refused
            # A stage behind this one tells what it refuses too late to hold the key.
            if refused and holds is not None and flow.target in holds.limits:
                holds.hold(flow.target, record.key, letter_id(refused[0]), record.source_time_us)
        if replay.step in ("write", "trust"):
            self._packer.keep_only(replay.entity, replay.index)
        mutations, refused = self._packer.flush(batch)
        only = (replay.sink,) if replay.sink else ()
        given.mutations += [_replace(each, only_sinks=only) for each in mutations]
        letters = _of_attempt(batch, [*letters, *refused])
        given.letters += letters
        identities = [letter_id(letter) for letter in letters]
        if replay.letter in identities:
            return "open", ""
        if identities and replay.step != "read":
            return "superseded", f"refused again, by another step: see {', '.join(identities)}"
        return "replayed", f"by {replay.transform}" if replay.transform else ""

    def _note(self, shard: Shard[Entry], replay: Replay, record: ChangeRecord) -> None:
        time_us = record.source_time_us if shard.newest_us is None else shard.newest_us
        shard.update({_noted(replay.letter): (time_us, (replay.attempt,), 0)})


def held_letter(batch: ChangeBatch, record: ChangeRecord, flow: Flow) -> DeadLetter:
    """Return the letter of a change that a held key has no room for."""
    error = RecordError(
        "held", "its key waits for an earlier change, and hold_events_max others wait before this one"
    )
    return letter_of(batch, record, error, flow)


def _noted(letter: str) -> tuple[str, str, str]:
    # Neither an entity nor a topic is named so.
    return ("", "letter:", letter)


def _of_attempt(batch: ChangeBatch, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Return letters as of the replay that a change comes from, where it does."""
    if batch.replay is None:
        return list(letters)
    return [_replace(letter, attempt=batch.replay.attempt) for letter in letters]


def _mark(batch: ChangeBatch, replay: Replay, status: str, detail: str) -> DeadLetter:
    return DeadLetter(
        client=batch.client,
        entity=replay.entity or None,
        step=replay.step,
        reason="",
        detail=detail,
        topic=batch.topic,
        partition=batch.partition,
        offset=batch.records[0].offset,
        index=replay.index,
        transform=replay.transform or None,
        sink=replay.sink or None,
        attempt=replay.attempt,
        status=status,
    )


def _send_on(given: GivenBack, replay: Replay) -> None:
    """Give mutations the place where the replay came back, and the last of them the marks to bring along."""
    place = (replay.topic, replay.partition, replay.offset)
    given.mutations = [_replace(each, via=(*place, n)) for n, each in enumerate(given.mutations)]
    if given.mutations:
        marks = tuple(letter for letter in given.letters if letter.status != "open")
        given.letters = [letter for letter in given.letters if letter.status == "open"]
        given.mutations[-1] = _replace(given.mutations[-1], settled=marks)
