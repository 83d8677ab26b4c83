"""Gather the rows of each transaction of the source until it is whole."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tillstream.pipelines.records import MutationBatch
from tillstream.pipelines.transactions import Share
from tillstream.transforms.shard_state import FOREVER_US, Shard
from tillstream.transforms.transactions.held import (
    Entry,
    Held,
    Name,
    Opened,
    Released,
    ReleasedEntry,
    Slice,
)
from tillstream.transforms.transactions.units import bare
from tillstream.transforms.transactions.waiting import Place, Rows, Transaction, Waiting

__all__ = ["Gathered", "Gatherer"]

_LOG = logging.getLogger(__name__)
# Ends and events that come again are told by these; a connector sends a minute's worth again at most.
_REMEMBERED_MAX = 100_000
_SHOWN = 5
# Beyond this the log of the state is worth rewriting.
_LOGGED_SLACK = 5_000


@dataclass
class Gathered:
    """Hold what may be delivered.

    Attributes:
        groups: rows that must become visible at once, each group; in order.
        whole: how many transactions are whole.
        incomplete: what was missing, of each that was waited for no longer.
    """

    groups: list[list[Rows]] = field(default_factory=list)
    whole: int = 0
    incomplete: list[str] = field(default_factory=list)


class _Memory:
    """Be what is made of a state's entries to work with; lost with them, and then made again."""

    def __init__(self, index: dict[Any, Entry], now_s: float) -> None:
        self.waiting = Waiting()
        self.references: dict[int, int] = {}
        self.logged = 0
        opened, held = {}, {}
        for key, (_, entry) in index.items():
            if isinstance(entry, Opened):
                opened[key[1]] = entry
            elif isinstance(entry, Held):
                held[key[1]] = entry
        for number in sorted(opened):
            self.waiting.add(Transaction(number, opened[number].name, now_s, is_stored=True))
        for number, each in sorted(opened.items(), key=lambda item: item[1].place):
            if each.expected is not None:
                transaction = self.waiting.open[number]
                transaction.place = each.place
                self.waiting.end(transaction, each.expected, (each.name[0], each.lane))
        for number in sorted(held):
            self._hold(number, held[number])

    def _hold(self, entry: int, held: Held) -> None:
        find, owners = self.waiting.open.get, set()
        for number, header, records in held.slices:
            transaction = find(number)
            if transaction is not None:
                owners.add(transaction)
                batch = held.headers[header]
                self.waiting.hold(transaction, _place(batch), (batch, records))
        for number, entity, events in held.events:
            transaction = find(number)
            if transaction is not None:
                owners.add(transaction)
                transaction.consume(entity, events)
        for number, entity, *part in held.parts:
            transaction = find(number)
            if transaction is not None:
                owners.add(transaction)
                transaction.consume_part(entity, *part)
        self.refer(entry, owners)

    def refer(self, entry: int, owners: set[Transaction]) -> None:
        """Note which transactions an entry of the state holds something of."""
        self.references[entry] = len(owners)
        for each in owners:
            each.entries.append(entry)


def _place(batch: MutationBatch) -> Place:
    return batch.shard, batch.topic, batch.partition


class Gatherer:
    """Take shares, and tell what may be delivered.

    - A transaction may go once its end is known, all events of the client's entities that it had are
      consumed, and all whose ends came before are gone.
    - Rows of no transaction wait only where rows of their place (shard and topic-partition) do that came
      before; they go with the last of those.
    - What comes of a transaction that is gone is of none.

    Args:
        held_max: most rows and transactions that are held; beyond it the largest goes as it is where it is
            more than half of them, else the oldest.
        wait_s_max: how long a transaction is waited for.
        clock: seconds, of this process.
    """

    def __init__(self, held_max: int, wait_s_max: float, clock: Callable[[], float]) -> None:
        self._held_max = held_max
        self._wait_s_max = wait_s_max
        self._clock = clock

    def take(self, share: Share, state: Shard[Entry], gone: Shard[ReleasedEntry]) -> Gathered:
        """Take a share, and return what may be delivered now.

        Args:
            share: what a stage has consumed, or which transactions have ended.
            state: what is held; the caller commits it, as the next.
            gone: which transactions are gone.
        """
        work = _Work(self._memory(state), state, gone, self._clock())
        work.take(share)
        work.settle(self._held_max)
        return work.gathered

    def expire(self, state: Shard[Entry], gone: Shard[ReleasedEntry]) -> Gathered:
        """Return what was waited for long enough, and what it held up; arguments as of `take`."""
        work = _Work(self._memory(state), state, gone, self._clock())
        floor_s = self._clock() - self._wait_s_max
        work.give_up(_expired(work.waiting, floor_s))
        work.settle(self._held_max)
        return work.gathered

    def wait_s(self, state: Shard[Entry]) -> float | None:
        """Return in how many seconds one will have been waited for long enough; None where none is."""
        waiting = self._memory(state).waiting
        if not waiting.open:
            return None
        oldest = next(iter(waiting.open.values()))
        return max(0.0, oldest.since_s + self._wait_s_max - self._clock())

    def _memory(self, state: Shard[Entry]) -> _Memory:
        memory: _Memory | None = state.derived.get("memory")
        if memory is None:
            memory = state.derived["memory"] = _Memory(state.index, self._clock())
        return memory


def _expired(waiting: Waiting, floor_s: float) -> Iterator[Transaction]:
    """Yield, oldest first, what has waited since then; the caller lets it go before it asks for the next."""
    while (oldest := next(iter(waiting.open.values()), None)) is not None and oldest.since_s <= floor_s:
        yield oldest


def _excess(waiting: Waiting, held_max: int) -> Iterator[Transaction]:
    """Yield what must go for the rest to fit, as `_expired` does."""
    if waiting.size <= held_max:
        return
    largest = max(waiting.open.values(), key=lambda each: each.held)
    if 2 * largest.held > waiting.size:
        yield largest
    while waiting.size > held_max:
        yield next(iter(waiting.open.values()))


class _Work:
    """Be the work on one share."""

    def __init__(
        self, memory: _Memory, state: Shard[Entry], gone: Shard[ReleasedEntry], now_s: float
    ) -> None:
        self._memory = memory
        self.waiting = memory.waiting
        self._state = state
        self._gone = gone
        self._now_s = now_s
        self._names = _names(gone)
        self._headers: list[MutationBatch] = []
        self._slices: list[Slice] = []
        self._events: list[tuple[int, str, tuple[int, ...]]] = []
        self._parts: list[tuple[int, str, int, int, int]] = []
        self._released: list[Name] = []
        self._touched: set[Transaction] = set()
        self.gathered = Gathered()

    def take(self, share: Share) -> None:
        found = [self._find((share.source, name)) for name in share.transactions]
        for transaction, numbers in zip(found, share.events, strict=True):
            if transaction is not None and numbers:
                transaction.consume(share.entity, numbers)
                self._events.append((transaction.number, share.entity, numbers))
        for index, event, part, parts in share.parts:
            transaction = found[index]
            if transaction is not None:
                transaction.consume_part(share.entity, event, part, parts)
                self._parts.append((transaction.number, share.entity, event, part, parts))
        # Of each entity: what a change made of others may wait for a transaction that came behind it.
        lasts = {
            (batch.entity, _place(batch)): self.waiting.last_at(_place(batch)) for batch in share.batches
        }
        for batch, owners in zip(share.batches, share.owners, strict=True):
            where = batch.entity, _place(batch)
            lasts[where] = self._place_rows(batch, owners, found, lasts[where])
        for ended in share.ended:
            transaction = self._find((share.source, ended.transaction))
            if transaction is not None and transaction.expected is None:
                self._state.counters["ends"] = transaction.place = self._state.counters.get("ends", 0) + 1
                self.waiting.end(transaction, ended.events, (share.source, ended.lane))
                transaction.is_stored = False

    def settle(self, held_max: int) -> None:
        """Let go what may, bound the rest, and note in the state what stays."""
        for transaction in self.waiting.due():
            self._let_go(transaction)
        self.give_up(_excess(self.waiting, held_max))
        for transaction in self.waiting.due():
            self._let_go(transaction)
        self._store()
        incomplete = self.gathered.incomplete
        if incomplete:
            _LOG.warning(
                "%d transactions are delivered as far as they have come, missing: %s",
                len(incomplete),
                "; ".join(incomplete[:_SHOWN]),
            )

    def give_up(self, chosen: Iterable[Transaction]) -> None:
        """Let transactions go as they are, and before each all that must go before it."""
        for each in chosen:
            for transaction in self.waiting.before(each):
                self._let_go(transaction)

    def _find(self, name: Name) -> Transaction | None:
        """Return an open transaction, opened now where it must be; None where it is gone."""
        found = self.waiting.find(name)
        if found is None and name not in self._names:
            counters = self._state.counters
            number = counters["opened"] = counters.get("opened", 0) + 1
            found = Transaction(number, name, self._now_s)
            self.waiting.add(found)
        if found is not None:
            self._touched.add(found)
        return found

    def _place_rows(
        self,
        batch: MutationBatch,
        owners: Sequence[int],
        found: Sequence[Transaction | None],
        last: Transaction | None,
    ) -> Transaction | None:
        """Have a batch's rows wait, in order, each run for its transaction, or for the last one before.

        Returns:
            what the last of them wait for.
        """
        header, records, place = bare(batch), batch.records, _place(batch)
        if len(owners) <= 1 or not records:
            last = _own(owners, found) or last
            self._hold(header, place, records, last)
            return last
        begin = 0
        for owner, run in itertools.groupby(owners):
            end = begin + sum(1 for _ in run)
            last = _own((owner,), found) or last
            self._hold(header, place, records[begin:end], last)
            begin = end
        return last

    def _hold(
        self, header: MutationBatch, place: Place, records: Any, transaction: Transaction | None
    ) -> None:
        if transaction is None:
            self.gathered.groups.append([(header, records)])
            return
        self.waiting.hold(transaction, place, (header, records))
        self._touched.add(transaction)
        if not self._headers or self._headers[-1] is not header:
            self._headers.append(header)
        self._slices.append((transaction.number, len(self._headers) - 1, records))

    def _let_go(self, transaction: Transaction) -> None:
        if transaction.is_whole:
            self.gathered.whole += 1
        else:
            self.gathered.incomplete.append(transaction.missing())
        if transaction.rows:
            self.gathered.groups.append(transaction.rows)
        self.waiting.let_go(transaction)
        self._touched.discard(transaction)
        self._released.append(transaction.name)
        self._names.add(transaction.name)
        self._state.delete(("t", transaction.number))
        references = self._memory.references
        for entry in transaction.entries:
            references[entry] -= 1
            if not references[entry]:
                del references[entry]
                self._state.delete(("e", entry))

    def _store(self) -> None:
        state, is_open = self._state, self.waiting.open
        entries: dict[Any, Entry] = {}
        for each in self._touched:
            if not each.is_stored:
                opened = Opened(each.name, each.expected, each.lane[1], each.place)
                entries["t", each.number] = (FOREVER_US, opened)
                each.is_stored = True
        held = Held(
            tuple(self._headers),
            tuple([each for each in self._slices if each[0] in is_open]),
            tuple([each for each in self._events if each[0] in is_open]),
            tuple([each for each in self._parts if each[0] in is_open]),
        )
        if held.slices or held.events or held.parts:
            number = state.counters["held"] = state.counters.get("held", 0) + 1
            entries["e", number] = (FOREVER_US, held)
            numbers = {each[0] for kept in (held.slices, held.events, held.parts) for each in kept}
            self._memory.refer(number, {is_open[each] for each in numbers})
            self._memory.logged += sum(len(each[2]) for each in held.slices)
        if entries:
            state.update(entries)
        if self._memory.logged > 2 * self.waiting.held + _LOGGED_SLACK:
            state.compact()
            self._memory.logged = self.waiting.held
        if self._released:
            _remember(self._gone, self._released)


def _own(owners: Sequence[int], found: Sequence[Transaction | None]) -> Transaction | None:
    return found[owners[0]] if owners and owners[0] >= 0 else None


def _names(gone: Shard[ReleasedEntry]) -> set[Name]:
    names: set[Name] | None = gone.derived.get("names")
    if names is None:
        names = gone.derived["names"] = {
            name for _, released in gone.index.values() for name in released.names
        }
    return names


def _remember(gone: Shard[ReleasedEntry], released: list[Name]) -> None:
    number = gone.counters["released"] = gone.counters.get("released", 0) + 1
    gone.update({("r", number): (FOREVER_US, Released(tuple(released)))})
    names: set[Name] = gone.derived["names"]
    while len(names) > _REMEMBERED_MAX:
        oldest = next(iter(gone.index))
        names.difference_update(gone.index[oldest][1].names)
        gone.delete(oldest)
