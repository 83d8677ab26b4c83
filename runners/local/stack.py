"""Start, look at and stop the local stack."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from tillstream.pipelines.errors import StackError, UserError
from tillstream.runners.local import process
from tillstream.runners.local.addresses import Addresses
from tillstream.runners.local.connect import Connect
from tillstream.runners.local.flink import JobManager, SpareTaskManager, TaskManager
from tillstream.runners.local.kafka import Kafka
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.locking import exclusive
from tillstream.runners.local.ports import choose_ports, is_free
from tillstream.runners.local.postgres import Source, Warehouse
from tillstream.runners.local.service import Context, Service
from tillstream.runners.local.sizes import Sizes
from tillstream.runners.local.starting import Starter
from tillstream.runners.local.state import State
from tillstream.runners.local.status import ServiceStatus, status_of
from tillstream.runners.local.toolchain import Jars, ensure_jars, ensure_java, jars_folder
from tillstream.runners.local.zookeeper import ZooKeeper

__all__ = ["SERVICES", "LocalStack"]

# In the order in which people read them.
_CLASSES: tuple[type[Service], ...] = (
    Source,
    Warehouse,
    Kafka,
    Connect,
    ZooKeeper,
    JobManager,
    TaskManager,
    SpareTaskManager,
)
# What a stack has unless it is told otherwise.
SERVICES = tuple(service.name for service in _CLASSES if not service.is_spare)
_ALL = tuple(service.name for service in _CLASSES)
_MARKER = "TILLSTREAM_STACK"
_LOCK_DEADLINE_S = 300.0
_STOP_GRACE_S = 15.0
_READY_DEADLINE_S = 120.0

Progress = Callable[[str], None]


def _silent(_: str) -> None:
    pass


class LocalStack:
    """Run the parts of one stack as processes of their own, which outlive the command that started them.

    Two commands on one stack wait for each other. A command that was killed leaves nothing that the
    next one does not find again.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._guard = threading.Lock()

    @classmethod
    def open(cls, folder: Path | str | None = None) -> LocalStack:
        """Return the stack in a folder, by default TILLSTREAM_DIR, else `.tillstream`, running or not."""
        return cls(Layout.of(folder))

    @property
    def addresses(self) -> Addresses:
        """Return where the parts are reached.

        Raises:
            StackError: if the stack was never started.
        """
        ports = State.load(self.layout).ports
        if not ports:
            raise StackError(f"found no stack in {self.layout.root}: start it with 'tillstream up'")
        return Addresses.of(self.layout, ports)

    def environment(self) -> dict[str, str]:
        """Return the variables that clients' configs refer to; none is a secret.

        Raises:
            StackError: if the stack was never started.
        """
        return self.addresses.environment(self.layout)

    def up(
        self,
        services: Iterable[str] | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        slots: int | None = None,
        progress: Progress = _silent,
    ) -> None:
        """Start what does not run, and wait until all of it serves.

        Args:
            services: names of the parts; by default all but the spare ones. What they need comes with them.
            ports: ports that a person asked for, by name; others stay as they were or are chosen.
            slots: how many subtasks of jobs run at once; as before, or `sizes.SLOTS`, unless it is given.
            progress: called with a line at each step, from several threads.

        Raises:
            MissingToolError: if the machine lacks something.
            StackError: if a part does not come up, with the end of its log.
            UserError: for an unknown part.
        """
        names = _with_needs(_known(SERVICES if services is None else services))
        self.layout.create()
        with self._locked(progress):
            state = State.load(self.layout)
            self._sweep(state)
            idle = [name for name in names if process.alive(state.processes.get(name)) is None]
            self._settle_slots(state, slots)
            self._settle_ports(state, ports or {}, names)
            context = self._context(state, progress, is_starting=bool(idle))
            Starter(
                services=_services(context, names),
                idle=frozenset(idle),
                marker={_MARKER: str(self.layout.root)},
                remember=lambda name, identity: self._remember(state, name, identity),
                progress=progress,
                deadline_s=_READY_DEADLINE_S,
            ).run()

    def down(self, *, wipe: bool = False, progress: Progress = _silent) -> None:
        """Stop every process of the stack, and nothing else.

        Args:
            wipe: remove data, passwords, logs, ports and the history of jobs too.
            progress: called with a line at each step.
        """
        if not self.layout.root.is_dir():
            return
        with self._locked(progress):
            state = State.load(self.layout)
            self._stop(state, _ALL)
            self._sweep(state)
            if wipe:
                # A history without its checkpoints would only be in the way.
                kept = (self.layout.data, self.layout.secrets, self.layout.logs, self.layout.history)
                for folder in kept:
                    shutil.rmtree(folder, ignore_errors=True)
                self.layout.state_file.unlink(missing_ok=True)
                progress(f"removed the data in {self.layout.root}")

    def ps(self) -> list[ServiceStatus]:
        """Return how each part is, as its clients would find it."""
        state = State.load(self.layout)
        if not state.ports:
            return [ServiceStatus.never_started(name) for name in SERVICES]
        # A stack of an earlier release has no port yet for a part that is new.
        state.ports = choose_ports({}, state.ports)
        names = [part.name for part in _CLASSES if not part.is_spare or part.name in state.processes]
        services = _services(self._context(state, _silent, is_starting=False), names)
        with ThreadPoolExecutor(max_workers=len(services)) as pool:
            return list(pool.map(lambda part: status_of(part, state.processes.get(part.name)), services))

    def restart(self, service: str, *, progress: Progress = _silent) -> None:
        """Stop a part in good order and start it again.

        Raises:
            StackError: if it does not come up again.
            UserError: for an unknown part.
        """
        names = _known([service])
        with self._locked(progress):
            self._stop(State.load(self.layout), names)
        self.up(names, progress=progress)

    def kill(self, service: str) -> None:
        """Kill a part and what it started, as a crash would; `up` starts it again.

        Raises:
            UserError: for an unknown part, or one that does not run.
        """
        (name,) = _known([service])
        running = process.alive(State.load(self.layout).processes.get(name))
        if running is None:
            raise UserError(f"{name} does not run in {self.layout.root}: see 'tillstream ps'")
        process.kill([running])

    def _locked(self, progress: Progress) -> AbstractContextManager[None]:
        return exclusive(
            self.layout.lock_file,
            deadline_s=_LOCK_DEADLINE_S,
            on_wait=lambda: progress("waiting for another tillstream command on this stack"),
        )

    def _context(self, state: State, progress: Progress, *, is_starting: bool) -> Context:
        """Return what services share; only starting them needs Java and its libraries."""
        java, jars = Path("java"), Jars(jars_folder())
        if is_starting:
            java, jars = ensure_java(), ensure_jars(progress)
        return Context(self.layout, state.ports, java, jars, Sizes(state.slots))

    def _settle_slots(self, state: State, wanted: int | None) -> None:
        if wanted is None or wanted == state.slots:
            return
        if any(process.alive(state.processes.get(part.name)) for part in _CLASSES):
            raise UserError(
                f"the stack runs with {state.slots} slots, expected {wanted}: run 'tillstream down' first"
            )
        state.slots = wanted

    def _settle_ports(self, state: State, configured: Mapping[str, int], starting: Collection[str]) -> None:
        running = {
            part.name for part in _CLASSES if process.alive(state.processes.get(part.name)) is not None
        }
        for part in _CLASSES:
            for name in part.listens:
                kept = state.ports.get(name)
                wanted = configured.get(name, kept)
                if part.name in running:
                    if wanted != kept:
                        raise UserError(
                            f"{part.name} listens on {kept} already, expected {wanted} for {name}: run "
                            f"'tillstream down' first"
                        )
                elif wanted is not None and not is_free(wanted):
                    if name in configured or (running and part.name in starting):
                        raise StackError(
                            f"port {wanted} of {name} is taken by another program: stop that, or run "
                            f"'tillstream down' and give another with --port {name}=PORT"
                        )
                    if not running:
                        del state.ports[name]  # nobody knows the old one any more, so another will do
        state.ports = choose_ports(configured, state.ports)
        state.environment = Addresses.of(self.layout, state.ports).environment(self.layout)
        state.save(self.layout)

    def _remember(self, state: State, name: str, identity: process.ProcessId) -> None:
        with self._guard:
            state.processes[name] = identity
            state.save(self.layout)

    def _stop(self, state: State, names: Iterable[str]) -> None:
        parts = [part for part in _CLASSES if part.name in names]
        for is_base in (False, True):
            running = [
                (found, part.stop_signal)
                for part in parts
                if part.is_base is is_base
                and (found := process.alive(state.processes.get(part.name))) is not None
            ]
            process.stop(running, _STOP_GRACE_S)
        for part in parts:
            state.processes.pop(part.name, None)
        if state.ports:
            state.save(self.layout)

    def _sweep(self, state: State) -> None:
        """Kill what belongs to this stack but to none of its known parts.

        A command that was killed may have started it and not written that down, or a part that was
        killed has left it behind.
        """
        kept: set[int] = set()
        for identity in state.processes.values():
            if (found := process.alive(identity)) is not None:
                kept |= {found.pid, *(child.pid for child in _children(found))}
        process.kill(
            found for found in process.marked(_MARKER, str(self.layout.root)) if found.pid not in kept
        )


def _children(parent: psutil.Process) -> list[psutil.Process]:
    try:
        return list(parent.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _services(context: Context, names: Iterable[str]) -> list[Service]:
    return [part(context) for part in _CLASSES if part.name in set(names)]


def _known(names: Iterable[str]) -> list[str]:
    chosen = list(names)
    for name in chosen:
        if name not in _ALL:
            raise UserError(f"found {name!r}, expected a part of the stack: {', '.join(_ALL)}")
    return chosen


def _with_needs(names: Collection[str]) -> list[str]:
    needed = {need for part in _CLASSES if part.name in names for need in part.needs}
    return [part.name for part in _CLASSES if part.name in {*names, *needed}]
