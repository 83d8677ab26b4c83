"""Let one process at a time do something."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.pipelines.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["exclusive"]

_POLL_S = 0.1


@contextmanager
def exclusive(path: Path, *, deadline_s: float, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold a file's lock (flock(2)): the kernel frees it when its holder dies, however it dies.

    Args:
        path: lock file, created if need be and never removed.
        deadline_s: how long to wait for another holder, in seconds.
        on_wait: called once if the lock is taken.

    Raises:
        UnavailableError: if another process holds the lock for longer.
    """
    end_s = time.monotonic() + deadline_s
    told = False
    with path.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end_s:
                    raise UnavailableError(
                        f"{path} is locked by another process for more than {deadline_s:.0f} s: "
                        f"wait for the other tillstream command, or end it"
                    ) from None
            if not told:
                on_wait()
                told = True
            time.sleep(_POLL_S)
        yield
