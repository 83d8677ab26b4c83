"""Put rows of several shares together in batches, without a change of order where order matters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.transforms.transactions.waiting import Rows

__all__ = ["bare", "units"]

# The sinks write several in one go; this bounds the size of an element, where no transaction is larger.
_UNIT_ROWS = 10_000


def bare(batch: MutationBatch) -> MutationBatch:
    """Return a batch without its records."""
    return msgspec.structs.replace(batch, records=())


def units(groups: Iterable[Sequence[Rows]]) -> Iterator[list[MutationBatch]]:
    """Yield batches that must be applied at once; no group is cut, several may go together.

    Args:
        groups: in order.
    """
    packer = _Packer()
    for group in groups:
        for header, records in group:
            packer.add(header, records)
        if packer.rows >= _UNIT_ROWS:
            yield packer.flush()
            packer = _Packer()
    if packer.rows or packer.found:
        yield packer.flush()


class _Packer:
    """Join rows that have the same header, in each place; a key has one place, so its rows stay in order.

    A truncate stays alone in its batch (`MutationBatch.truncates`); what follows in its place starts another.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.found: list[tuple[MutationBatch, list[MutationRecord]]] = []
        self._last: dict[tuple[str, int, str, int], tuple[MutationBatch, list[MutationRecord]]] = {}

    def add(self, header: MutationBatch, records: Sequence[MutationRecord]) -> None:
        """Append rows."""
        self.rows += len(records)
        place = (header.entity, header.shard, header.topic, header.partition)
        if records and records[0].kind is MutationKind.TRUNCATE:
            self._last.pop(place, None)
            self.found.append((header, list(records)))
            return
        last = self._last.get(place)
        # What was given back is counted by its batch.
        if last is not None and header.via is None and (last[0] is header or last[0] == header):
            last[1].extend(records)
            return
        self._last[place] = joined = (header, list(records))
        self.found.append(joined)

    def flush(self) -> list[MutationBatch]:
        """Return the batches."""
        return [msgspec.structs.replace(header, records=tuple(records)) for header, records in self.found]
