"""Stand for a forked process where it is waited for: hand on signals, end with its exit code.

Flink starts, ends and waits for this one; it runs for as long as the job, so it is started without `site` and
imports what is built in (`python -I -S waiter.py NAME ARGUMENTS`). Standard input is the connection to the
nursery, whose packets are: arguments and open files to it, signal numbers to it, the exit code from it. The
other process reads this one's environment for its own.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` is made of, without its enums
import _socket
import posix
import sys

__all__ = ["main"]

# sysexits.h, EX_SOFTWARE: whoever forked has ended, or refused.
_ENDED = 70
_FORWARDED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP)


def _forward(number: int, frame: object) -> None:  # noqa: ARG001
    posix.write(0, b"%d" % number)


def main(arguments: list[str]) -> int:
    """Ask for a process, and return its exit code when it has ended."""
    for number in _FORWARDED:
        _signal.signal(number, _forward)
    descriptors = b"".join(number.to_bytes(4, sys.byteorder) for number in (1, 2))
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)]
    # Held, since it closes standard input when it is gone.
    connection = _socket.socket(fileno=0)
    try:
        connection.sendmsg(["\0".join(arguments).encode()], rights)
        code = connection.recv(16)
    except OSError:
        code = b""
    if code:
        return int(code)
    name = connection.getpeername().rpartition("/")[2]
    posix.write(2, f"the nursery of this TaskManager has ended, or refused: see {name}.log\n".encode())
    return _ENDED


if __name__ == "__main__":
    posix._exit(main(sys.argv[2:]))  # noqa: SLF001  (nothing to clean up)
