"""Frames of lookups that wait in a savepoint stay readable, and so does what lies in state."""

from __future__ import annotations

from tillstream.pipelines.records import ChangeRecord, Operation
from tillstream.transforms.lookups.messages import (
    EventChange,
    JoinFrame,
    Need,
    ReferenceChange,
    ReferenceRow,
    ResolveFrame,
    Subscription,
)

RESOLVE = ResolveFrame(
    (ReferenceChange("people", (1,), 4, 1000, b"{}"),), (Subscription("people", (1,), 2, 9, wanted=True),)
)
RECORD = ChangeRecord(7, Operation.UPDATE, (3,), (1, 2), 1000, None, b'{"id":3}')
JOIN = JoinFrame(
    2,
    "sales",
    1,
    (
        EventChange(
            "sales_named", 9, RECORD, (Need("buyer", "people", (1,), 9), Need("payer", "people", None, 0))
        ),
    ),
    (ReferenceRow("people", (1,), 9, 4, 1000, None),),
)


def test_version_1_frames_stay_readable() -> None:
    """These bytes were written by the first release that had them."""
    resolve = bytes.fromhex("01929195a670656f706c65910104cd03e8c4027b7d9195a670656f706c6591010209c3")
    assert ResolveFrame.decode(resolve) == RESOLVE
    join = bytes.fromhex(
        "019502a573616c6573019196ab73616c65735f6e616d6564099707a1759103920102cd03e8c0c4087b22696422"
        "3a337d9294a56275796572a670656f706c6591010994a57061796572a670656f706c65c000c2009196a670656f"
        "706c6591010904cd03e8c0"
    )
    assert JoinFrame.decode(join) == JOIN
