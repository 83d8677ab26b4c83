"""Stand in for clocks: what reads the time of day, or of the machine, reads another."""

from __future__ import annotations

import datetime as dt
import time
import types
from collections.abc import Callable
from typing import Any

__all__ = ["Clock"]

_READERS = (
    "clock_gettime",
    "clock_gettime_ns",
    "monotonic",
    "monotonic_ns",
    "perf_counter",
    "perf_counter_ns",
    "time",
    "time_ns",
)


class Clock:
    """Give modules, functions and classes that read the clock of the day a stand-in.

    Args:
        shift_s: by how much it goes wrong, seconds.
    """

    def __init__(self, shift_s: Callable[[], int]) -> None:
        functions = _shifted_functions(shift_s)
        datetime = _shifted_class(dt.datetime, ("now", "utcnow", "today"), shift_s)
        date = _shifted_class(dt.date, ("today",), shift_s)
        self._functions = {getattr(time, name): function for name, function in functions.items()}
        self._classes: dict[type[Any], type[Any]] = {dt.datetime: datetime, dt.date: date}
        self._modules = {
            time: _StandIn(time, functions),
            dt: _StandIn(dt, {"datetime": datetime, "date": date}),
        }

    def replacement(self, value: Any) -> Any:
        """Return the stand-in of a value, None where it needs none."""
        if isinstance(value, types.ModuleType):
            return self._modules.get(value)
        if isinstance(value, type):
            return self._classes.get(value)
        return self._functions.get(value) if isinstance(value, types.BuiltinFunctionType) else None


def _shifted_functions(shift_s: Callable[[], int]) -> dict[str, Any]:
    """Return what reads the clock in the module `time`, by name."""

    def now() -> float:
        return time.time() + shift_s()

    def plain(name: str) -> Any:
        unit = 1_000_000_000 if name.endswith("_ns") else 1
        return lambda *clock: getattr(time, name)(*clock) + shift_s() * unit

    def taken(name: str) -> Any:
        return lambda seconds=None: getattr(time, name)(now() if seconds is None else seconds)

    def asctime(moment: Any = None) -> str:
        return time.asctime(time.localtime(now()) if moment is None else moment)

    def strftime(form: str, moment: Any = None) -> str:
        return time.strftime(form, time.localtime(now()) if moment is None else moment)

    return {
        **{name: plain(name) for name in _READERS if hasattr(time, name)},
        **{name: taken(name) for name in ("ctime", "gmtime", "localtime")},
        "asctime": asctime,
        "strftime": strftime,
    }


class _StandIn:
    """Offer what a module does, some of it replaced."""

    def __init__(self, module: types.ModuleType, replaced: dict[str, Any]) -> None:
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def _shifted_class(real: type[Any], readers: tuple[str, ...], shift_s: Callable[[], int]) -> type[Any]:
    """Return a class that makes instances of the real one, and whose clock is shifted."""

    class Meta(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real)

    def make(_: type[Any], *args: Any, **kwargs: Any) -> Any:
        return real(*args, **kwargs)

    def reader(name: str) -> Any:
        def read(*args: Any, **kwargs: Any) -> Any:
            return getattr(real, name)(*args, **kwargs) + dt.timedelta(seconds=shift_s())

        return staticmethod(read)

    body: dict[str, Any] = {"__new__": make, **{name: reader(name) for name in readers}}
    return Meta(real.__name__, (real,), body)
