"""`tillstream verify` proves what holds, and fails where what it rests on is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import apache_beam as beam
import pytest

from tillstream.pipelines import template
from tillstream.pipelines.errors import StackError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.rig import Rig
from tillstream.runners.verify.verify import VerifyOptions, verify

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

_SABOTEURS = Path(__file__).with_name("saboteurs")
_SEED = 5


def test_a_short_run_is_exact(tmp_path: Path) -> None:
    """Three kills, on a stack of the command's own: every sink is exact, and says so as JSON."""
    command = [str(Path(sys.executable).with_name("tillstream")), "verify", "--rounds", "3", "--json"]
    command += ["--faults", "taskmanager,jobmanager,harness", "--dir", str(tmp_path / "stack")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    wrong = ("missing", "extra", "mismatched", "duplicates", "out_of_order")
    assert {kind: figures[kind] for kind in wrong} == dict.fromkeys(wrong, 0)
    assert set(figures["faults"]) == {"taskmanager", "jobmanager", "harness"}
    assert figures["changes"] > 1000
    assert figures["injected"] > 0
    assert figures["recovery_s_max"] > 0
    assert not (tmp_path / "stack" / "stack.json").exists()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """Return a stack whose jobs find the saboteurs."""
    local = LocalStack.open(tmp_path_factory.mktemp("verify") / "stack")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(_SABOTEURS), os.environ.get("PYTHONPATH", "")]))
        patch.syspath_prepend(str(_SABOTEURS))
        try:
            yield local
        finally:
            local.down(wipe=True)


Verdict = Callable[[str, Sequence[str]], bool]


@pytest.fixture
def is_exact(stack: LocalStack) -> Iterator[Verdict]:
    """Return a function that verifies a client's job with some faults, and ends the job afterwards."""
    rigs: list[Rig] = []

    def played(client: str, faults: Sequence[str]) -> bool:
        rig = Rig(stack, client, ["kafka", "postgres"])
        rigs.append(rig)
        options = VerifyOptions(faults, rounds=2, seed=_SEED, rate_per_s=500, patience_s=30)
        try:
            return verify(options, rig, print).is_exact
        except StackError as error:  # the job went on failing: nothing came any more
            print(error)  # noqa: T201 - shown when a test fails
            return False

    yield played
    for rig in rigs:
        if rig.job_id:
            rig.rest.cancel(rig.job_id)


def test_nothing_taken_away_is_exact(is_exact: Verdict) -> None:
    """The job that the other tests spoil is exact as it is."""
    assert is_exact("whole", ["harness"])


def test_it_fails_without_stable_input(is_exact: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a replay may cut batches otherwise, their numbers tell nothing."""
    monkeypatch.setattr(template, "StableInputParDo", beam.ParDo)
    assert not is_exact("unstable", ["harness"])


def test_it_fails_without_the_ledger(
    stack: LocalStack, is_exact: Verdict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody remembers what was written, a replay writes it again."""
    import tillstream_saboteurs

    assert stack.layout.root.is_dir()
    monkeypatch.setattr(template, "WriteMutationsOnce", tillstream_saboteurs.WriteWithoutLedger)
    assert not is_exact("forgetful", ["harness"])


def test_it_fails_without_keying(is_exact: Verdict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a shard's batches reach several writers, they come out of order; no fault is needed."""
    import tillstream_saboteurs

    monkeypatch.setattr(template, "StableInputParDo", tillstream_saboteurs.ScatterBatches)
    assert not is_exact("scattered", [])
