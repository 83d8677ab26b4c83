"""Run the differential test: its last line says `equal: ...`, or what differs; then the exit code is 1."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.differential.play import Options, play
from tillstream.runners.local.stack import LocalStack

SEED = "TILLSTREAM_DIFFERENTIAL_SEED"
STEPS = "TILLSTREAM_DIFFERENTIAL_STEPS"
WITHOUT = "TILLSTREAM_DIFFERENTIAL_WITHOUT"
ATOMICITY = "TILLSTREAM_DIFFERENTIAL_ATOMICITY"


def main() -> int:
    """Play on a stack of its own, which is taken down afterwards; return the exit code."""
    given = os.environ.get(SEED)
    seed = int(given) if given else random.SystemRandom().randrange(1 << 31)
    steps = int(os.environ.get(STEPS) or Options.steps)
    without = tuple(filter(None, os.environ.get(WITHOUT, "").split(",")))
    atomicity = os.environ.get(ATOMICITY) or Options.atomicity
    began_s = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {line}", flush=True)  # noqa: T201

    say(f"seed {seed}: play the same again with {SEED}={seed} {STEPS}={steps} make differential")
    folder = Path(tempfile.mkdtemp(prefix="tillstream-differential-"))
    stack = LocalStack.open(folder)
    try:
        outcome = play(Options(seed, steps, without=without, atomicity=atomicity), stack, say)
        verdict, code = outcome.verdict(), int(outcome.difference is not None)
    except Exception as error:  # noqa: BLE001  # the last line tells the seed, whatever went wrong
        say(traceback.format_exc())
        verdict, code = f"{type(error).__name__}: {error}, seed {seed}", 1
    try:
        stack.down(wipe=True)
        shutil.rmtree(folder)
    finally:
        print(verdict, flush=True)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
