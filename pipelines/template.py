"""Put the stages together: the one pipeline that every client runs."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.io.flink.flink_streaming_impulse_source import FlinkStreamingImpulseSource

from tillstream.configs import ClientConfig
from tillstream.io.collector import DEAD_LETTERS
from tillstream.io.read_changes import ReadBounded, ReadChanges, Ticks
from tillstream.io.sinks import Writer
from tillstream.io.stable_input import StableInputParDo
from tillstream.io.write_mutations import WriteDeadLetters, WriteMutations, WriteMutationsOnce
from tillstream.transforms.clients import bundled_transforms
from tillstream.transforms.transform_changes import TransformChanges, check_dofn

__all__ = ["build"]

_KEYED = beam.typehints.Tuple[bytes, bytes]


def build(
    pipeline: beam.Pipeline, config: ClientConfig, *, bounded: bool, generation: int | None = None
) -> None:
    """Add a client's stages to a pipeline.

    The labels are part of every savepoint: renaming one loses the state behind it.

    Args:
        pipeline: an empty pipeline.
        config: the client's.
        bounded: read what is there and end, instead of reading on.
        generation: of this launch, milliseconds since 1970 UTC; exactly-once needs it, and rests on
            checkpoints, which bounded runs have none of.

    Raises:
        TransformError: if an entity names a transform that is unknown, or that needs more than the event.
        ValueError: if an exactly-once job has no generation.
    """
    registry = bundled_transforms()
    for entity in config.entities.values():
        if entity.transform is not None:
            check_dofn(entity.transform, registry.get(entity.transform))
    main = "batches"
    writer = None if bounded else _writer(config, generation)
    read = _read_bounded(pipeline, config, main) if bounded else _read_changes(pipeline, config, main)
    transform = TransformChanges(config, None if writer is None else writer.generation)
    transformed = read[main] | "TransformChanges" >> beam.ParDo(transform).with_outputs(
        DEAD_LETTERS, main=main
    )
    _type(transformed, main)
    if writer is None:
        write = beam.ParDo(WriteMutations(config))
    else:
        # With state of its own: that keeps a shard's batches with one writer, in order, and makes the
        # boundary between stages that stable input needs.
        write = StableInputParDo(WriteMutationsOnce(config, writer))
    transformed[main] | "WriteSinks" >> write.with_output_types(bytes)
    (
        (read[DEAD_LETTERS], transformed[DEAD_LETTERS])
        | "CollectDeadLetters" >> beam.Flatten()
        | "WriteDeadLetters" >> beam.ParDo(WriteDeadLetters(config)).with_output_types(bytes)
    )


def _writer(config: ClientConfig, generation: int | None) -> Writer | None:
    if config.delivery.guarantee == "at-least-once":
        return None
    if generation is None:
        raise ValueError("generation: found none, expected the time of the launch: the job is exactly-once")
    flink = config.flink
    return Writer(generation, flink.shards, flink.parallelism, flink.max_parallelism)


def _read_changes(pipeline: beam.Pipeline, config: ClientConfig, main: str) -> beam.pvalue.DoOutputsTuple:
    read = (
        pipeline
        | "Clock" >> FlinkStreamingImpulseSource().set_interval_ms(config.kafka.poll_interval_ms)
        | "Ticks" >> beam.ParDo(Ticks(config)).with_output_types(_KEYED)
        | "ReadChanges" >> beam.ParDo(ReadChanges(config)).with_outputs(DEAD_LETTERS, main=main)
    )
    return _type(read, main)


def _read_bounded(pipeline: beam.Pipeline, config: ClientConfig, main: str) -> beam.pvalue.DoOutputsTuple:
    read = (
        pipeline
        | "Start" >> beam.Impulse()
        | "ReadBounded" >> beam.ParDo(ReadBounded(config)).with_outputs(DEAD_LETTERS, main=main)
    )
    return _type(read, main)


def _type(outputs: beam.pvalue.DoOutputsTuple, main: str) -> beam.pvalue.DoOutputsTuple:
    # Python has no other way to give the outputs of one ParDo different types, and without them
    # Beam would pickle every element.
    outputs[main].element_type = _KEYED
    outputs[DEAD_LETTERS].element_type = bytes
    return outputs
