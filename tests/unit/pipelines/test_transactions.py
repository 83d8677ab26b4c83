"""Frames of units and of batches wait for checkpoints before one stage, and are told apart there."""

from __future__ import annotations

import pytest

from tillstream.pipelines.records import MutationBatch, MutationKind, MutationRecord
from tillstream.pipelines.transactions import MutationUnit, batches_of

RECORD = MutationRecord(MutationKind.UPSERT, (1,), (1,), (0,), 0, 0)
BATCH = MutationBatch("acme", "a", 0, "t", 0, ("id",), ("id",), (RECORD,), sequence=5)


@pytest.mark.parametrize(
    ("frame", "found"), [(BATCH, (BATCH,)), (MutationUnit((BATCH, BATCH)), (BATCH, BATCH))]
)
def test_a_frame_is_read_by_how_it_begins(frame: MutationBatch | MutationUnit, found: object) -> None:
    """Whichever mode the job was in that wrote it."""
    assert batches_of(frame.encode()) == found


def test_units_of_the_first_version_stay_readable() -> None:
    """They had the version of a batch."""
    assert batches_of(b"\x01" + MutationUnit((BATCH,)).encode()[1:]) == (BATCH,)


@pytest.mark.parametrize("frame", [b"", b"\x01", b"\x02", b"\x01\x91", b"\x03\x91\x90"])
def test_what_is_damaged_is_said_so(frame: bytes) -> None:
    """Neither is taken for the other."""
    with pytest.raises(ValueError, match="frame"):
        batches_of(frame)
