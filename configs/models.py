"""Describe a client's config: the one file that makes a job.

The models are the schema, the checks and the documentation at once: docs/reference/config.md and the
JSON Schema for editors are generated from them.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from tillstream.configs.base import ClientName, ConfigModel, EntityName, Interpolated, SinkName
from tillstream.configs.contract import Column, ColumnName, Contract, parse_type
from tillstream.configs.sinks import Sink
from tillstream.configs.sources import KafkaSource, Source
from tillstream.pipelines.errors import ConfigError

__all__ = ["ClientConfig", "DeadLetters", "Delivery", "Entity", "FlinkJob"]


class Entity(ConfigModel):
    """Describe one stream of rows: where it is read, its key, its columns, where it is written."""

    topic: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = Field(
        description="Topic of its change events. In files, events have the topic that Debezium would have "
        "used: <source.name>.<source.schema>.<source.table>.",
        examples=["acme.public.orders"],
    )
    key: list[ColumnName] = Field(
        min_length=1, description="Columns of the primary key, in order.", examples=[["order_id"]]
    )
    contract: Contract | None = Field(
        default=None,
        min_length=1,
        description="Columns of the rows that are written: name to type, or to "
        "`{type, nullable, description}`. Required by sinks of type postgres and by Parquet files.",
        examples=[
            {"order_id": "int64", "total": "decimal(12,2)", "note": {"type": "string", "nullable": True}}
        ],
    )
    transform: (
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*@\d+\.\d+\.\d+$")] | None
    ) = Field(
        default=None,
        description="Registered DoFn and its version, name@1.2.3. Default: rows are written as they come.",
        examples=["globex.price_in_euros@1.0.0"],
    )
    sinks: list[SinkName] = Field(min_length=1, description="Names of the sinks that get its rows.")

    def columns(self) -> tuple[Column, ...]:
        """Return the contract's columns, in order; empty without a contract."""
        columns = []
        for name, spec in (self.contract or {}).items():
            kind, precision, scale = parse_type(spec.type)
            nullable = name not in self.key if spec.nullable is None else spec.nullable
            columns.append(Column(name, kind, nullable, precision, scale, spec.description))
        return tuple(columns)


class DeadLetters(ConfigModel):
    """Say where records go that cannot be processed."""

    sink: SinkName | None = Field(
        default=None, description="Name of the sink that gets dead letters. Default: the first sink."
    )


def _refuse_exactly_once(value: Any) -> Any:
    if value == "exactly-once":
        raise PydanticCustomError(
            "guarantee",
            "expected at-least-once: this release does not give exactly-once; a postgres sink merges by key, "
            "so that a repeated row changes nothing",
        )
    return value


class Delivery(ConfigModel):
    """Say what the job promises its sinks, and how often it makes durable what it did."""

    guarantee: Annotated[Literal["at-least-once"], BeforeValidator(_refuse_exactly_once)] = Field(
        default="at-least-once", description="Nothing is lost; after a failure rows may be written again."
    )
    checkpoint_interval_ms: int = Field(
        default=1000, ge=100, le=3_600_000, description="Time between two checkpoints, milliseconds."
    )


class FlinkJob(ConfigModel):
    """Size the client's Flink job."""

    rest_url: Interpolated = Field(
        default="${TILLSTREAM_FLINK:-http://127.0.0.1:8081}",
        validate_default=True,
        description="Address of the cluster's REST interface.",
    )
    parallelism: int = Field(default=1, ge=1, le=1024, description="Parallel subtasks of each stage.")
    max_parallelism: int = Field(
        default=128,
        ge=1,
        le=32_768,
        description="Highest parallelism that the job's state can ever be restored at; fixed for its life.",
    )
    shards: int = Field(
        default=16,
        ge=1,
        le=4096,
        description="Units that keys are spread over; at least the parallelism. Fixed for the job's life.",
    )
    memory_mb_max: int | None = Field(
        default=None, ge=256, description="Limit of a Python worker process, megabytes. Default: no limit."
    )
    state_cache_mb: int = Field(
        default=64, ge=0, description="State that a Python worker keeps in memory, megabytes."
    )


class ClientConfig(ConfigModel):
    """Describe all of one client's job."""

    version: Literal[1] = Field(default=1, description="Version of this file's form.")
    client: ClientName = Field(
        description="Name of the client: lower-case letters, digits and underscores; names its job, its "
        "consumer group and its schema.",
        examples=["acme"],
    )
    source: Source = Field(description="Where change events come from: exactly one of `kafka` and `files`.")
    entities: dict[EntityName, Entity] = Field(
        min_length=1,
        description="Streams of rows, by name; the name is the table's or the folder's in a sink.",
    )
    sinks: dict[SinkName, Sink] = Field(min_length=1, description="Where rows go, by name.")
    dead_letters: DeadLetters = Field(
        default=DeadLetters(), description="Where records go that cannot be processed."
    )
    delivery: Delivery = Field(default=Delivery(), description="What the job promises its sinks.")
    flink: FlinkJob = Field(default_factory=FlinkJob, description="Size of the client's Flink job.")

    @property
    def kafka(self) -> KafkaSource:
        """Return the Kafka source.

        Raises:
            ConfigError: if the client reads files.
        """
        if self.source.kafka is None:
            raise ConfigError(f"client {self.client}: source: found files, expected kafka")
        return self.source.kafka

    @property
    def group_id(self) -> str:
        """Return the consumer group that lag tools look at."""
        return self.kafka.group_id or f"tillstream-{self.client}"

    @property
    def dead_letter_sink(self) -> str:
        """Return the name of the sink that gets dead letters."""
        return self.dead_letters.sink or next(iter(self.sinks))
