"""Run a client's whole pipeline on Beam's DirectRunner: reading, transforms, trust stages, writing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tillstream.configs import ClientConfig, FilesSink, FilesSource, Source, load
from tillstream.io.sinks.files_jsonl import METADATA, OPERATIONS
from tillstream.io.sinks.letters import letter_from
from tillstream.pipelines.errors import UserError
from tillstream.pipelines.records import ChangeEvent, DeadLetter, Mutation, MutationKind
from tillstream.transforms.testing.envelopes import envelope
from tillstream.transforms.testing.events import place
from tillstream.transforms.testing.result import Result

__all__ = ["run_client"]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


def run_client(config: ClientConfig | str | Path, events: Iterable[ChangeEvent]) -> Result:
    """Run a client's whole pipeline, as `tillstream run --runner direct` does, on literal events.

        result = run_client("configs/clients/acme.yaml", [created("stores", {...}, key="store_id")])

    Events are read as Debezium's envelopes from a file, and each sink is replaced by one that writes JSON
    lines; everything between is the client's own. It takes seconds: for one transform `run` does it in
    milliseconds.

    Args:
        config: a ClientConfig, or the path of a config.
        events: in the order of the log. Of the key only what stands in the row is seen.

    Returns:
        The changes of each entity, in the order of its files; offsets count in all events, from 0 on, and
        positions are left out.

    Raises:
        UserError: if an event's entity has no topic, or the config cannot be read.
    """
    client = config if isinstance(config, ClientConfig) else load(Path(config))
    topics = {entity: topic for topic, entity in client.topics.items()}
    lines = []
    for event in place(events):
        if event.entity not in topics:
            raise UserError(
                f"event of {event.entity!r}: expected an entity that is read: {', '.join(topics)}"
            )
        lines.append(envelope(event, topics[event.entity]))
    with tempfile.TemporaryDirectory(prefix="tillstream") as name:
        folder = Path(name)
        (folder / "events.jsonl").write_bytes(b"\n".join([*lines, b""]))
        return _run(client, folder)


_KINDS = {said: kind for kind, said in OPERATIONS.items()}


def _run(client: ClientConfig, folder: Path) -> Result:
    from tillstream.runners import direct

    sinks = {name: FilesSink(type="files", path=str(folder / "sinks" / name)) for name in client.sinks}
    source = Source(files=FilesSource(paths=[str(folder / "events.jsonl")]))
    direct.run(client.model_copy(update={"sinks": sinks, "source": source}))
    mutations = [
        mutation
        for entity, described in client.entities.items()
        for line in _lines(folder / "sinks" / described.sinks[0] / entity)
        for mutation in [_mutation(entity, described.key, line)]
    ]
    letters = [_letter(line) for line in _lines(folder / "sinks" / client.dead_letter_sink / "_dead_letters")]
    return Result(mutations, sorted(letters, key=lambda letter: (letter.offset, letter.index)))


def _lines(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("part-*.jsonl")):
        yield from map(_decode, path.read_bytes().splitlines())


def _mutation(entity: str, key: list[str], line: dict[str, Any]) -> Mutation:
    operation, time_us, topic, partition, offset, index = [line.pop(name) for name in METADATA]
    kind = _KINDS[operation]
    return Mutation(
        entity,
        kind,
        {} if kind is MutationKind.TRUNCATE else {column: line[column] for column in key},
        line if kind is MutationKind.UPSERT else None,
        (),
        time_us,
        topic,
        partition,
        offset - 1,
        index,
    )


def _letter(line: dict[str, Any]) -> DeadLetter:
    letter = letter_from(line)
    # The file is gone when the test looks at it.
    return msgspec.structs.replace(letter, topic=Path(letter.topic).name, offset=letter.offset - 1)
