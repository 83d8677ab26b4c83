"""Say in one sentence why a job failed, out of what Flink keeps of it: Java's stack around Python's."""

from __future__ import annotations

import re

__all__ = ["cause_of"]

_LENGTH_MAX = 500
# The text of ours may have several lines; what follows it is Beam's note, or another part of the trace.
_OURS = re.compile(
    r"^(?:[\w.: ]*: )?tillstream\.[\w.]*\.(\w+Error): (.*?)"
    r"(?= \[while running|\n\s*at |\n\n|\n[A-Z]\w+ |\nTraceback|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = re.compile(r"^((?:[\w]+\.)*\w+(?:Error|Exception|Interrupt|Exit)): (.*)$", re.MULTILINE)
_CAUSE = re.compile(r"^Caused by: (.*)$", re.MULTILINE)
# Java's words for what an operator knows by other names (Flink 1.19, `NoResourceAvailableException`; gRPC,
# `ServerCallImpl`, when the far end of a stream has gone).
_KNOWN = {
    "Could not acquire the minimum required resources": (
        "Flink has too few free slots: a TaskManager is gone, or has not come up yet"
    ),
    "call already cancelled": "a Python process of the job has ended",
}
_TRACEBACK = "Traceback (most recent call last)"


def cause_of(trace: str) -> str:
    """Return what went wrong: tillstream's own words where it raised, else the innermost cause.

    Args:
        trace: as `FlinkRest.root_cause` returns it.
    """
    ours = _OURS.search(trace)
    if ours is not None:
        return _sentence(ours[2])
    _, marker, python = trace.partition(_TRACEBACK)
    found = _PYTHON.search(python) if marker else None
    if found is not None:
        return _sentence(f"{found[1].rpartition('.')[2]}: {found[2].partition(' [while running')[0]}")
    causes = _CAUSE.findall(trace)
    first = trace.strip().splitlines()[0] if trace.strip() else ""
    innermost = causes[-1] if causes else first
    known = next((words for java, words in _KNOWN.items() if java in innermost), None)
    return known or _sentence(_without_class(innermost))


def _without_class(line: str) -> str:
    # java.lang.IllegalStateException: Process died with exit code 1
    return re.sub(r"^(?:[a-z]\w*\.)+\w+: ", "", line)


def _sentence(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LENGTH_MAX else f"{line[: _LENGTH_MAX - 3]}..."
