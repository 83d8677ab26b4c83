"""Whatever a DoFn does with one record, the others go on."""

from __future__ import annotations

import contextlib
import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from tillstream.configs.limits import Limits
from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.isolation import guard as guard_module
from tillstream.pipelines.isolation import watchdog
from tillstream.pipelines.isolation.guard import RecordGuard
from tillstream.pipelines.isolation.process import Shared
from tillstream.pipelines.isolation.strikes import Strike, StrikeStore
from tillstream.pipelines.isolation.watchdog import RecordTimeoutError
from tillstream.pipelines.records import ChangeBatch, ChangeEvent, ChangeRecord, DeadLetter, Operation
from tillstream.transforms.api import info_of, parameters_of, transform
from tillstream.transforms.flow_runner import FlowRunner
from tillstream.transforms.flows import Flow
from tillstream.transforms.packing import MutationPacker

pytestmark = pytest.mark.usefixtures("untraced")

LIMITS = Limits(record_timeout_ms=200, mutations_per_record_max=100)
GOOD = 0


@transform("acme.act@1.0.0")
class Act(beam.DoFn):
    """Do what the row's number says."""

    deeds: tuple[Callable[[ChangeEvent], Any], ...] = ()

    def process(self, event: ChangeEvent) -> Any:
        """Do it."""
        return self.deeds[int((event.after or {})["id"])](event)


def batch(*numbers: int) -> ChangeBatch:
    """Return one change for each number, at the offset of that number."""
    records = tuple(
        ChangeRecord(each, Operation.CREATE, (each,), (each,), 1000, None, b'{"id":%d}' % each)
        for each in numbers
    )
    return ChangeBatch("acme", "orders", 0, "acme.public.orders", 3, ("id",), records)


def flow(dofn: type[beam.DoFn]) -> Flow:
    """Return a flow that makes orders of orders."""
    return Flow("orders", "orders", "record", dofn, info_of(dofn), parameters_of("x", dofn))


def run(*deeds: Callable[[ChangeEvent], Any]) -> tuple[list[DeadLetter], list[int]]:
    """Do a good deed, the given ones, and a good one again; return dead letters and offsets that passed."""
    Act.deeds = (lambda event: [event.upsert({"id": 0})], *deeds)
    packer = MutationPacker({"orders": None}, {"orders": ("id",)}, {})
    changes = batch(GOOD, *range(1, len(deeds) + 1), GOOD)
    letters = FlowRunner(flow(Act), packer, LIMITS).run(changes, None)
    packed, _ = packer.flush(changes)
    return letters, [each.offset for found in packed for each in found.records]


def _raising(error: BaseException) -> Callable[[ChangeEvent], Any]:
    def act(_: ChangeEvent) -> Any:
        raise error

    return act


class MuteError(Exception):
    """Raise when asked what it is about."""

    def __str__(self) -> str:
        """Raise."""
        raise ValueError("no text")


def _mutate(event: ChangeEvent) -> Any:
    row = dict(event.after or {})
    event.after.clear()  # type: ignore[union-attr]
    return [event.upsert(row)]


def _recurse(event: ChangeEvent) -> Any:
    return _recurse(event)


@pytest.mark.parametrize(
    ("deed", "reason", "detail"),
    [
        (_raising(ValueError("x")), "transform_failed", "ValueError: x"),
        (_raising(SystemExit(3)), "transform_failed", "SystemExit: 3"),
        (_raising(GeneratorExit()), "transform_failed", "GeneratorExit: "),
        (_raising(StopIteration()), "transform_failed", "StopIteration: "),
        (_raising(MuteError()), "transform_failed", "MuteError: (its text cannot be told)"),
        (_raising(ValueError("x" * 1_000_000)), "transform_failed", "ValueError: " + "x" * 4000),
        (_recurse, "transform_failed", "RecursionError: maximum recursion depth exceeded"),
        (lambda _: 1, "transform_failed", "TypeError: 'int' object is not iterable"),
        (lambda _: "no", "transform_failed", "found a str from process"),
        (lambda _: iter(int, 1), "too_many_mutations", "process made more than 100 mutations"),
        (lambda event: itertools.repeat(event.delete()), "too_many_mutations", "process made more than 100"),
    ],
)
def test_what_a_dofn_raises_or_returns_is_its_records_alone(
    deed: Callable[[ChangeEvent], Any], reason: str, detail: str
) -> None:
    """The record becomes a dead letter that says what it was; its neighbours pass."""
    (letter,), passed = run(deed)
    assert (letter.offset, letter.reason) == (1, reason)
    assert letter.detail.startswith(detail)
    assert len(letter.detail) < 5000
    assert passed == [GOOD, GOOD]


def test_an_interrupt_of_another_thread_is_an_error_like_others() -> None:
    """Only where a person can press Ctrl-C does it end the program."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(run(_raising(KeyboardInterrupt()))))
    thread.start()
    thread.join(30)
    assert found[0][0][0].detail == "KeyboardInterrupt: "
    with pytest.raises(KeyboardInterrupt):
        run(_raising(KeyboardInterrupt()))


def test_a_changed_event_changes_nothing_for_others() -> None:
    """What a DoFn does to an event's row stays with that call."""
    letters, passed = run(_mutate, _mutate)
    assert (letters, passed) == ([], [GOOD, 1, 2, GOOD])


def _spin(_: ChangeEvent) -> Any:
    while True:
        pass


def _spin_and_swallow(event: ChangeEvent) -> Any:
    end_s = time.monotonic() + 0.5
    while time.monotonic() < end_s:
        try:
            while time.monotonic() < end_s:
                pass
        except BaseException:  # noqa: BLE001  (what must not help it)
            end_s += 0
    return [event.upsert({"id": 1})]


def _spin_in_a_generator(event: ChangeEvent) -> Iterator[Any]:
    yield event.upsert({"id": 1})
    try:
        _spin(event)
    finally:
        yield event.upsert({"id": 1})


@pytest.mark.parametrize("deed", [_spin, _spin_and_swallow, _spin_in_a_generator])
def test_what_hangs_in_python_is_interrupted(deed: Callable[[ChangeEvent], Any]) -> None:
    """The record becomes a dead letter, also if the interruption was caught, and says where it hung."""
    (first, second), passed = run(deed, deed)
    assert (first.offset, second.offset, first.reason) == (1, 2, "timed_out")
    assert first.detail == "process did not end within 200 ms, limits.record_timeout_ms"
    assert passed == [GOOD, GOOD]


def test_late_interruptions_hit_nobody_else() -> None:
    """Records that end just when they are interrupted never leave an exception for what comes after."""
    guard = RecordGuard(Limits(record_timeout_ms=None), "acme.act@1.0.0")
    changes = batch(*range(30_000))
    guard.begin(changes)
    done = threading.Event()
    pauses = random.Random(7)  # noqa: S311  (pauses, not keys)

    def interrupt_at_random() -> None:
        while not done.is_set():
            token = guard.token
            for _ in range(pauses.randrange(300)):
                pass
            if token is not None:
                watchdog._interrupt(guard, token)
            # As the watchdog does, it gives the thread time to leave.
            while guard.interrupted and not done.wait(0.0001):
                pass

    adversary = threading.Thread(target=interrupt_at_random)
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(0.00001)
    adversary.start()
    interrupted = 0
    try:
        for record in changes.records:
            try:
                guard.enter(record)
                try:
                    for _ in range(record.offset % 50):
                        pass
                finally:
                    guard.leave()
            except RecordTimeoutError as error:
                guard.judge(error, record.offset)
                interrupted += 1
            # Nothing may arrive from here on.
            for _ in range(record.offset % 70):
                pass
    finally:
        done.set()
        adversary.join(30)
        sys.setswitchinterval(switch_s)
    assert 0 < interrupted < len(changes.records)


def test_an_interruption_that_comes_too_late_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record ends between the watchdog's look and its interruption: nothing arrives after it."""
    guard = RecordGuard(Limits(record_timeout_ms=None), "acme.act@1.0.0")
    changes = batch(1)
    guard.begin(changes)
    looked, raise_in = threading.Event(), watchdog._raise_in

    def raise_late(thread: int, error: Any) -> None:
        if error is RecordTimeoutError:
            looked.set()
            while guard.token is not None:
                pass
        raise_in(thread, error)

    monkeypatch.setattr(watchdog, "_raise_in", raise_late)
    guard.enter(changes.records[0])
    late = threading.Thread(target=watchdog._interrupt, args=(guard, guard.token))
    late.start()
    assert looked.wait(30)
    with pytest.raises(RecordTimeoutError):
        guard.leave()
    late.join(30)
    assert not guard.interrupted
    for _ in range(100_000):
        pass


@pytest.mark.parametrize(
    "deed",
    [
        _spin,
        _spin_in_a_generator,
        _raising(MemoryError()),
        _raising(KeyboardInterrupt()),
        _raising(OSError()),
    ],
)
def test_nothing_is_watched_after_a_run(
    deed: Callable[[ChangeEvent], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However a batch ends, its thread is left alone by then: what comes next is somebody else's."""
    made: list[RecordGuard] = []
    watch = watchdog.Watchdog.watch
    monkeypatch.setattr(watchdog.Watchdog, "watch", lambda self, each: (made.append(each), watch(self, each)))
    with contextlib.suppress(MemoryError, KeyboardInterrupt):
        run(deed)
    (guard,) = made
    assert (guard.token, guard.thread, guard.interrupted) == (None, 0, False)


def test_a_guard_that_is_left_armed_is_disarmed_at_the_end_of_its_batch() -> None:
    """Should a call forget to leave its record, the end takes back what was raised and did not arrive."""
    guard = RecordGuard(Limits(record_timeout_ms=None), "acme.act@1.0.0")
    changes = batch(1)
    guard.begin(changes)
    guard.enter(changes.records[0])
    guard.interrupted = True
    guard.end()
    watchdog._interrupt(guard, changes.records[0])
    assert (guard.token, guard.thread, guard.interrupted) == (None, 0, False)


def test_an_endless_generator_is_closed_while_it_is_watched() -> None:
    """One that hangs as it is closed is a hang like others."""

    def endless(event: ChangeEvent) -> Iterator[Any]:
        try:
            while True:
                yield event.upsert({"id": 1})
        finally:
            _spin(event)

    (letter,), passed = run(endless)
    assert (letter.reason, passed) == ("timed_out", [GOOD, GOOD])


def test_condemned_records_are_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke processes before is a dead letter with the reason and what was known; others pass."""
    shared = Shared(None)
    shared.strikes = StrikeStore(tmp_path)
    shared.strikes.add([Strike("acme.act@1.0.0", "acme.public.orders", 3, 1, "crashed", 2, trace="there")])
    monkeypatch.setattr(guard_module, "shared", lambda: shared)
    (letter,), passed = run(_raising(AssertionError("tried")), lambda event: [event.upsert({"id": 2})])
    assert (letter.offset, letter.reason, letter.traceback) == (1, "crashed", "there")
    assert passed == [GOOD, 2, GOOD]


@pytest.mark.parametrize(
    ("held_bytes", "reason"), [(0, "out_of_memory"), (1 << 40, None)], ids=["grown in one record", "leaked"]
)
def test_memory_that_comes_back_is_the_records_own_fault(
    held_bytes: int, reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that grew past the limit is refused; a leak gives a strike, and the process starts anew."""
    shared = Shared(None)
    shared.strikes = StrikeStore(tmp_path)
    ended: list[bool] = []
    monkeypatch.setattr(shared, "end_soon", lambda: ended.append(True))
    monkeypatch.setattr(guard_module, "shared", lambda: shared)
    monkeypatch.setattr(guard_module.resource, "getrlimit", lambda _: (1 << 40, 1 << 40))
    monkeypatch.setattr(guard_module, "data_bytes", lambda: held_bytes)
    if reason is not None:
        (letter,), passed = run(_raising(MemoryError()))
        assert (letter.reason, passed, ended) == (reason, [GOOD, GOOD], [])
        return
    for _ in range(2):
        with pytest.raises(MemoryError):
            run(_raising(MemoryError()))
    assert ended == [True, True]
    (letter,), passed = run(_raising(AssertionError("tried")))
    assert (letter.reason, passed) == ("out_of_memory", [GOOD, GOOD])


def test_without_a_limit_of_memory_its_lack_stops_the_run() -> None:
    """Nobody would start the process again."""
    with pytest.raises(MemoryError):
        run(_raising(MemoryError()))


def test_what_setup_raises_names_the_transform() -> None:
    """It is no record's fault, and a person must know whose it is."""

    @transform("acme.unready@1.0.0")
    class Unready(Act):
        def setup(self) -> None:
            raise OSError("no model file")

    runner = FlowRunner(flow(Unready), MutationPacker({}, {}, {}), LIMITS)
    expected = "transform 'acme.unready@1.0.0' of entity 'orders': setup raised OSError: no model file"
    with pytest.raises(TransformError, match=expected):
        runner.setup()
