"""Know which transactions are open, what each still waits for, and which must go before which."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from tillstream.pipelines.records import MutationBatch, MutationRecord
from tillstream.transforms.transactions.held import Name

__all__ = ["Place", "Rows", "Transaction", "Waiting"]

# Shard, topic and partition: rows of one key keep to one, and come in order there.
Place: TypeAlias = tuple[int, str, int]
# A batch without its records, and records.
Rows: TypeAlias = tuple[MutationBatch, tuple[MutationRecord, ...]]
_Parts: TypeAlias = dict[int, set[int]]


@dataclass(eq=False, slots=True)
class Transaction:
    """Be a transaction that is not released.

    Attributes:
        number: of it, in the order in which they were opened.
        name: of it.
        since_s: when this process came to know it.
        rows: that wait, in order.
        held: how many records those are.
        consumed: numbers of its events that are consumed.
        counts: how many those are of each entity.
        parts: numbers of the parts that came, of events that come in several.
        places: where its rows came from.
        expected: how many events it has of each entity; None until its end is known.
        lane: the queue of its end: source and partition.
        place: in the order of ends.
        entries: of the state that hold something of it.
        is_stored: whether the state knows it as it is now.
    """

    number: int
    name: Name
    since_s: float
    rows: list[Rows] = field(default_factory=list)
    held: int = 0
    consumed: set[int] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)
    parts: _Parts | None = None
    places: set[Place] = field(default_factory=set)
    expected: dict[str, int] | None = None
    lane: tuple[str, int] = ("", 0)
    place: int = 0
    entries: list[int] = field(default_factory=list)
    is_stored: bool = False

    def consume(self, entity: str, numbers: Iterable[int]) -> None:
        """Note events; one that comes again counts once."""
        consumed = self.consumed
        before = len(consumed)
        consumed.update(numbers)
        self.counts[entity] = self.counts.get(entity, 0) + len(consumed) - before

    def consume_part(self, entity: str, number: int, part: int, parts: int) -> None:
        """Note one part of an event, and the event once all of its parts are there."""
        if self.parts is None:
            self.parts = {}
        found = self.parts.setdefault(number, set())
        found.add(part)
        if len(found) == parts:
            self.consume(entity, (number,))

    @property
    def is_whole(self) -> bool:
        """Return whether its end is known and nothing of it is missing."""
        if self.expected is None:
            return False
        counts = self.counts
        # A loop: all() would cost more than what it looks at.
        for entity, count in self.expected.items():  # noqa: SIM110
            if counts.get(entity, 0) < count:
                return False
        return True

    def missing(self) -> str:
        """Say what is missing, for people."""
        if self.expected is None:
            return f"{self.name[1]}: its end"
        wanted = {entity: count - self.counts.get(entity, 0) for entity, count in self.expected.items()}
        return f"{self.name[1]}: " + ", ".join(f"{n} of {entity}" for entity, n in wanted.items() if n > 0)


_Queue: TypeAlias = dict[int, Transaction]


class Waiting:
    """Hold the open transactions.

    One goes before another where its end came before in the same lane, which is the order of commits; and
    where its rows came before in the same place, or a key's newer row would be overtaken by its older one.
    In what a source sends the two orders agree. They may not where ends are lost or events come again.
    """

    def __init__(self) -> None:
        self.open: dict[int, Transaction] = {}
        self._by_name: dict[Name, Transaction] = {}
        self._lanes: dict[tuple[str, int], _Queue] = {}
        self._places: dict[Place, _Queue] = {}
        self.held = 0

    @property
    def size(self) -> int:
        """Return how many rows and transactions are held."""
        return self.held + len(self.open)

    def find(self, name: Name) -> Transaction | None:
        """Return an open transaction of that name."""
        return self._by_name.get(name)

    def add(self, transaction: Transaction) -> None:
        """Open a transaction; its number is the highest so far."""
        self.open[transaction.number] = transaction
        self._by_name[transaction.name] = transaction

    def end(self, transaction: Transaction, expected: dict[str, int], lane: tuple[str, int]) -> None:
        """Note its end; called in the order of ends."""
        transaction.expected, transaction.lane = expected, lane
        self._lanes.setdefault(lane, {})[transaction.number] = transaction

    def hold(self, transaction: Transaction, place: Place, rows: Rows) -> None:
        """Have rows wait for a transaction, which they need not be of."""
        transaction.rows.append(rows)
        transaction.held += len(rows[1])
        self.held += len(rows[1])
        if place not in transaction.places:
            transaction.places.add(place)
            queue = self._places.get(place)
            if queue is None:
                self._places[place] = {transaction.number: transaction}
            else:
                queue[transaction.number] = transaction

    def last_at(self, place: Place) -> Transaction | None:
        """Return the transaction whose rows came last to a place, of those that are open."""
        found = self._places.get(place)
        return next(reversed(found.values())) if found else None

    def due(self) -> Iterator[Transaction]:
        """Yield each transaction that may go now; the caller lets it go before it asks for the next."""
        again = True
        while again:
            again = False
            # In several lanes one may wait for another.
            for lane in list(self._lanes):
                while queue := self._lanes.get(lane):
                    first = next(iter(queue.values()))
                    if not first.is_whole or any(self._before(first, place) for place in first.places):
                        break
                    again = len(self._lanes) > 1
                    yield first

    def before(self, transaction: Transaction) -> list[Transaction]:
        """Return all that must go before a transaction, in order, and itself at last."""
        if all(next(iter(queue)) == transaction.number for queue in self._queues(transaction)):
            return [transaction]
        before = _Predecessors()
        order: list[Transaction] = []
        seen = {transaction.number}
        path = [(transaction, before.of(transaction, self._queues(transaction)))]
        while path:
            current, ahead = path[-1]
            found = next((each for each in ahead if each.number not in seen), None)
            if found is None:
                order.append(current)
                path.pop()
            else:
                # Where the orders contradict each other, the one that was come from goes later.
                seen.add(found.number)
                path.append((found, before.of(found, self._queues(found))))
        return order

    def let_go(self, transaction: Transaction) -> None:
        """Forget a transaction."""
        number = transaction.number
        del self.open[number]
        del self._by_name[transaction.name]
        self.held -= transaction.held
        if transaction.expected is not None:
            _remove(self._lanes, transaction.lane, number)
        for place in transaction.places:
            _remove(self._places, place, number)

    def _before(self, transaction: Transaction, place: Place) -> bool:
        return next(iter(self._places[place])) != transaction.number

    def _queues(self, transaction: Transaction) -> list[_Queue]:
        queues = [self._places[place] for place in transaction.places]
        if transaction.expected is not None:
            queues.append(self._lanes[transaction.lane])
        return queues


class _Predecessors:
    """Know of each queue who stands just before whom."""

    def __init__(self) -> None:
        self._found: dict[int, dict[int, Transaction]] = {}

    def of(self, transaction: Transaction, queues: Iterable[_Queue]) -> Iterator[Transaction]:
        """Yield who stands just before a transaction in each of its queues; they do not change meanwhile."""
        for queue in queues:
            found = self._found.get(id(queue))
            if found is None:
                every = list(queue.values())
                found = {each.number: last for last, each in itertools.pairwise(every)}
                self._found[id(queue)] = found
            before = found.get(transaction.number)
            if before is not None:
                yield before


def _remove(queues: dict[Any, _Queue], key: Any, number: int) -> None:
    queue = queues[key]
    del queue[number]
    if not queue:
        del queues[key]
