"""Hold the state of stages in memory, each cell as Beam offers it, with snapshots."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from apache_beam.transforms import userstate

from tillstream.pipelines.errors import TransformError
from tillstream.transforms.fake_state import FakeBag, FakeCell

__all__ = ["Cells"]


class _Cell(FakeCell):
    def clear(self) -> None:
        self.value = None


class _Set(FakeBag):
    def add(self, value: Any) -> None:
        if value not in self.values:
            self.values.append(value)


class _Combining:
    def __init__(self, combine: Any) -> None:
        self._combine = combine
        self.values: list[Any] = []

    def add(self, value: Any) -> None:
        self.values.append(value)

    def read(self) -> Any:
        return self._combine.apply(self.values)

    def clear(self) -> None:
        self.values = []


class Cells:
    """Hold the state of one key of one stage.

    Args:
        specs: what the stage declares, by the parameter that gets it.
    """

    def __init__(self, specs: Mapping[str, Any]) -> None:
        self.arguments = {parameter: _made(spec) for parameter, spec in specs.items()}

    def snapshot(self) -> list[Any]:
        """Return what a checkpoint would hold."""
        return [
            _kept(cell.value) if isinstance(cell, FakeCell) else [_kept(each) for each in cell.values]
            for cell in self.arguments.values()
        ]

    def restore(self, kept: list[Any]) -> None:
        """Go back to what a checkpoint held."""
        for cell, value in zip(self.arguments.values(), kept, strict=True):
            if isinstance(cell, FakeCell):
                cell.value = _kept(value)
            else:
                cell.values = [_kept(each) for each in value]


def _kept(value: Any) -> Any:
    # Frames are bytes, which nothing can change; a DoFn with Beam's own state may keep what it likes.
    return value if value is None or type(value) is bytes else copy.deepcopy(value)


def _made(spec: Any) -> Any:
    if isinstance(spec, userstate.ReadModifyWriteStateSpec):
        return _Cell()
    if isinstance(spec, userstate.BagStateSpec):
        return FakeBag()
    if isinstance(spec, userstate.SetStateSpec):
        return _Set()
    if isinstance(spec, userstate.CombiningValueStateSpec):
        return _Combining(spec.combine_fn)
    raise TransformError(f"state {spec.name!r} is a {type(spec).__name__}, which tests do not simulate")
