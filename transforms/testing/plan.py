"""Take the stages between reading and writing out of the template's own pipeline, to run them here."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
from apache_beam.internal import pickler
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor
from apache_beam.transforms.core import _DoFnParam as _BeamParameter

from tillstream.pipelines.blueprint import blueprint
from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.template import add_transforms
from tillstream.transforms.flows import using
from tillstream.transforms.routing import Launch
from tillstream.transforms.testing.subjects import Subject

__all__ = ["LETTERS", "MUTATIONS", "Node", "Plan"]

# Where what no further stage takes comes out.
MUTATIONS, LETTERS = -1, -2
# As a job that writes exactly once has it.
_GENERATION = 1
_KEYED = beam.typehints.Tuple[bytes, bytes]


@dataclass
class Node:
    """Hold one stage.

    Attributes:
        label: in the pipeline.
        dofn: as Beam sends it to its workers.
        states: specs of its state, by the parameter of `process`.
        outputs: where the elements of each tag go, the main ones under None: numbers of nodes, or the above.
    """

    label: str
    dofn: beam.DoFn
    states: Mapping[str, Any]
    outputs: dict[str | None, list[int]] = field(default_factory=dict)

    def instance(self) -> beam.DoFn:
        """Return a new instance, as a worker has it before `setup`."""
        # Stages of our own keep nothing in what they are made with; of others nobody knows.
        own = type(self.dofn).__module__.startswith("tillstream.") and "<" not in type(self.dofn).__qualname__
        return copy.copy(self.dofn) if own else pickler.loads(pickler.dumps(self.dofn))


class Plan:
    """List a client's stages in order, with what connects them.

    Args:
        subject: whose stages.

    Attributes:
        nodes: the stages; the first takes the change batches.

    Raises:
        TransformError: if a stage is none that can be run here, or cannot be sent to a worker.
    """

    def __init__(self, subject: Subject) -> None:
        self.nodes: list[Node] = []
        with using(subject.registry):
            pipeline = blueprint("DirectRunner")
            changes = pipeline | "Changes" >> beam.Impulse()
            changes.element_type = _KEYED
            batches, letters = add_transforms(changes, subject.config, Launch(_GENERATION, bounded=False))
            found = _Leaves()
            pipeline.visit(found)
            self._link(found.leaves, batches, letters)

    def _link(self, leaves: list[AppliedPTransform], batches: Iterable[Any], letters: Iterable[Any]) -> None:
        targets: dict[int, list[int]] = {}
        for place, pcollections in ((MUTATIONS, batches), (LETTERS, letters)):
            for each in pcollections:
                targets.setdefault(id(each), []).append(place)
        # Backwards: a Flatten is no stage, so what it takes goes where its output does.
        numbers = {id(leaf): i for i, leaf in enumerate([each for each in leaves if _is_stage(each)])}
        nodes: list[Node] = []
        for leaf in reversed(leaves):
            if _is_stage(leaf):
                node = _node(leaf)
                node.outputs = {tag: targets.get(id(out), []) for tag, out in leaf.outputs.items()}
                nodes.append(node)
                takers = [numbers[id(leaf)]]
            else:
                (output,) = leaf.outputs.values()
                takers = targets.get(id(output), [])
            for each in leaf.inputs:
                targets.setdefault(id(each), []).extend(takers)
        self.nodes = nodes[::-1]


class _Leaves(PipelineVisitor):
    """List the primitive transforms, producers first."""

    def __init__(self) -> None:
        self.leaves: list[AppliedPTransform] = []

    def visit_transform(self, transform_node: AppliedPTransform) -> None:
        transform = transform_node.transform
        if isinstance(transform, beam.Impulse):
            return
        if not isinstance(transform, beam.ParDo | beam.Flatten):
            raise TransformError(
                f"stage {transform_node.full_label!r} is a {type(transform).__name__}, expected ParDos "
                "alone: test it with run_client"
            )
        self.leaves.append(transform_node)


def _is_stage(leaf: AppliedPTransform) -> bool:
    return isinstance(leaf.transform, beam.ParDo)


def _node(leaf: AppliedPTransform) -> Node:
    dofn = leaf.transform.fn
    states = {}
    for name, parameter in inspect.signature(dofn.process).parameters.items():
        default = parameter.default
        if isinstance(default, beam.DoFn.StateParam):
            states[name] = default.state_spec
        elif isinstance(default, _BeamParameter):
            raise TransformError(
                f"stage {leaf.full_label!r} takes {name} = {default}, expected Beam's state at most: "
                "test it with run_client"
            )
    try:
        return Node(leaf.full_label, pickler.loads(pickler.dumps(dofn)), states)
    except Exception as error:
        raise TransformError(
            f"stage {leaf.full_label!r} cannot be sent to a worker: {type(error).__name__}: {error}"
        ) from error
