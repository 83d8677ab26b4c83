"""Change what flows: contracts, the transform registry, clients' DoFns.

What the author of a transform needs is offered here:

    from tillstream.transforms import ChangeEvent, KeyedState, Lookup, field, transform
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tillstream.pipelines.records import ChangeEvent, Mutation, Operation
    from tillstream.transforms.aggregates.aggregate import (
        Aggregate,
        Combine,
        Contribution,
        Count,
        Max,
        Min,
        Sum,
        TopN,
        Window,
    )
    from tillstream.transforms.api import KeyedState, Lookup, transform
    from tillstream.transforms.contracts.models import field
    from tillstream.transforms.contracts.schemas import model_from_avro, model_from_json_schema
    from tillstream.transforms.keyed_state import StateCell

__all__ = [
    "Aggregate",
    "ChangeEvent",
    "Combine",
    "Contribution",
    "Count",
    "KeyedState",
    "Lookup",
    "Max",
    "Min",
    "Mutation",
    "Operation",
    "StateCell",
    "Sum",
    "TopN",
    "Window",
    "field",
    "model_from_avro",
    "model_from_json_schema",
    "transform",
]

_AGGREGATE = ("Aggregate", "Combine", "Contribution", "Count", "Max", "Min", "Sum", "TopN", "Window")
_HOMES = {
    **dict.fromkeys(("ChangeEvent", "Mutation", "Operation"), "tillstream.pipelines.records"),
    **dict.fromkeys(_AGGREGATE, "tillstream.transforms.aggregates.aggregate"),
    **dict.fromkeys(("KeyedState", "Lookup", "transform"), "tillstream.transforms.api"),
    "StateCell": "tillstream.transforms.keyed_state",
    "field": "tillstream.transforms.contracts.models",
    **dict.fromkeys(("model_from_avro", "model_from_json_schema"), "tillstream.transforms.contracts.schemas"),
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: these bring Beam, and the command line must answer before that has loaded.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
