"""Tell which stage writes which entity: each numbers its own batches, so an entity has but one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import TransformError
from tillstream.transforms.flows import Flow, Kind

__all__ = ["keys_of"]

_FIRST = "copy"


def keys_of(
    config: ClientConfig, flows: Mapping[str, Sequence[Flow]], kind: Kind, target: str | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the names of the key columns of the entities that a stage may write.

    A later stage may write the entities that its flows make, and those that their transforms name as outputs;
    TransformChanges may write all others.

    Args:
        config: the client's.
        flows: of each entity.
        kind: of the flows that the stage takes; copy and record for TransformChanges.
        target: of the one flow that it takes, where each flow of the kind has a stage of its own.

    Raises:
        TransformError: if two stages would write one entity.
    """
    writers: dict[str, tuple[str, str]] = {}
    for flow in [flow for each in flows.values() for flow in each]:
        stage = _stage(flow.kind, flow.target)
        outputs = () if flow.info is None else flow.info.outputs
        for name in dict.fromkeys([flow.target, *(each for each in outputs if each is not None)]):
            other = writers.setdefault(name, (stage, flow.target))
            if other[0] != stage:
                raise TransformError(
                    f"entity {name!r} is written by what makes {other[1]!r}, and by transform {flow.name!r} "
                    f"of {flow.target!r}, which run in stages of their own: "
                    "expected one of them to write it; give the other an entity of its own"
                )
    wanted = _stage(kind, target or "")
    return {
        name: tuple(entity.key)
        for name, entity in config.entities.items()
        if writers.get(name, (_FIRST, ""))[0] == wanted
    }


def _stage(kind: Kind, target: str) -> str:
    if kind in ("copy", "record"):
        return _FIRST
    return f"{kind} {target}" if kind == "beam" else kind
