"""Write every change into objects of Google Cloud Storage, one prefix an entity."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from tillstream.configs import GcsSink as GcsSinkModel
from tillstream.io.sinks.commit_log import Store, decode_commit, entry_name, number_of
from tillstream.io.sinks.gcs_objects import Objects
from tillstream.io.sinks.part_sink import PartSink
from tillstream.pipelines.errors import SinkError

__all__ = ["GcsSink", "GcsStore", "committed_objects"]

# Names that are listed at once; the service gives a thousand, and checkpoints are among them.
_PAGE = 900


class GcsSink(PartSink):
    """Write one object an entity and `write`, `<prefix>/<entity>/part-<token>.<format>`.

    The objects are a log of all changes in order of each key, not a table: nothing is collapsed. What is
    delivered, and in which order, stands in the entries `<prefix>/<entity>/_log/<number>.json`; readers take
    `committed_objects`. An object that no entry lists is what a crashed writer left, and must be passed over.
    Dead letters go to `<prefix>/_dead_letters/`.

    Delivery guarantees:
        With a writer, exactly-once for readers of the log: an entry lists an object and the ledger that it
        moves, and is created once, with `ifGenerationMatch=0` (`tillstream.io.sinks.commit_log`). A repeated
        batch is skipped, two writers never both list it, a missing one stops the job, and a new generation
        that reads older changes again leaves out what is there. Without a writer, at-least-once: objects are
        named by their content, so writing the same batches again gives the same object; a restart that cuts
        bundles otherwise writes some changes again in others, and (`_topic`, `_partition`, `_offset`,
        `_index`) tells changes apart.
        Broken by who removes or rewrites what lies in `_log/`, a lifecycle rule among them; a bucket's
        retention policy forbids that. Needs the rights to create, get and list objects, not to delete.
        Keeps in memory one ledger entry an entity and shard; the log grows by one small object a `write`
        and entity, and is never shortened. A start finds its end by bisection, in some twenty requests for a
        million entries, and reads at most some twenty of them. Entries of one entity are made one after the
        other, so many writers of one entity get no faster than the service's answers.

    Args:
        name: the sink's name in the client's config.
        client: whose rows it writes.
        model: the sink's part of the client's config.
        entities: those whose rows it takes, by name.
        writer: who writes; None for at-least-once.
    """

    model: GcsSinkModel
    _objects: Objects | None = None

    def close(self) -> None:
        """Close the connections."""
        super().close()
        objects, self._objects = self._objects, None
        if objects is not None:
            objects.close()

    def _reach(self) -> None:
        if self._objects is None:
            self._objects = Objects(self.name, self.client, self.model)
        self._objects.names(self._place(""), most=1)

    def _store(self, entity: str, suffix: str) -> Store:
        return GcsStore(self._reached, self._place(entity), suffix)

    def _keep(self, folder: str, name: str, content: bytes) -> None:
        self._reached.create(f"{self._place(folder)}/{name}", content)

    def _insist(self, work: Callable[[], None]) -> None:
        # Each call is tried again by itself.
        work()

    def _place(self, folder: str) -> str:
        return f"{self.model.prefix or self.client}/{folder}"

    @property
    def _reached(self) -> Objects:
        if self._objects is None:
            raise SinkError(f"sink {self.name}: found it closed, expected open() before write()")
        return self._objects


class GcsStore:
    """Be the `Store` of one entity's prefix: objects cannot be moved, so the log alone says what counts.

    Args:
        objects: of the bucket.
        folder: the entity's prefix, without the slash at its end.
        suffix: of its data objects, with the dot.
    """

    def __init__(self, objects: Objects, folder: str, suffix: str) -> None:
        self._objects = objects
        self._folder = folder
        self._suffix = suffix

    def prepare(self) -> None:
        """Have nothing to do: prefixes need not be made."""

    def create_only(self, name: str, content: bytes) -> bool:
        """Create an entry, unless one of that name is there."""
        return self._objects.create(self._entry(name), content)

    def read(self, name: str) -> bytes | None:
        """Return an entry; None where there is none."""
        return self._objects.read(self._entry(name))

    def last(self) -> int:
        """Find the newest entry by bisection: a log of years has millions, and a page lists a thousand."""
        low, high = 0, _PAGE
        while self._reaches(high):
            low, high = high, high * 16
        while high - low > _PAGE:
            middle = (low + high) // 2
            low, high = (middle, high) if self._reaches(middle) else (low, middle)
        names = self._objects.names(self._entry(""), self._entry(entry_name(low)))
        return max((number_of(name.rpartition("/")[2]) for name in names), default=0)

    def stage(self, content: bytes) -> str:
        """Create an object under a name that no other attempt has."""
        token = f"part-{secrets.token_hex(8)}{self._suffix}"
        # Where the name is taken, an attempt of this very call was first, and its answer was lost.
        self._objects.create(f"{self._folder}/{token}", content)
        return token

    def discard(self, token: str) -> None:
        """Leave the object: the right to delete is worth more than its space."""

    def name_of(self, token: str, number: int) -> str:  # noqa: ARG002
        """Return the object's name in the folder."""
        return token

    def publish(self, name: str) -> None:
        """Have nothing to do: to be listed is to be shown."""

    def settle(self) -> None:
        """Have nothing to do: what the service took it keeps."""

    def leftovers(self) -> list[str]:
        """Return none: see `discard`."""
        return []

    def committed(self) -> list[str]:
        """Return the names of all listed objects, in the order of the log."""
        names = [name.rpartition("/")[2] for name in self._objects.names(self._entry(""))]
        found = []
        for name in names:
            content = self._objects.read(self._entry(name)) if name == entry_name(number_of(name)) else None
            if content is not None:
                found += [f"{self._folder}/{file.name}" for file in decode_commit(content, name).files]
        return found

    def _reaches(self, number: int) -> bool:
        return bool(self._objects.names(self._entry(""), self._entry(entry_name(number)), most=1))

    def _entry(self, name: str) -> str:
        return f"{self._folder}/_log/{name}"


def committed_objects(model: GcsSinkModel, client: str, entity: str) -> list[str]:
    """Return the names of the objects that a GCS sink has delivered exactly once, in its order.

    Args:
        model: the sink's part of the client's config.
        client: whose rows it writes.
        entity: the entity's name.

    Raises:
        SinkUnavailableError: if the service does not answer, after bounded retries.
        SinkError: if it refuses, or the log is damaged.
    """
    objects = Objects("reader", client, model)
    try:
        return GcsStore(objects, f"{model.prefix or client}/{entity}", "").committed()
    finally:
        objects.close()
