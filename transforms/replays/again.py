"""Apply a flow to one change that comes again, by another version of its transform where one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import RecordError, TransformError
from tillstream.pipelines.isolation.guard import refusal_of
from tillstream.pipelines.records import ChangeBatch, DeadLetter
from tillstream.transforms.flow_runner import FlowRunner, letter_of
from tillstream.transforms.flows import Flow, flow_of, registry_of
from tillstream.transforms.keyed_state import StateEntry
from tillstream.transforms.packing import MutationPacker
from tillstream.transforms.routing import Launch, Message, Router
from tillstream.transforms.shard_state import Shard
from tillstream.transforms.stages import routers_of

__all__ = ["FlowsAgain"]


class FlowsAgain:
    """Know the runners of versions that are asked for, and the routers of single flows.

    What another version raises, outside of its `process` too, becomes the letter of the change that it was
    asked for: the replay would else be read again at each restart, and stop the job each time. So bundles
    are begun and ended for each change here, and a version that fails so is not kept. The rows of a change
    go out even where the end of its bundle fails.

    Args:
        config: the client's.
        runners: of the job's own versions, by target.
        packer: that runners append to.
        launch: what is known of this one.
        copy: passes the changes of a batch as they are.
    """

    def __init__(
        self,
        config: ClientConfig,
        runners: Mapping[str, FlowRunner],
        packer: MutationPacker,
        launch: Launch,
        copy: Callable[[ChangeBatch, Flow], list[DeadLetter]],
    ) -> None:
        self._config = config
        self._runners = runners
        self._chosen: dict[tuple[str, str], FlowRunner] = {}
        self._packer = packer
        self._launch = launch
        self._copy = copy
        self._routers: dict[str, Mapping[str, Sequence[Router]]] = {}

    def apply(
        self, flow: Flow, transform: str, batch: ChangeBatch, state: Shard[StateEntry] | None
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        """Apply a flow to the one change of a batch; return what goes to later stages, and dead letters.

        Args:
            flow: to apply.
            transform: name and version; empty for the flow's own.
            batch: of one change.
            state: the shard's state of clients' transforms; None where none of them asks for any.
        """
        if flow.kind == "record":
            if not transform or transform == flow.name:
                return (), self._runners[flow.target].run(batch, state)
            return (), self._run(flow, transform, batch, state)
        if transform:
            refused = RecordError(
                "unknown_transform",
                f"found {transform}, but entity {flow.target!r} is of kind {flow.kind}, expected none: "
                "pin the version in the config, and replay by the job's own",
            )
            return (), [letter_of(batch, batch.records[0], refused, flow)]
        if flow.kind == "copy":
            return (), self._copy(batch, flow)
        return self._route(flow, batch, state)

    def _route(
        self, flow: Flow, batch: ChangeBatch, state: Shard[StateEntry] | None
    ) -> tuple[Sequence[Message], Sequence[DeadLetter]]:
        assert state is not None  # kept for whoever has routers
        if flow.target not in self._routers:
            self._routers[flow.target] = routers_of(self._config, {flow.source: (flow,)}, self._launch)
        messages: list[Message] = []
        letters: list[DeadLetter] = []
        for router in self._routers[flow.target][batch.entity]:
            found, refused = router.route(batch, state)
            messages += found
            letters += refused
        return messages, letters

    def teardown(self) -> None:
        """Tear down the versions that were asked for, whatever they raise."""
        for runner in self._chosen.values():
            _tear_down(runner)
        self._chosen.clear()

    def _run(
        self, flow: Flow, transform: str, batch: ChangeBatch, state: Shard[StateEntry] | None
    ) -> Sequence[DeadLetter]:
        """Apply another version in a bundle of its own."""
        (record,) = batch.records
        try:
            found = self._flow(flow, transform, state)
        except RecordError as error:
            return [letter_of(batch, record, error, flow)]
        letters: list[DeadLetter] = []
        runner = self._chosen.pop((flow.target, transform), None)
        try:
            if runner is None:
                runner = FlowRunner(found, self._packer, self._config.limits, stops=False)
                runner.setup()
            runner.start_bundle()
            letters = runner.run(batch, state)
            runner.finish_bundle()
        except TransformError as error:
            if runner is not None:
                _tear_down(runner)
            refused, trace = refusal_of(error)
            return letters or [letter_of(batch, record, refused, found, trace)]
        self._chosen[flow.target, transform] = runner
        return letters

    def _flow(self, flow: Flow, transform: str, state: Shard[StateEntry] | None) -> Flow:
        """Return the flow by another version; raises RecordError where none may be had."""
        try:
            found = flow_of(flow.source, flow.target, transform, registry_of(self._config))
        except TransformError as error:
            raise RecordError("unknown_transform", str(error)) from error
        chosen = replace(found, evolution=flow.evolution)
        assert flow.info is not None  # it has a runner
        assert chosen.info is not None  # it has a name
        if chosen.info.unversioned != flow.info.unversioned or chosen.kind != flow.kind:
            raise RecordError(
                "unknown_transform", f"found {transform}, expected a like version of {flow.info.unversioned}"
            )
        if chosen.parameters.states and state is None:
            raise RecordError(
                "unknown_transform", f"found {transform}, which keeps state, expected one that keeps none"
            )
        return chosen


def _tear_down(runner: FlowRunner) -> None:
    with suppress(TransformError):
        runner.teardown()
