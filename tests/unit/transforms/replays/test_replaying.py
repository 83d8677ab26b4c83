"""Dead letters come back: applied once, in order, by a chosen version; held keys wait for them."""

from __future__ import annotations

import msgspec
import pytest

from tillstream.io.sinks.letters import letter_id
from tillstream.pipelines.records import (
    DeadLetter,
    MutationBatch,
    Replay,
)

from .job import BAD, Job, batch, config, record


def test_a_letter_is_replayed_by_the_chosen_version_once() -> None:
    """The same replay again changes nothing, whether it was delivered or asked for twice."""
    job = Job(config())
    assert job.events("EUR", BAD) == [(1, "EUR"), (2, "transform_failed")]
    assert job.replay(2, BAD) == [(2, "XXX'"), (2, "replayed")]
    assert job.replay(2, BAD) == job.replay(2, BAD, attempt=6) == []
    assert job.events(BAD, first=2) == []


def test_the_mark_comes_with_the_rows_and_names_the_attempt() -> None:
    """What settles a letter carries its identity, and travels behind the rows."""
    job = Job(config())
    job.events(BAD)
    failed = next(iter(job.letters.values()))
    assert (failed.position, failed.source_time_us, failed.attempt) == ((1,), 1001, 0)
    job.replay(1, BAD)
    solved = job.letters[letter_id(failed), "replayed"]
    assert (solved.attempt, solved.detail, solved.payload) == (5, "by acme.priced@1.0.1", None)


def test_a_replay_that_fails_again_opens_its_letter_anew() -> None:
    """The job's own version refuses it again; the next replay, asked for in view of that, is taken."""
    job = Job(config())
    job.events(BAD)
    assert job.replay(1, BAD, transform="") == [(1, "transform_failed")]
    (again,) = job.letters.values()
    assert again.attempt == 5
    assert job.replay(1, BAD, attempt=9, seen=5) == [(1, "XXX'"), (1, "replayed")]


def test_a_newer_change_supersedes_a_letter() -> None:
    """What is newer stands; without positions every event counts."""
    job = Job(config())
    job.events(BAD, "EUR")
    assert job.replay(1, BAD) == [(1, "superseded")]
    assert job.replay(1, BAD) == []
    for by in ("event_id", "none"):
        job = Job(config(by))
        job.events(BAD, "EUR")
        assert job.replay(1, BAD) == [(1, "XXX'"), (1, "replayed")]


def test_a_roll_back_takes_a_replay_back_with_it() -> None:
    """After a restart the replay is read again, and applied as if for the first time."""
    job = Job(config(on_error="hold_key"))
    job.events(BAD, "EUR")
    before = job.snapshot()
    done = job.replay(1, BAD)
    assert done == [(1, "XXX'"), (2, "EUR'"), (1, "replayed")]
    job.restore(before)
    assert job.replay(1, BAD) == done
    assert job.replay(1, BAD) == []


@pytest.mark.parametrize(
    ("chosen", "said"),
    [("acme.other@1.0.0", "unknown"), ("acme.priced@9.0.0", "acme.priced@1.0.1")],
)
def test_a_version_that_cannot_be_had_opens_the_letter_anew(chosen: str, said: str) -> None:
    """The letter says what was asked for, and what there is."""
    job = Job(config())
    job.events(BAD)
    assert job.replay(1, BAD, transform=chosen) == [(1, "unknown_transform")]
    assert said in job.letters.popitem()[1].detail


def test_a_letter_that_was_never_read_is_applied() -> None:
    """A letter of the reader knows no position yet; its first reading, later, is a repeat."""
    job = Job(config())
    assert job.replay(7, "EUR", step="read", transform="") == [(7, "EUR"), (7, "replayed")]
    assert job.events("EUR", first=7) == []


def test_rows_that_one_sink_refused_go_to_that_sink_alone() -> None:
    """The others have them."""
    job = Job(config())
    job.events("EUR")
    replay = Replay("x", "replay", "prices", "write", 0, "out", "", 5, 0, "r", 0, 3)
    frame = msgspec.structs.replace(batch(record(1, "EUR")), replay=replay).encode()
    cells = [each for state in job.states for each in (state.cell, state.bag)]
    (output,) = job.stage.process((b"s0", frame), *cells)
    made = MutationBatch.decode(output[1])
    assert (made.only_sinks, made.via, made.sequence) == (("out",), ("r", 0, 3, 0), 2)
    assert [(each.status, each.sink, each.step) for each in made.settled] == [("replayed", "out", "write")]


def test_later_changes_of_a_held_key_wait_and_others_do_not() -> None:
    """Within a batch and after it; the replay applies all of them, in order."""
    job = Job(config(on_error="hold_key"))
    assert job.take(batch(record(1, BAD), record(2, "EUR"), record(3, "EUR", 2))) == [
        (3, "EUR"),
        (1, "transform_failed"),
    ]
    assert job.events("USD", "GBP", first=4) == []
    assert job.events("USD", first=6, key=2) == [(6, "USD")]
    assert job.replay(1, BAD) == [(1, "XXX'"), (2, "EUR'"), (4, "USD'"), (5, "GBP'"), (1, "replayed")]
    assert job.events("EUR", first=7) == [(7, "EUR")]


def test_rows_that_are_copied_hold_their_keys_too() -> None:
    """The contract refuses; the key waits, within the batch and after it, and the others go on."""
    contract = {"id": "int64", "currency": "decimal(5,2)"}
    job = Job(config(transform=None, contract=contract, on_error="hold_key"))
    assert job.events("1.00", "2.00") == [(1, "1.00"), (2, "2.00")]
    mixed = batch(record(3, BAD), record(4, "4.00"), record(5, "5.00", 2))
    assert job.take(mixed) == [(5, "5.00"), (3, "contract")]
    assert job.take(batch(record(6, "6.00"), record(7, "7.00", 2))) == [(7, "7.00")]
    assert job.replay(3, "3.00", transform="") == [*((n, f"{n}.00") for n in (3, 4, 6)), (3, "replayed")]


def test_a_discard_lets_the_key_go_without_the_change() -> None:
    """What waited is applied by the job's own version; the first that fails holds the key again."""
    job = Job(config(on_error="hold_key"))
    job.events(BAD, "EUR", BAD, "USD")
    given_up = job.replay(1, BAD, action="discard", transform="")
    assert given_up == [(2, "EUR"), (1, "discarded"), (3, "transform_failed")]
    assert job.events("GBP", first=5) == []
    assert job.replay(3, BAD) == [(3, "XXX'"), (4, "USD'"), (5, "GBP'"), (3, "replayed")]


def test_a_key_keeps_no_more_back_than_it_may() -> None:
    """What has no room becomes a letter, and may be replayed when the key is free."""
    job = Job(config(on_error="hold_key", hold_events_max=1))
    assert job.events(BAD, "EUR", "USD") == [(1, "transform_failed"), (3, "held")]
    assert job.replay(3, "USD") == [(3, "held")]
    assert job.replay(1, BAD) == [(1, "XXX'"), (2, "EUR'"), (1, "replayed")]
    assert job.replay(3, "USD", attempt=9, seen=5) == [(3, "USD'"), (3, "replayed")]


def test_held_keys_survive_a_launch_and_are_let_go_when_no_longer_wanted() -> None:
    """State goes on; a config that skips applies what waited before anything newer."""
    job = Job(config(on_error="hold_key"))
    job.events(BAD, "EUR")
    job.start(config(on_error="hold_key"))
    assert job.events("USD", first=3) == []
    job.start(config(on_error="skip"))
    assert job.events("GBP", first=4) == [(2, "EUR"), (3, "USD"), (4, "GBP")]
    assert job.replay(1, BAD) == [(1, "superseded")]


def test_a_solved_letter_holds_no_key_when_its_change_is_read_again() -> None:
    """Where repeats are not told, the change fails again; it was solved, and nobody would let the key go."""
    job = Job(config("none", on_error="hold_key"))
    job.events(BAD)
    job.replay(1, BAD)
    assert job.events(BAD, "EUR") == [(2, "EUR")]


def test_a_later_stage_gets_a_replay_by_the_version_that_runs() -> None:
    """Only the stage of the flow that refused it; another version cannot be had there."""
    client = config()
    orders = client.entities["prices"]
    view = orders.model_copy(update={"topic": None, "from_entity": "prices", "transform": "acme.slow@1.0.0"})
    job = Job(client.model_copy(update={"entities": {"prices": orders, "view": view}}))
    assert job.events("EUR") == [(1, "beam_view"), (1, "EUR")]
    of_view = letter_id(DeadLetter("acme", "view", "transform", "", "", "t", 0, 1))
    again = job.replay(1, "EUR", letter=of_view, entity="view", transform="acme.slow@1.0.1")
    assert again == [(1, "unknown_transform")]
    assert "is of kind beam" in next(reversed(job.letters.values())).detail
    given = job.replay(1, "EUR", letter=of_view, entity="view", transform="")
    assert given == [(1, "beam_view"), (1, "replayed")]


@pytest.mark.parametrize("on_error", ["skip", "hold_key"])
def test_a_replay_waits_until_its_change_has_been_read(on_error: str) -> None:
    """A launch from nothing reads both topics at once; what comes first there overtakes nothing."""
    job = Job(config(on_error=on_error))
    assert job.replay(3, BAD) == []
    assert job.events("EUR", "USD") == [(1, "EUR"), (2, "USD")]
    job.start(config(on_error=on_error))
    assert job.replay(3, BAD) == []
    assert job.events(BAD, "GBP", first=3) in (
        [(4, "GBP"), (3, "transform_failed"), (3, "superseded")],
        [(3, "XXX'"), (4, "GBP'"), (3, "replayed"), (3, "transform_failed")],
    )
    assert job.replay(3, BAD) == []
    assert job.events("EUR", first=5) == [(5, "EUR")]


def test_a_shard_without_held_keys_opens_no_state_of_them() -> None:
    """The third state is read where the first one says that there is something."""
    job = Job(config(on_error="hold_key"))
    job.states[2].cell.read = None  # type: ignore[method-assign,assignment]  # whoever reads it fails
    assert job.events("EUR", "USD") == [(1, "EUR"), (2, "USD")]
