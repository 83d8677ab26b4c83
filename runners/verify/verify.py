"""Play the rounds: traffic, faults, peace, comparison."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tillstream.pipelines.errors import StackError
from tillstream.runners.verify.faults import deal, strike
from tillstream.runners.verify.oracle import Oracle
from tillstream.runners.verify.report import Report
from tillstream.runners.verify.traffic import Duplicator, Traffic
from tillstream.runners.verify.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from tillstream.runners.verify.oracle import Differences
    from tillstream.runners.verify.rig import Rig
    from tillstream.runners.verify.sinks import Reader

__all__ = ["VerifyOptions", "verify"]

_QUIET_S = (1.0, 4.0)  # of traffic before each fault
_STALLED_S = 45.0  # without anything new: nothing more is coming
_CALM_S = 3.0  # more than two checkpoints, in which a late duplicate would show
_POLL_S = 0.1
_COMPARE_EVERY_S = 1.0


@dataclass(frozen=True)
class VerifyOptions:
    """Say what is played.

    Attributes:
        faults: kinds of faults.
        rounds: how many.
        seed: of workload and faults.
        rate_per_s: row changes a second outside of bursts.
        patience_s: longest wait for the first new row after a fault, and for a round to settle, in seconds.
    """

    faults: Sequence[str]
    rounds: int
    seed: int
    rate_per_s: float
    patience_s: float = 180.0


def verify(options: VerifyOptions, rig: Rig, say: Callable[[str], None]) -> Report:
    """Play all rounds, or those up to the first that is not exact.

    Args:
        options: what is played.
        rig: that it is played on, not yet up; left as it is.
        say: called with a line for a person.

    Raises:
        TillstreamError: if the stack does not come up, or the job ends.
    """
    rig.up(say)
    with ExitStack() as stack:
        source = stack.enter_context(rig.source())
        rig.create_tables(source)
        oracle = Oracle()
        traffic = Traffic(source, rig.client, Workload(options.seed), oracle, options.rate_per_s)
        traffic.fill()
        rig.launch(say)
        readers = rig.readers()
        for reader in readers:
            stack.callback(reader.close)
        duplicator = Duplicator(rig.stack.addresses.kafka, rig.capture.topics, options.seed)
        stack.callback(duplicator.close)
        return _Run(options, rig, say, traffic, duplicator, oracle, readers).play()


@dataclass
class _Run:
    """Hold what the rounds share."""

    options: VerifyOptions
    rig: Rig
    say: Callable[[str], None]
    traffic: Traffic
    duplicator: Duplicator
    oracle: Oracle
    readers: Sequence[Reader]

    def __post_init__(self) -> None:
        self._dice = random.Random(self.options.seed)  # noqa: S311 - faults, not secrets
        self._report = Report(self.options.seed, self.rig.sinks)

    def play(self) -> Report:
        self._await_version(self.traffic.committed_version, "the first rows")
        hands = deal(self.options.faults, self.options.rounds, self._dice)
        for number, hand in enumerate(hands, 1):
            self._round(number, hand)
            if not self._report.is_exact:
                break
        return self._report

    def _round(self, number: int, hand: Sequence[str]) -> None:
        title = f"round {number}/{self.options.rounds}"
        before = self.oracle.changes
        self.traffic.start()
        self.duplicator.start()
        try:
            for kind in hand:
                self._peace()
                self._suffer(title, kind)
            self._peace()
        finally:
            self.traffic.stop()
            self.duplicator.stop()
        began_s = time.monotonic()
        differences = self._settle()
        self._report.rounds = number
        self._report.changes = self.oracle.changes
        self._report.injected = self.duplicator.injected
        self._report.differences = differences
        seconds = time.monotonic() - began_s
        shown = "; ".join(f"{name} {_shown(each)}" for name, each in differences.items())
        self.say(f"{title}: {self.oracle.changes - before:,} changes, settled in {seconds:.1f} s: {shown}")
        for name, each in differences.items():
            for example in each.examples:
                self.say(f"  {name}: {example}")

    def _peace(self) -> None:
        time.sleep(self._dice.uniform(*_QUIET_S))

    def _suffer(self, title: str, kind: str) -> None:
        end = strike(kind, self.rig, self._dice)
        began_s = time.monotonic()
        version = self.traffic.committed_version
        self._report.faults[kind] += 1
        self.say(f"{title}: {kind}")
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fault") as pool:
            ending = pool.submit(end)  # a part may come back after others have taken over
            self._await_version(version + 1, f"a new row after {kind}")
            seconds = time.monotonic() - began_s
            ending.result()
        self._report.recovered(kind, seconds)
        self.say(f"{title}: {kind}: first new row after {seconds:.1f} s")

    def _await_version(self, version: int, what: str) -> None:
        end_s = time.monotonic() + self.options.patience_s
        while any(reader.newest() < version for reader in self.readers):
            problem = self.rig.problem()
            if problem or time.monotonic() > end_s:
                waited = f"waited {self.options.patience_s:.0f} s for {what}"
                raise StackError(f"{waited}: {problem or 'nothing came'}; {self.rig.cause()}")
            time.sleep(_POLL_S)

    def _settle(self) -> dict[str, Differences]:
        """Compare until nothing is missing any more, or nothing comes any more; then once more."""
        began_s = changed_s = time.monotonic()
        found = self._compare()
        while not all(each.is_exact for each in found.values()):
            time.sleep(_COMPARE_EVERY_S)
            last, found = found, self._compare()
            now_s = time.monotonic()
            if found != last:
                changed_s = now_s
            if (
                now_s - changed_s > _STALLED_S
                or now_s - began_s > self.options.patience_s
                or self.rig.problem()
            ):
                break
        time.sleep(_CALM_S)
        return self._compare()

    def _compare(self) -> dict[str, Differences]:
        return {reader.name: reader.compare(self.oracle) for reader in self.readers}


def _shown(differences: Differences) -> str:
    if differences.is_exact:
        return f"exact ({differences.expected:,})"
    return ", ".join(f"{kind} {count:,}" for kind, count in differences.counts().items() if count)
