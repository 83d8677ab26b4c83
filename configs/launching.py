"""Leave open in a job what is known only when it is launched, and fill it in where the job runs.

A built job holds pickled stages. What differs from launch to launch (addresses, generation, parallelism)
comes to their processes in one environment variable, and is put in its place as they are unpickled: a
`ClientConfig` takes its overrides, an `AtLaunch` becomes its number.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from typing_extensions import Self

__all__ = [
    "LAUNCH_VARIABLE",
    "AtLaunch",
    "CanaryLaunch",
    "LaunchParameters",
    "current_launch",
    "differences",
    "new_generation",
    "overridden",
]

LAUNCH_VARIABLE = "TILLSTREAM_LAUNCH"
_VERSION = 1


class CanaryLaunch(msgspec.Struct, frozen=True):
    """Hold what makes a launch a shadow: it reads up to given offsets, and touches no sink of the client's.

    Attributes:
        side: which of those that are compared it is: old or new.
        folder: that takes what it would write, in place of all sinks.
        until: of each topic, by partition from 0 on, the offset behind the last that is read.
    """

    side: Literal["old", "new"]
    folder: str
    until: dict[str, tuple[int, ...]]


class LaunchParameters(msgspec.Struct, frozen=True):
    """Hold what a launch fixes; no secret is in it.

    Attributes:
        generation: of the launch, milliseconds since 1970 UTC.
        parallelism: subtasks of each stage.
        overrides: values of the config that differ from those it was built with, by JSON pointer (RFC 6901).
        version: of this form; a field may be appended without raising it.
        canary: what makes it a shadow of the client's job; None for that itself.
        undoes: the first generation of those that a roll-back takes back; 0 for none.
    """

    generation: int
    parallelism: int
    overrides: dict[str, Any] = {}
    version: int = _VERSION
    canary: CanaryLaunch | None = None
    undoes: int = 0

    def job_name(self, client: str) -> str:
        """Return the name that the job of this launch has on its cluster; no client's name has a dash."""
        return client if self.canary is None else f"{client}-canary-{self.canary.side}"

    def encode(self) -> str:
        """Return the form in which it travels."""
        return msgspec.json.encode(self, order="deterministic").decode()

    @classmethod
    def decode(cls, text: str) -> LaunchParameters:
        """Read what `encode` wrote.

        Raises:
            ValueError: if it is none, or of another version.
        """
        found = msgspec.json.decode(text, type=cls)
        if found.version != _VERSION:
            raise ValueError(f"launch parameters: found version {found.version}, expected {_VERSION}")
        return found


def new_generation(after: int = 0) -> int:
    """Return the generation of a launch that happens now: the time, and more than that of an earlier one.

    Args:
        after: generation of the earlier launch.
    """
    return max(time.time_ns() // 1_000_000, after + 1)


def current_launch() -> LaunchParameters | None:
    """Return the parameters of the launch that this process runs; None outside of a launched job."""
    text = os.environ.get(LAUNCH_VARIABLE)
    return _decoded(text) if text else None


@functools.lru_cache(maxsize=1)
def _decoded(text: str) -> LaunchParameters:
    return LaunchParameters.decode(text)


class AtLaunch(int):
    """Stand for a number that a launch fixes: unpickled where the job runs, it is that number.

    Args:
        name: the attribute of `LaunchParameters`.
    """

    name: str

    def __new__(cls, name: str) -> Self:
        """Make the stand-in: until it is filled in, a zero."""
        found = super().__new__(cls, 0)
        found.name = name
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        return _number, (self.name,)


def _number(name: str) -> int:
    launch = current_launch()
    # Beam copies stages by pickling them already where a job is built.
    return AtLaunch(name) if launch is None else int(getattr(launch, name))


def differences(built: Any, launched: Any, pointer: str = "") -> dict[str, Any]:
    """Return what must be put where in one JSON value to make it another, by JSON pointer.

    Args:
        built: what there is.
        launched: what is wanted.
        pointer: where both lie.
    """
    if isinstance(built, dict) and isinstance(launched, dict) and built.keys() == launched.keys():
        found: dict[str, Any] = {}
        for name, value in built.items():
            step = str(name).replace("~", "~0").replace("/", "~1")
            found |= differences(value, launched[name], f"{pointer}/{step}")
        return found
    return {} if built == launched else {pointer: launched}


def overridden(value: Any, overrides: Mapping[str, Any]) -> Any:
    """Return a JSON value with others put in their places, as `differences` found them.

    Raises:
        LookupError: if it has no such place.
    """
    for pointer, wanted in overrides.items():
        steps = [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]
        value = _put(value, steps, wanted)
    return value


def _put(value: Any, steps: list[str], wanted: Any) -> Any:
    if not steps:
        return wanted
    return {**value, steps[0]: _put(value[steps[0]], steps[1:], wanted)}
