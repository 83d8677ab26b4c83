"""Transactions that arrive whole have stages of their own; without them the pipeline is as ever."""

from __future__ import annotations

from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.runners.flink.jar import pipeline_proto

from .test_template import _pardo, config

TOPICS = {"orders": {"topic": "a.b.c", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["w"]}}


def whole(**changes: Any) -> ClientConfig:
    """Return a client whose transactions arrive whole."""
    return config(entities=TOPICS, delivery={"atomicity": "transaction"}, **changes)


@pytest.fixture(scope="module")
def proto() -> Any:
    """Return the pipeline in Beam's portable form."""
    return pipeline_proto(whole(), bounded=False)


def test_labels_are_pinned(proto: Any) -> None:
    """State is found again by these labels: changing one loses every savepoint."""
    names = {each.unique_name for each in proto.components.transforms.values()}
    assert {name for name in names if "/" not in name and not name.startswith("ref_")} == {
        "Clock",
        "CollectBatches",
        "CollectDeadLetters",
        "CollectShares",
        "GatherTransactions",
        "ReadChanges",
        "Ticks",
        "TransformChanges",
        "WriteDeadLetters",
        "WriteSinks",
    }


def test_state_is_named(proto: Any) -> None:
    """What is held, and what was let go; the writer still waits for checkpoints."""
    transforms = {each.unique_name: each for each in proto.components.transforms.values()}
    gather = _pardo(transforms["GatherTransactions"])
    assert set(gather.state_specs) == {"gather_head", "gather_log", "released_head", "released_log"}
    assert list(gather.timer_family_specs) == ["ts-expiry"]
    assert _pardo(transforms["WriteSinks"]).requires_stable_input


def test_elements_are_bytes_between_stages(proto: Any) -> None:
    """No element crosses a stage boundary pickled."""
    coders = {coder.spec.urn for coder in proto.components.coders.values()}
    assert not {urn for urn in coders if "pickled" in urn}


def test_a_bounded_run_writes_row_by_row() -> None:
    """Nobody looks before its end."""
    built = pipeline_proto(whole(), bounded=True)
    names = {each.unique_name for each in built.components.transforms.values()}
    assert "GatherTransactions" not in names
