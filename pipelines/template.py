"""Put the stages together: the one pipeline that every client runs."""

from __future__ import annotations

import apache_beam as beam
from apache_beam.io.flink.flink_streaming_impulse_source import FlinkStreamingImpulseSource

from tillstream.configs import ClientConfig
from tillstream.configs.launching import AtLaunch
from tillstream.io.collector import DEAD_LETTERS
from tillstream.io.read_changes import ReadBounded, ReadChanges, Ticks
from tillstream.io.sinks import Writer
from tillstream.io.stable_input import StableInputParDo
from tillstream.io.write_mutations import WriteDeadLetters, WriteMutations, WriteMutationsOnce
from tillstream.pipelines.transactions import TRANSACTIONS
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.resolving import resolve
from tillstream.transforms.routing import MAIN, Launch, typed
from tillstream.transforms.stages import later_stages, tags_of
from tillstream.transforms.transactions.gather import gather
from tillstream.transforms.transform_changes import TransformChanges
from tillstream.transforms.trust.letters import mask_letters
from tillstream.transforms.trust.watching import watch

__all__ = ["add_transforms", "build"]

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
        generation: of this launch, milliseconds since 1970 UTC, or a stand-in for it; exactly-once needs
            it, and rests on checkpoints, which bounded runs have none of.

    Raises:
        TransformError: if an entity names a transform that is unknown, or that needs more than the event.
        ValueError: if an exactly-once job has no generation.
    """
    config = resolve(config)
    writer = None if bounded else _writer(config, generation)
    generation = None if writer is None else writer.generation
    read = _read_bounded(pipeline, config) if bounded else _read_changes(pipeline, config)
    launch = Launch(generation, bounded, writer is not None and config.delivery.atomicity == "transaction")
    batches, refused = add_transforms(read[MAIN], config, launch)
    letters = [*mask_letters(config, [read[DEAD_LETTERS]], "MaskReadLetters"), *refused]
    if writer is None:
        write = beam.ParDo(WriteMutations(config))
    elif launch.gathers:
        # All come to one writer.
        write = StableInputParDo(WriteMutationsOnce(config, writer._replace(parallelism=1)))
        batches = gather(config, writer.generation, batches, read[TRANSACTIONS])
    else:
        # With state of its own: that keeps a shard's batches with one writer, in order, and makes the
        # boundary between stages that stable input needs.
        write = StableInputParDo(WriteMutationsOnce(config, writer))
    # Of a single one too: Flink finds a stage's state by its input's name, and a client that gets its first
    # lookup must still find what waits for its sinks.
    every = tuple(batches) | "CollectBatches" >> beam.Flatten()
    every | "WriteSinks" >> write.with_output_types(bytes)
    (
        tuple(letters)
        | "CollectDeadLetters" >> beam.Flatten()
        | "WriteDeadLetters" >> beam.ParDo(WriteDeadLetters(config)).with_output_types(bytes)
    )


def add_transforms(
    changes: beam.PCollection, config: ClientConfig, launch: Launch
) -> tuple[list[beam.PCollection], list[beam.PCollection]]:
    """Add the stages between reading and writing; return what goes to the sinks, and the dead letters.

    Args:
        changes: (shard key, ChangeBatch frame) pairs.
        config: the client's, completed by `resolve`.
        launch: of the job; batches are not numbered without a generation.
    """
    flows = flows_of(config, registry_of(config))
    tags = tags_of(flows)
    transformed = changes | "TransformChanges" >> beam.ParDo(
        TransformChanges(config, launch.generation, bounded=launch.bounded, gathers=launch.gathers)
    ).with_outputs(DEAD_LETTERS, *tags, main=MAIN)
    typed(transformed, *tags)
    batches, letters = [transformed[MAIN]], [transformed[DEAD_LETTERS]]
    for outputs in later_stages(config, flows, transformed, launch):
        batches.append(outputs[MAIN])
        letters.append(outputs[DEAD_LETTERS])
    watch(config, batches)
    return batches, mask_letters(config, letters, "MaskDeadLetters")


def _writer(config: ClientConfig, generation: int | None) -> Writer | None:
    if config.delivery.guarantee == "at-least-once":
        return None
    if generation is None:
        raise ValueError("generation: found none, expected the time of the launch: the job is exactly-once")
    flink = config.flink
    # Of a job that is still to be launched these are stand-ins.
    if isinstance(generation, AtLaunch):
        parallelism, undoes = AtLaunch("parallelism"), AtLaunch("undoes")
        return Writer(generation, flink.shards, parallelism, flink.max_parallelism, undoes)
    return Writer(generation, flink.shards, flink.parallelism, flink.max_parallelism)


def _read_changes(pipeline: beam.Pipeline, config: ClientConfig) -> beam.pvalue.DoOutputsTuple:
    tags = (TRANSACTIONS,) if config.delivery.atomicity == "transaction" else ()
    read = (
        pipeline
        | "Clock" >> FlinkStreamingImpulseSource().set_interval_ms(config.kafka.poll_interval_ms)
        | "Ticks" >> beam.ParDo(Ticks(config)).with_output_types(_KEYED)
        | "ReadChanges" >> beam.ParDo(ReadChanges(config)).with_outputs(DEAD_LETTERS, *tags, main=MAIN)
    )
    return typed(read, *tags)


def _read_bounded(pipeline: beam.Pipeline, config: ClientConfig) -> beam.pvalue.DoOutputsTuple:
    read = (
        pipeline
        | "Start" >> beam.Impulse()
        | "ReadBounded" >> beam.ParDo(ReadBounded(config)).with_outputs(DEAD_LETTERS, main=MAIN)
    )
    return typed(read)
