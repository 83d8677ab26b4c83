"""Let the author of a transform say its name, version, contracts, and what it needs beside the event.

A transform is a `beam.DoFn` whose `process` takes a ChangeEvent and yields mutations:

    @transform("acme.big_orders@1.0.0", input=Order, output=BigOrder)
    class BigOrders(beam.DoFn):
        def process(self, event, seen=KeyedState()):
            ...

What a transform is called lies on its class, and nowhere else: importing a module registers nothing.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.transforms.core import _DoFnParam as _BeamParameter
from pydantic import BaseModel

from tillstream.configs import forms
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.aggregates.aggregate import Aggregate

__all__ = ["KeyedState", "Lookup", "Parameters", "TransformInfo", "info_of", "parameters_of", "transform"]

_ATTRIBUTE = "__tillstream_transform__"
_LIFECYCLE = ("start_bundle", "finish_bundle")
_Class = TypeVar("_Class", bound="type[Any]")


@dataclass(frozen=True)
class TransformInfo:
    """Hold what a transform says of itself.

    Attributes:
        name: with its version, `client.transform@1.2.3`.
        input: contract of the rows that it takes; None takes them as they come, undecoded values and all.
        outputs: contracts of the rows that it makes, by entity; None stands for the entity whose config names
            the transform.
    """

    name: str
    input: type[BaseModel] | None = None
    outputs: Mapping[str | None, type[BaseModel]] = field(default_factory=dict)

    @property
    def client(self) -> str:
        """Return the client that it belongs to."""
        return self.name.split(".", 1)[0]

    @property
    def unversioned(self) -> str:
        """Return the name without its version; keyed state goes from version to version under it."""
        return self.name.split("@", 1)[0]

    @property
    def version(self) -> tuple[int, ...]:
        """Return the version's numbers, in PEP 440's order."""
        return tuple(map(int, self.name.split("@", 1)[1].split(".")))


def transform(
    name: str,
    *,
    input: type[BaseModel] | None = None,  # noqa: A002  (what authors look for)
    output: type[BaseModel] | None = None,
    outputs: Mapping[str, type[BaseModel]] | None = None,
) -> Callable[[_Class], _Class]:
    """Return a decorator that gives a DoFn, or an Aggregate, its name, version and contracts.

    Args:
        name: `client.transform@1.2.3`, where the version is a final release by PEP 440 of three numbers.
        input: model of the rows that it takes; they are checked against it and come with its types.
        output: model of the rows that it makes for its own entity.
        outputs: models of the rows that it makes for other entities, by their names in the config.

    Raises:
        TransformError: if the name has another form, or what is decorated is neither a DoFn nor an Aggregate,
            or has a name already.
    """
    if not re.fullmatch(forms.TRANSFORM, name):
        raise TransformError(f"transform {name!r}: expected {forms.WORDS[forms.TRANSFORM]}")
    made: dict[str | None, type[BaseModel]] = {} if output is None else {None: output}
    made.update(outputs or {})

    def mark(cls: _Class) -> _Class:
        if not isinstance(cls, type) or not issubclass(cls, beam.DoFn | Aggregate):
            raise TransformError(
                f"transform {name!r}: found {cls!r}, expected a class of beam.DoFn or Aggregate"
            )
        known = info_of(cls)
        if known is not None:
            raise TransformError(f"transform {name!r}: {cls.__qualname__} is {known.name!r} already")
        setattr(cls, _ATTRIBUTE, TransformInfo(name, input, made))
        return cls

    return mark


def info_of(cls: type[Any]) -> TransformInfo | None:
    """Return what a class says of itself; None where it is no transform. A subclass is none by itself."""
    found: TransformInfo | None = cls.__dict__.get(_ATTRIBUTE)
    return found


@dataclass(frozen=True)
class Lookup:
    """Ask, as a default of a parameter of `process`, for the row of another entity.

    The parameter gets that entity's row as a dict, or None where there is none. When the row changes later,
    or comes only after the event did, `process` is called again with the same event, so that what was made of
    it is made anew.

    Args:
        entity: name of the other entity in the client's config.
        on: column of the event's row that holds the other entity's key; several for a key of several columns.
        horizon_s: how long after its last change an event is made anew, seconds of event time; None for ever.
            The longest of a transform's lookups holds.
    """

    entity: str
    on: str | tuple[str, ...]
    horizon_s: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be looked up.

        Raises:
            TransformError: without a column, or with a horizon that has passed already.
        """
        if not self.columns:
            raise TransformError(f"lookup of {self.entity!r}: found no column, expected on=... to name one")
        if self.horizon_s is not None and self.horizon_s <= 0:
            raise TransformError(
                f"lookup of {self.entity!r}: found horizon_s {self.horizon_s}, expected more than 0 or None"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns of the event's row that hold the key."""
        return (self.on,) if isinstance(self.on, str) else self.on


@dataclass(frozen=True)
class KeyedState:
    """Ask, as a default of a parameter of `process`, for state of the event's key.

    The parameter gets a `StateCell`, which lies in the job's checkpoints with the read offsets. It is kept
    under the transform's name without its version, so that a new version goes on with it.

    Args:
        name: of the cell, where a transform has several.
        horizon_s: how long a cell lives without being set again, seconds of event time; None for ever.
    """

    name: str = "state"
    horizon_s: int | None = None


@dataclass(frozen=True)
class Parameters:
    """Hold what `process` takes beside the event, by the names of its parameters.

    Attributes:
        lookups: rows of other entities.
        states: cells of state.
        beam: names of parameters that Beam itself must give, such as its state and timers: the slow path.
    """

    lookups: Mapping[str, Lookup]
    states: Mapping[str, KeyedState]
    beam: tuple[str, ...] = ()


def parameters_of(name: str, dofn: type[beam.DoFn]) -> Parameters:
    """Return what a DoFn's `process` asks for.

    Args:
        name: of the transform, for messages.
        dofn: the class.

    Raises:
        TransformError: if `process` takes no event or something that nobody gives, or if a bundle's start or
            end yields, because what it yields would belong to no change.
    """
    parameters = list(inspect.signature(dofn.process).parameters.values())[1:]
    if not parameters:
        raise TransformError(f"transform {name!r}: process takes nothing, expected the change event")
    lookups: dict[str, Lookup] = {}
    states: dict[str, KeyedState] = {}
    of_beam: list[str] = []
    for parameter in parameters[1:]:
        default = parameter.default
        if isinstance(default, Lookup):
            lookups[parameter.name] = default
        elif isinstance(default, KeyedState):
            states[parameter.name] = default
        elif isinstance(default, _BeamParameter):
            of_beam.append(parameter.name)
        else:
            raise TransformError(
                f"transform {name!r}: process takes {parameter.name}, expected the change event, and "
                "parameters whose default is Lookup(), KeyedState() or one of Beam's"
            )
    if of_beam and (lookups or states):
        raise TransformError(
            f"transform {name!r}: process takes {', '.join(of_beam)} of Beam's and "
            f"{', '.join([*lookups, *states])} of tillstream's, expected the one or the other"
        )
    for method in _LIFECYCLE:
        if not of_beam and inspect.isgeneratorfunction(getattr(dofn, method)):
            raise TransformError(f"transform {name!r}: {method} yields, expected process alone to do so")
    return Parameters(lookups, states, tuple(of_beam))
