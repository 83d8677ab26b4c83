"""Define what travels between the stages of clients whose transactions arrive whole.

Source: Debezium 3.3 documentation, "Transaction metadata": each event names its transaction and its number in
it, and a topic of its own says of each transaction how many events of each table it had.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec

from tillstream.pipelines.framing import Framed
from tillstream.pipelines.records import MutationBatch

__all__ = [
    "GATHERED",
    "NOBODY",
    "TRANSACTIONS",
    "Ended",
    "MutationUnit",
    "Share",
    "batches_of",
    "transaction_id",
]

# Tag of the reading stages' output that tells of transactions.
TRANSACTIONS = "transactions"
# The one key of all that is gathered: commits have one order.
GATHERED = b"transactions"
# In place of a transaction's index: the row belongs to none.
NOBODY = -1
# How units of the first version begin: an array of one, where a batch has its many fields.
_FIRST_UNITS = b"\x01\x91"


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """Say that a transaction of the source has ended.

    Attributes:
        transaction: as `transaction_id` spells it.
        events: how many it had of each entity that the client reads.
        lane: partition of the topic that told so; within one, transactions come in the order of commits.
    """

    transaction: str
    events: dict[str, int]
    lane: int = 0


class Share(Framed, frozen=True, array_like=True):
    """Tell the gatherer what a stage has consumed of some transactions, and the rows that came of it.

    Attributes:
        source: whose transactions they are: the topic that tells of their ends.
        entity: whose events were consumed.
        transactions: those that the share is of, in the order in which they came.
        events: of each of them, the numbers of the events that are consumed, whatever came of them.
        parts: events that come in several parts, each as (index of its transaction, its number, number of the
            part, how many there are); such an event is consumed once all of its parts are.
        batches: rows, in order, not numbered.
        owners: for each batch, and in it for each record, the index of its transaction, or NOBODY; one for
            all records where they have the same.
        ended: transactions that have ended, in order.
    """

    source: str
    entity: str = ""
    transactions: tuple[str, ...] = ()
    events: tuple[tuple[int, ...], ...] = ()
    parts: tuple[tuple[int, int, int, int], ...] = ()
    batches: tuple[MutationBatch, ...] = ()
    owners: tuple[tuple[int, ...], ...] = ()
    ended: tuple[Ended, ...] = ()


class MutationUnit(Framed, frozen=True, array_like=True):
    """Carry whole transactions to the sinks, which apply all of it at once.

    Attributes:
        batches: in the order in which they must be applied.
    """

    # Not that of a MutationBatch: both wait for checkpoints before the same stage.
    FRAME_VERSION: ClassVar[int] = 2

    batches: tuple[MutationBatch, ...]


_UNITS = bytes((MutationUnit.FRAME_VERSION,))


def batches_of(frame: bytes) -> tuple[MutationBatch, ...]:
    """Read the frame of a unit, or that of one batch, by how it begins.

    A job that goes from row by row to whole transactions finds batches in its savepoint, which waited there.

    Raises:
        ValueError: if the frame is damaged, or of a version that this release does not read.
    """
    if frame[:1] == _UNITS:
        return MutationUnit.decode(frame).batches
    if frame[:2] == _FIRST_UNITS:
        return MutationUnit.decode(_UNITS + frame[1:]).batches
    return (MutationBatch.decode(frame),)


def transaction_id(text: str) -> str:
    """Return a transaction's identity out of Debezium's.

    The Postgres connector writes `txId:LSN`, and the LSN is that of the single event.
    """
    number, _, lsn = text.partition(":")
    return number if number.isdecimal() and lsn.isdecimal() else text
