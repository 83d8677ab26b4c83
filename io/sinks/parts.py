"""Make data files of mutations, whatever their format is and wherever they go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tillstream.configs import Entity, FilesSink
from tillstream.io.sinks.base import Refuse
from tillstream.io.sinks.files_jsonl import JsonLines, compress, suffix_of
from tillstream.io.sinks.letters import Encoder, sift
from tillstream.pipelines.errors import SinkError
from tillstream.pipelines.evolution import conformed, joined, shaped
from tillstream.pipelines.records import MutationBatch

__all__ = ["Parts"]


class Parts:
    """Encode each entity's mutations in a sink's format.

    Args:
        sink: its name in the client's config.
        model: its part of the client's config.
        entities: those whose rows it takes, by name.

    Raises:
        SinkError: if an entity has no contract, and the format needs one.
    """

    def __init__(self, sink: str, model: FilesSink, entities: Mapping[str, Entity]) -> None:
        self._sink = sink
        self._model = model
        self._entities = dict(entities)
        self._encoders = {name: self._encoder(name, entity) for name, entity in entities.items()}
        # Of columns that evolved: what the rows of this process have shown so far.
        self._shapes: dict[str, dict[str, str]] = {}
        self.suffix = suffix_of(model)

    def encode(
        self, entity: str, batches: Sequence[MutationBatch], refuse: Refuse
    ) -> tuple[Sequence[MutationBatch], bytes]:
        """Return the batches without the rows that cannot be encoded, and their content, not compressed.

        Args:
            entity: of all batches.
            batches: at least one row.
            refuse: called with the rows that cannot be encoded.
        """
        batches = self._shaped(entity, batches)
        encoder = self._encoders[entity]
        try:
            return batches, encoder.encode(batches)
        except (ValueError, TypeError):
            good, letters = sift(self._sink, encoder, batches)
            refuse(letters)
            return good, encoder.encode(good) if good else b""

    def _shaped(self, entity: str, batches: Sequence[MutationBatch]) -> Sequence[MutationBatch]:
        """Return batches that share one schema, where the format has one and columns evolved."""
        before = self._shapes.get(entity, {})
        shape = before
        for batch in batches:
            shape = joined(shape, batch.evolved) if batch.evolved else shape
        if not shape or self._model.format == "jsonl":
            return batches
        evolved = shaped(self._entities[entity], shape)
        if shape != before:
            self._shapes[entity] = shape
            self._encoders[entity] = self._encoder(entity, evolved)
        columns = tuple(column.name for column in evolved.columns())
        return [conformed(batch, columns, shape) for batch in batches]

    def packed(self, content: bytes) -> bytes:
        """Compress the content as the config says, where the format does not by itself."""
        return compress(content, self._model.compression) if self._model.format == "jsonl" else content

    def _encoder(self, name: str, entity: Entity) -> Encoder:
        if self._model.format == "jsonl":
            return JsonLines(entity)
        if entity.contract is None:
            raise SinkError(
                f"sink {self._sink}, entity {name!r}: found no contract, expected one: "
                f"{self._model.format} needs the columns' types"
            )
        if self._model.format == "avro":
            from tillstream.io.sinks.files_avro import Avro

            return Avro(entity, name, self._model.compression)
        from tillstream.io.sinks.files_parquet import Parquet

        return Parquet(entity)
