"""Frames of lookups that wait in a savepoint stay readable, and so does what lies in state."""

from __future__ import annotations

import pytest

from tillstream.pipelines.records import ChangeRecord, Operation
from tillstream.transforms.lookups.forms import Form
from tillstream.transforms.lookups.messages import (
    EventChange,
    JoinFrame,
    Need,
    ReferenceChange,
    ReferenceRow,
    ResolveFrame,
    Subscription,
)

from .network import Network, transforms

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


def test_version_1_state_stays_readable() -> None:
    """A savepoint of the first release goes on: an event that waits is joined, and counted right."""
    saved = {
        ("route", 2): (
            ("0196c410aee92ea1eabea95677f8ce1d27c32c6e010200c081a76c6f6f6b75707301"),
            [
                (
                    "0193008293ad6c6f6f6b7570732e636f756e74a670656f706c650192cf4000000000000000c4040192010193"
                    "ad6c6f6f6b7570732e6576656e74ab73616c65735f6e616d65640192cf4000000000000000c40e0192019192"
                    "a670656f706c65910190"
                )
            ],
        ),
        ("resolve", 2): (
            ("0196c410745a5107b10d5d0bfbbcfac8a07fb540010100c080"),
            [("0193008193ab7375627363726962657273a670656f706c650194cf40000000000000000000c4040181020190")],
        ),
        ("join", 2): (
            (
                "0196c410b7c0c676d6006564e8c14e9a2ffdc684020200c085ac6c6f6f6b7570732e7365656e01ac6c6f6f6b"
                "7570732e6d61646501ab67656e65726174696f6e3a01ab73616c65735f6e616d656401b166697273743a7361"
                "6c65735f6e616d656401"
            ),
            [
                (
                    "0193008193ad6c6f6f6b7570732e6576656e74ab73616c65735f6e616d65640192cf4000000000000000c491"
                    "019601a573616c6573009701a1759101910101c0c4487b226964223a20312c202276223a20372c2022627579"
                    "6572223a20312c20227061796572223a206e756c6c2c2022636f756e747279223a206e756c6c2c2022746f77"
                    "6e223a20317d9394a56275796572a670656f706c6591010194a57061796572a670656f706c65c00094a5706c"
                    "616365a6706c61636573c0000090"
                ),
                ("0193018193ab6c6f6f6b7570732e726f77a670656f706c650192cf4000000000000000c4060194010000c090"),
            ],
        ),
    }
    with transforms():
        network = Network()
        for name, (cell, frames) in saved.items():
            network.states[name].restore((bytes.fromhex(cell), tuple(map(bytes.fromhex, frames))))
        network.numbers = {2: 1}
        network.change("people", {"id": 1, "name": "Ann"})
        network.settle()
        assert network.sink == {(1,): {"id": 1, "v": 7, "buyer": "Ann", "payer": None, "place": None}}
        network.change("sales", {"id": 1}, delete=True)
        network.settle()
        assert (network.entries("route"), network.entries("join")) == ({}, {})


def test_state_of_another_version_is_refused() -> None:
    """What a later release wrote is named, never misread."""
    with pytest.raises(ValueError, match=r"event of lookups: found version b'\\x02', expected b'\\x01'"):
        Form("event", int).decode(bytes.fromhex("0201"))
