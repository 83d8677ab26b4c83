"""Hurt the stack: kill parts, pause them, make the sinks' transactions slow or fail, and rescale the job."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence

import psutil

from tillstream.runners.verify.rig import Rig, await_, each
from tillstream.runners.verify.sink_faults import FAILING, SLOW, Harm

__all__ = ["FAULTS", "Strike", "deal", "strike"]

_PAUSE_S_MAX = 2.0
_HARM_S = (1.5, 4.0)  # of each sink
_TAKE_OVER_S = 90.0
_PARALLELISMS = (1, 2, 3)

# A fault that has happened but is not over: called to end it.
Strike = Callable[[], None]


def deal(kinds: Sequence[str], rounds: int, dice: random.Random) -> list[list[str]]:
    """Return the faults of each round: one or two, each kind as often as the others, give or take one.

    Args:
        kinds: of faults; without any there are only rounds of traffic.
        rounds: how many there are.
        dice: decides the order.
    """
    deck: list[str] = []
    dealt = []
    for _ in range(rounds):
        hand = []
        for _ in range(min(len(kinds), dice.randint(1, 2))):
            if not deck:
                deck = dice.sample(list(kinds), len(kinds))
            hand.append(deck.pop())
        dealt.append(hand)
    return dealt


def strike(kind: str, rig: Rig, dice: random.Random) -> Strike:
    """Let a fault happen, and return what ends it.

    Args:
        kind: one of FAULTS.
        rig: what is hurt.
        dice: decides on everything random about it.
    """
    return FAULTS[kind](rig, dice)


def _kill(part: str) -> Callable[[Rig, random.Random], Strike]:
    def happen(rig: Rig, dice: random.Random) -> Strike:
        name = rig.running_host() if part == "taskmanager" else part
        rig.stack.kill(name)
        return _later(dice, lambda: rig.stack.up([name]))

    return happen


def _later(dice: random.Random, work: Callable[[], None]) -> Strike:
    pause_s = dice.uniform(0, _PAUSE_S_MAX)

    def end() -> None:
        time.sleep(pause_s)
        work()

    return end


def _kill_harness(rig: Rig, dice: random.Random) -> Strike:
    victims = await_(lambda: rig.harnesses(rig.running_host()), "a Python process of the job")
    dice.choice(sorted(victims, key=lambda each: each.pid)).kill()
    return _nothing


def _zombie(rig: Rig, _: random.Random) -> Strike:
    """Pause the TaskManager and its Python processes amid their work, as a machine that hangs."""
    name = rig.running_host()
    asleep = [rig.process(name)]
    asleep += asleep[0].children(recursive=True)
    each(asleep, psutil.Process.suspend)

    def end() -> None:
        try:
            await_(lambda: rig.running_host() != name, f"a successor of {name}", _TAKE_OVER_S)
        finally:
            each(asleep, psutil.Process.resume)

    return end


def _slow(rig: Rig, dice: random.Random) -> Strike:
    """Let each sink's transactions take long, one sink after the other."""
    return _one_by_one(rig, [SLOW[sink] for sink in rig.sinks], dice)


def _failing(rig: Rig, dice: random.Random) -> Strike:
    """Let each sink's transactions fail for a while, one sink after the other."""
    return _one_by_one(rig, [dice.choice(FAILING[sink]) for sink in rig.sinks], dice)


def _one_by_one(rig: Rig, harms: Sequence[Harm], dice: random.Random) -> Strike:
    lengths_s = [dice.uniform(*_HARM_S) for _ in harms]
    first = harms[0](rig, lengths_s[0])

    def end() -> None:
        first()
        for harm, length_s in zip(harms[1:], lengths_s[1:], strict=True):
            harm(rig, length_s)()

    return end


def _rescale(rig: Rig, dice: random.Random) -> Strike:
    """Give the job another parallelism, amid its work."""
    rig.running_host()
    rig.rescale(dice.choice([each for each in _PARALLELISMS if each != rig.parallelism]))
    return _nothing


def _nothing() -> None:
    pass


FAULTS: Mapping[str, Callable[[Rig, random.Random], Strike]] = {
    "taskmanager": _kill("taskmanager"),
    "jobmanager": _kill("jobmanager"),
    "harness": _kill_harness,
    "kafka": _kill("kafka"),
    "connect": _kill("connect"),
    "zookeeper": _kill("zookeeper"),
    "warehouse": _kill("warehouse"),
    "zombie": _zombie,
    "slow": _slow,
    "failing": _failing,
    "rescale": _rescale,
}
