"""Every kind of fault gets its turn, by seed."""

from __future__ import annotations

import random
from collections import Counter

from tillstream.runners.verify.faults import FAULTS, deal


def _dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - faults, not secrets


def test_twenty_rounds_hit_every_kind_at_least_twice() -> None:
    """Whatever the seed, no kind of fault is left to chance."""
    for seed in range(200):
        hits = Counter(kind for hand in deal(tuple(FAULTS), 20, _dice(seed)) for kind in hand)
        assert min(hits[kind] for kind in FAULTS) >= 2


def test_a_seed_deals_the_same_faults() -> None:
    """What failed can be played again."""
    kinds = tuple(FAULTS)
    assert deal(kinds, 5, _dice(1)) == deal(kinds, 5, _dice(1))
    assert deal(kinds, 5, _dice(1)) != deal(kinds, 5, _dice(2))


def test_a_single_kind_strikes_once_a_round() -> None:
    """One kind is one fault a round."""
    assert deal(["kafka"], 3, _dice(1)) == [["kafka"]] * 3
