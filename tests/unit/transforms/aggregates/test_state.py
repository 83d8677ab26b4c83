"""What aggregates keep and send is versioned, and older forms are read."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from tillstream.pipelines.errors import RecordError, TransformError
from tillstream.transforms.aggregates.aggregate import Contribution, Count, Max, Sum
from tillstream.transforms.aggregates.groups import Group, signature_of
from tillstream.transforms.aggregates.messages import (
    Change,
    Difference,
    Differences,
    counted,
    decode_counted,
    encode_counted,
)

TIME = dt.datetime(2026, 3, 1, tzinfo=dt.timezone.utc)
COMBINE = {"most": Max("total"), "orders": Count()}
# What release 1 wrote: one contribution, a message that takes it back and adds it, and a group of it.
COUNTED = "93c40992c70301312e35a161cf00064beb26c36000c40d81a5746f74616cd601322e3530"
CONTRIBUTIONS = bytes.fromhex("0191" + COUNTED)
MESSAGE = bytes.fromhex(
    "0195a5686f75727303a1740191960506c4087b226964223a317dc0c392" + "92ff" + COUNTED + "9201" + COUNTED
)
GROUP = bytes.fromhex("0195ce981ad57401c40e92c709069192d601322e353001018192a16101c408313233343536373809")


def test_contributions_of_the_first_release_are_read() -> None:
    """A row's memory goes on over an upgrade."""
    expected = counted(
        Contribution((Decimal("1.50"), "a"), {"total": Decimal("2.50")}, TIME), is_windowed=True
    )
    assert decode_counted(CONTRIBUTIONS) == (expected,)
    assert encode_counted([expected]) == CONTRIBUTIONS
    for bad, said in ((b"\x02", "found version 02"), (b"", "found version none"), (b"\x01\xc1", "damaged")):
        with pytest.raises(ValueError, match=said):
            decode_counted(bad)


def test_messages_of_the_first_release_are_read() -> None:
    """What lies between two stages in a savepoint is read by the next release."""
    (each,) = decode_counted(CONTRIBUTIONS)
    differences = (Difference(-1, each), Difference(1, each))
    change = Change(5, 6, b'{"id":1}', None, moves_clock=True, differences=differences)
    assert Differences.decode(MESSAGE) == Differences("hours", 3, "t", 1, (change,))


def test_groups_of_the_first_release_are_read() -> None:
    """Totals, and what was written of them, go on over an upgrade."""
    group = Group("acme.x/y", COMBINE, signature_of(COMBINE), (0, GROUP))
    assert group.results() == {"most": Decimal("2.50"), "orders": 1}
    assert (group.count, group.written, group.generation) == (1, {("a", 1): b"12345678"}, 9)
    assert group.encode() == GROUP


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"\x02", ValueError, "version 02, expected 01"),
        (b"\x01\xc1", ValueError, "damaged"),
    ],
)
def test_other_groups_are_refused(data: bytes, error: type[Exception], said: str) -> None:
    """Damaged state and that of another version stop the job, by the aggregate's name."""
    with pytest.raises(error, match=f"acme.x/y.*{said}"):
        Group("acme.x/y", COMBINE, signature_of(COMBINE), (0, data))


def test_state_of_other_totals_is_refused() -> None:
    """An aggregate that adds up something else cannot go on with the old totals: they would be wrong."""
    more = {**COMBINE, "revenue": Sum("total")}
    with pytest.raises(TransformError, match="give the transform a new name, or start the job anew"):
        Group("acme.x/y", more, signature_of(more), (0, GROUP))


def test_equal_groups_are_one() -> None:
    """1.5 and 1.50 are one group, and so are 0 and 0.00; a longer number keeps its digits."""
    groups = [
        counted(Contribution((Decimal(each),)), is_windowed=False).group
        for each in ("1.5", "1.50", "0", "-0.00", "1" * 60, "1" * 60 + "0")
    ]
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 4


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (("a",), "found a tuple from contributions, expected a Contribution"),
        (Contribution("a", {}, TIME), "found group 'a', expected a tuple"),  # type: ignore[arg-type]
        (Contribution(("a",)), "without a time, expected one"),
        (Contribution(("a",), {}, dt.datetime(2026, 3, 1)), "expected a datetime with its zone"),  # noqa: DTZ001
        (Contribution(("a",), {"x": object()}, TIME), "found a object, expected None"),
    ],
)
def test_what_is_no_contribution_is_refused(found: Any, said: str) -> None:
    """The author reads what was found and what is expected."""
    with pytest.raises(RecordError, match=said):
        counted(found, is_windowed=True)
