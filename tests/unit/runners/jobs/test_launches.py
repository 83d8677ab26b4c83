"""What a history knows of launches, and where a roll-back goes."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.runners.jobs.history import Entry
from tillstream.runners.jobs.launches import goal_of, launches, replaced_by, unfinished


def history(*lines: tuple[Any, ...]) -> list[Entry]:
    """Return entries of (action, outcome, generation, template, savepoint, and what it replaces)."""
    return [
        Entry(
            action,
            outcome,
            at=f"t{generation}",
            generation=generation,
            template=template,
            savepoint=savepoint,
            replaces=replaces[0] if replaces else 0,
        )
        for action, outcome, generation, template, savepoint, *replaces in lines
    ]


LAUNCHED = ("launch", "done", 1, "a", None)
UPGRADED = ("upgrade", "done", 2, "b", "/s1")


def test_entries_of_one_launch_become_one() -> None:
    """What an entry does not say, one before it does; the beginning stays the first one's."""
    begun = Entry("upgrade", "started", at="t1", generation=2, template="b", overrides={"/x": 1})
    ended = Entry("upgrade", "done", at="t2", generation=2, template="b", savepoint="/s1", job_id="j")
    (found,) = launches([Entry("pause", "done", at="t0"), begun, ended])
    assert (found.begun_at, found.entry.outcome, found.entry.savepoint) == ("t1", "done", "/s1")
    assert found.parameters(9).overrides == {"/x": 1}


@pytest.mark.parametrize(
    ("entries", "current", "goal", "savepoint", "undone"),
    [
        pytest.param([LAUNCHED, UPGRADED], 2, 1, "/s1", [2], id="an upgrade"),
        pytest.param(
            [LAUNCHED, UPGRADED, ("resume", "done", 3, "b", "/s2")], 3, 1, "/s1", [2, 3], id="resumed since"
        ),
        pytest.param(
            [LAUNCHED, ("resume", "done", 3, "a", "/s0"), ("upgrade", "done", 4, "b", "/s1")],
            4,
            3,
            "/s1",
            [4],
            id="the last launch of the version before",
        ),
        pytest.param(
            [
                LAUNCHED,
                ("upgrade", "rolled_back", 2, "b", "/s1"),
                ("rollback", "done", 3, "a", "/s1"),
                ("upgrade", "done", 4, "c", "/s2"),
            ],
            4,
            3,
            "/s2",
            [4],
            id="past one that was undone",
        ),
        pytest.param(
            [LAUNCHED, ("upgrade", "failed", 2, "b", None), ("upgrade", "done", 3, "c", "/s1")],
            3,
            1,
            "/s1",
            [3],
            id="past one that stopped nothing",
        ),
        pytest.param(
            [
                LAUNCHED,
                ("upgrade", "started", 2, "b", "/s1"),
                ("upgrade", "done", 3, "c", "/s2", 2),
            ],
            3,
            2,
            "/s2",
            [3],
            id="one that was never watched to its end",
        ),
        pytest.param(
            [LAUNCHED, UPGRADED, ("upgrade", "done", 3, "c", "/s2"), ("rollback", "done", 4, "b", "/s2")],
            4,
            1,
            "/s1",
            [2, 3, 4],
            id="twice",
        ),
    ],
)
def test_where_a_roll_back_goes(
    entries: list[Any], current: int, goal: int, savepoint: str, undone: list[int]
) -> None:
    """To the last launch of another version that has held, in the state that it was left in."""
    found = goal_of(launches(history(*entries)), current)
    assert (found.launch.generation, found.savepoint) == (goal, savepoint)
    assert [each.generation for each in found.undone] == undone


@pytest.mark.parametrize(
    ("replaces", "goal"),
    [pytest.param(2, 2, id="as it says"), pytest.param(0, 1, id="of an earlier release: the last that held")],
)
def test_an_upgrade_says_what_it_replaces(replaces: int, goal: int) -> None:
    """Whatever the history says of that one."""
    entries = history(
        LAUNCHED,
        ("upgrade", "started", 2, "b", "/s1"),
        ("upgrade", "failed", 3, "c", None),
        ("upgrade", "started", 4, "d", "/s2", replaces),
    )
    all_ = launches(entries)
    assert replaced_by(all_, all_[-1]).generation == goal


def test_an_upgrade_of_nothing_known_leads_nowhere() -> None:
    """It is said how to go on."""
    all_ = launches(history(("launch", "failed", 1, "a", None), ("upgrade", "started", 2, "b", "/s1")))
    with pytest.raises(UserError, match=r"found no launch in the history .*--savepoint /s1"):
        replaced_by(all_, all_[-1])


def test_a_launch_can_be_named() -> None:
    """Also one that was undone."""
    entries = history(LAUNCHED, UPGRADED, ("rollback", "done", 3, "a", "/s1"))
    assert goal_of(launches(entries), 3, 2).launch.generation == 2


@pytest.mark.parametrize(
    ("lines", "current", "wanted"),
    [
        ([LAUNCHED], 1, None),
        ([LAUNCHED, UPGRADED, ("rollback", "done", 3, "a", "/s1")], 3, None),
        ([LAUNCHED, UPGRADED], 2, 7),
    ],
)
def test_where_there_is_no_way_back_it_is_said(lines: list[Any], current: int, wanted: int | None) -> None:
    """With the launches that there are."""
    with pytest.raises(UserError, match="found no such launch, expected an earlier launch"):
        goal_of(launches(history(*lines)), current, wanted)


@pytest.mark.parametrize(
    ("last", "is_unfinished"),
    [
        (("upgrade", "started", 2, "b", None), True),
        (("upgrade", "started", 2, "b", "/s1"), True),
        (("upgrade", "failed", 2, "b", None), False),
        (("upgrade", "done", 2, "b", "/s1"), False),
        (("upgrade", "rolled_back", 2, "b", "/s1"), False),
        (("rollback", "started", 2, "b", "/s1"), True),
        (("rollback", "failed", 2, "b", "/s1"), True),
        (("rollback", "done", 2, "b", "/s1"), False),
        (("launch", "started", 2, "b", None), False),
    ],
)
def test_what_was_left_in_its_midst_shows(last: tuple[Any, ...], is_unfinished: object) -> None:
    """A roll-back that failed is not at its end: no job runs after it."""
    assert (unfinished(launches(history(LAUNCHED, last))) is not None) is is_unfinished
