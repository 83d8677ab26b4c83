"""Do what the command `tillstream verify` says."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import UserError
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.faults import FAULTS
from tillstream.runners.verify.rig import SINKS, Rig
from tillstream.runners.verify.verify import VerifyOptions, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tillstream.runners.verify.report import Report

__all__ = ["choose", "run"]

_SEED_MAX = 2**31


def run(
    *,
    sinks: str,
    faults: str,
    rounds: int,
    seed: int | None,
    rate_per_s: float,
    flink: dict[str, Any],
    folder: Path | None,
    say: Callable[[str], None],
) -> tuple[Report, str]:
    """Verify, on a stack that is taken down afterwards.

    Args:
        sinks: kinds, with commas, or `all`.
        faults: kinds, with commas, or `all`.
        rounds: of faults.
        seed: of workload and faults; None for a random one.
        rate_per_s: row changes a second.
        flink: the job's `state_backend`, and whether it has `unaligned_checkpoints`.
        folder: of the stack; None for a new one.
        say: takes a line for each step.

    Returns:
        What was found, and the command that plays the same again.

    Raises:
        UserError: for an unknown sink or fault.
        TillstreamError: if the stack does not come up, or the job ends.
    """
    chosen, kinds = choose("--sink", sinks, SINKS), choose("--faults", faults, FAULTS)
    if "postgres" not in chosen and "warehouse" in kinds:
        if faults != "all":
            raise UserError("--faults: found 'warehouse', expected a sink that writes to it: --sink postgres")
        kinds.remove("warehouse")
    seed = random.SystemRandom().randrange(_SEED_MAX) if seed is None else seed
    replay = (
        f"tillstream verify --sink {','.join(chosen)} --faults {','.join(kinds)} --rounds {rounds} "
        f"--seed {seed} --rate {rate_per_s:g} --state-backend {flink['state_backend']}"
        f"{' --unaligned' if flink['unaligned_checkpoints'] else ''}"
    )
    began_s = time.monotonic()

    def tell(line: str) -> None:
        say(f"{time.monotonic() - began_s:6.1f} s  {line}")

    tell(f"seed {seed}")
    with _stack(folder) as stack:
        rig = Rig(stack, f"verify{seed}", chosen, **flink)
        options = VerifyOptions(kinds, rounds, seed, rate_per_s)
        try:
            report = verify(options, rig, tell)
        except BaseException:
            say(f"replay it with: {replay}")
            raise
    return report, replay


def choose(option: str, text: str, known: Collection[str]) -> list[str]:
    """Return the names of a list with commas; `all` stands for all.

    Raises:
        UserError: for a name that is not known.
    """
    names = list(known) if text == "all" else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            raise UserError(f"{option}: found {name!r}, expected all or some of {', '.join(known)}")
    return list(dict.fromkeys(names))


@contextmanager
def _stack(folder: Path | None) -> Iterator[LocalStack]:
    """Give a stack that nobody else uses, and take it down.

    Raises:
        UserError: if there is one in the folder already.
    """
    made = folder or Path(tempfile.mkdtemp(prefix="tillstream-verify-"))
    stack = LocalStack.open(made)
    if stack.layout.state_file.exists():
        raise UserError(f"--dir: found a stack in {made}, expected an empty or a new folder")
    try:
        yield stack
    finally:
        stack.down(wipe=True)
        if folder is None:
            shutil.rmtree(made)
