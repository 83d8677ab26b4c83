"""Describe one client: where its changes come from, what they are, where they go, and how they run."""

import functools
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import (
    AS_WRITTEN,
    ClientName,
    ConfigModel,
    Name,
    Number,
    RelativePath,
)
from tillstream.configs.capture import Capture
from tillstream.configs.contract import Column, Contract
from tillstream.configs.crosschecks import cross_check
from tillstream.configs.delivery import Delivery, transaction_topic
from tillstream.configs.flink import FLINK_DEFAULTS, Flink
from tillstream.configs.keyless import Keyless, implied, system_columns
from tillstream.configs.launching import LaunchParameters, current_launch, overridden
from tillstream.configs.limits import Limits
from tillstream.configs.part_sinks import FilesSink, GcsSink
from tillstream.configs.remote_sinks import HttpSink, KafkaSink
from tillstream.configs.schema_evolution import EntityEvolution, EvolutionPolicy, SchemaEvolution, policy_of
from tillstream.configs.secrets import SecretRef
from tillstream.configs.source import KafkaSource, Source
from tillstream.configs.trust import Expectation, Mask, Privacy
from tillstream.configs.upgrade import Upgrade

__all__ = [
    "FLINK_DEFAULTS",
    "ClientConfig",
    "DeadLetters",
    "Dedup",
    "Delivery",
    "Entity",
    "Flink",
    "PostgresSink",
    "SinkModel",
    "Transforms",
]

_Topic = Annotated[str, StringConstraints(pattern=forms.TOPIC)]
_Column = Annotated[str, StringConstraints(pattern=forms.COLUMN)]
_Transform = Annotated[str, StringConstraints(pattern=forms.TRANSFORM)]
_Label = Annotated[str, StringConstraints(pattern=forms.LABEL)]
_LabelValue = Annotated[str, StringConstraints(pattern=forms.LABEL_VALUE)]


class Entity(ConfigModel):
    """Describe one kind of row: where it comes from, its key, columns, transform and sinks."""

    topic: _Topic | None = Field(
        default=None,
        description=(
            "Topic of its change events, by Debezium <prefix>.<schema>.<table>. An entity without one gets "
            "its rows from the transforms of others."
        ),
    )
    from_entity: Name | None = Field(
        default=None,
        alias="from",
        description="Entity whose changes this one's rows are made of, in place of a topic of its own.",
    )
    named_key: list[str] | None = Field(
        default=None,
        alias="key",
        min_length=1,
        description="Columns that tell its rows apart. Needed, unless `keyless` is there.",
    )
    keyless: Keyless | None = Field(
        default=None,
        description=(
            "In place of a key, for tables that have none. append: rows are only added, and told apart by "
            "_event_id; what else happens to them becomes a dead letter. full_row: rows are told apart by "
            "all their values, as _row_id, and by _copy, the number of each of several equal ones; needs "
            "REPLICA IDENTITY FULL. Default: append where the topic is that of logical messages, "
            "<prefix>.message."
        ),
    )
    contract: Contract | None = Field(
        default=None,
        min_length=1,
        description=(
            "Columns that are delivered, in order, with their types; others are left out. "
            "Without a contract rows pass as they are, into JSON lines only."
        ),
    )
    transform: _Transform | None = Field(
        default=None,
        description="Transform by name and version, client.name@1.2.3. Default: rows as they are.",
    )
    sinks: list[str] = Field(min_length=1, description="Names of the sinks that its rows go to.")
    schema_evolution: EntityEvolution | None = Field(
        default=None,
        description="What becomes of rows that the contract does not know of. Default: as the client says.",
    )
    expectations: list[Expectation] = Field(
        default=[], description="What its rows must be like, looked at in order before they are masked."
    )
    masks: dict[_Column, Mask] = Field(
        default={}, description="Mask of each column; it goes before that of the column's PII class."
    )
    on_error: Literal["skip", "hold_key"] = Field(
        default="skip",
        description=(
            "What a change that the transform or the contract refuses means for later ones of its key. skip: "
            "nothing, they go on. hold_key: they are kept back, in order, until the dead letter is replayed "
            "or discarded."
        ),
    )
    on_truncate: Literal["delete", "keep"] = Field(
        default="delete",
        description=(
            "What a truncate of the source's table means for its rows that are older. delete: they are "
            "deleted. keep: they stay; transforms are told all the same that the rows are gone."
        ),
    )
    hold_events_max: Number = Field(
        default=1000,
        ge=1,
        le=100_000,
        description="Most changes of a key that are kept back; more become dead letters, reason held.",
    )

    message_key: Literal["match", "ignore"] = Field(
        default="match",
        description=(
            "What a message's key must be. match: the entity's key, else the change becomes a dead letter "
            "key_changed. ignore: anything; columns that it lacks are taken from the row."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _without_key(cls, data: Any) -> Any:
        return implied(data)

    @property
    def key(self) -> list[str]:
        """Return the names of the columns that tell rows apart, system columns where it has none itself."""
        return self.named_key or [column.name for column in system_columns(self.keyless)]

    def columns(self) -> tuple[Column, ...]:
        """Return the contract's columns in order, behind system columns; empty without a contract."""
        contract, key = self.contract or {}, self.named_key or ()
        columns = [model.column(name, is_key=name in key) for name, model in contract.items()]
        return (*system_columns(self.keyless), *columns) if columns else ()


class PostgresSink(ConfigModel):
    """Write rows into tables of a Postgres database, by key."""

    type: Literal["postgres"] = Field(description="Kind of sink.")
    host: str = Field(description="Where the database listens.")
    port: Number = Field(default=5432, ge=1, le=65535, description="Its TCP port.")
    database: str = Field(description="Name of the database.")
    user: str = Field(description="Role that writes.")
    password: SecretRef | None = Field(default=None, description="Reference to its password.")
    schema_name: Name | None = Field(
        default=None,
        alias="schema",
        description="Schema of the tables; made if missing. Default: the client.",
    )
    sslmode: Literal["disable", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="How far to trust the network, as in libpq."
    )
    connect_timeout_s: Number = Field(default=10, ge=1, description="Longest wait for a connection, seconds.")
    retry_s_max: Number = Field(
        default=60, ge=0, description="How long to retry an outage before the job restarts, seconds."
    )


SinkModel = Annotated[PostgresSink | FilesSink | GcsSink | KafkaSink | HttpSink, Field(discriminator="type")]


class DeadLetters(ConfigModel):
    """Say where records go that cannot be delivered."""

    sink: str | None = Field(default=None, description="Name of a sink. Default: the first one.")
    replay_topic: _Topic | None = Field(
        default=None,
        description=(
            "Topic through which dead letters are given back to the job, on the source's cluster. "
            "Default: tillstream.<client>.replay."
        ),
    )


class Dedup(ConfigModel):
    """Say which changes are dropped because they were seen before."""

    by: Literal["position", "event_id", "none"] = Field(
        default="position",
        description=(
            "position: of each row what is newer in the source's order than all before. event_id: all but "
            "repeats of the same event. none: everything."
        ),
    )
    horizon_s: Number = Field(
        default=86_400, ge=1, description="How long a row or event is remembered, seconds of event time."
    )

    @property
    def horizon_us(self) -> int:
        """Return the horizon in microseconds."""
        return self.horizon_s * 1_000_000


class Transforms(ConfigModel):
    """Say where transforms are found, beside those that come with tillstream or with installed packages."""

    modules: list[Annotated[str, StringConstraints(pattern=forms.MODULE)]] = Field(
        default=[], description="Python modules that define transforms; imported wherever the job runs."
    )
    path: RelativePath | None = Field(
        default=None, description="Folder in which those modules are looked for first."
    )


class ClientConfig(ConfigModel):
    """Describe one client whole."""

    version: Literal[1] = Field(default=1, description="Version of this format.")
    client: ClientName = Field(description="The client's name.")
    labels: dict[_Label, _LabelValue] = Field(
        default={}, description="What commands for many clients choose by, `--label tier=gold`."
    )
    source: Source = Field(description="Where change events come from.")
    entities: dict[Name, Entity] = Field(min_length=1, description="What they are, by the entity's name.")
    transforms: Transforms = Field(default=Transforms(), description="Where transforms are found.")
    sinks: dict[Name, SinkModel] = Field(min_length=1, description="Where rows go, by the sink's name.")
    dead_letters: DeadLetters = Field(default=DeadLetters(), description="Where records go that do not fit.")
    privacy: Privacy = Field(default=Privacy(), description="How personal data is masked.")
    schema_evolution: SchemaEvolution = Field(
        default=SchemaEvolution(), description="What becomes of changes that the contracts do not know of."
    )
    dedup: Dedup = Field(default=Dedup(), description="Which repeated changes are dropped.")
    delivery: Delivery = Field(default=Delivery(), description="How surely and how soon.")
    limits: Limits = Field(
        default=Limits(), description="What transforms may use, and how much may go wrong."
    )
    flink: Flink = Field(default_factory=Flink, description="How the job runs on Flink.")
    upgrade: Upgrade = Field(
        default=Upgrade(), description="By what a new version is judged before it is kept."
    )
    capture: Capture | None = Field(
        default=None, description="How the tables are captured, for `tillstream capture` and `resync`."
    )

    @model_validator(mode="before")
    @classmethod
    def _with_flink(cls, data: Any) -> Any:
        # The defaults under `flink` refer to the environment, so they are validated like what is written.
        return {"flink": {}, **data} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        problems = list(cross_check(self.plain(), FLINK_DEFAULTS))
        if problems:
            raise PydanticCustomError(
                "cross_check",
                "{problems}",
                {"problems": "; ".join(f"{each.field}: {each.text}" for each in problems)},
            )
        return self

    @property
    def kafka(self) -> KafkaSource:
        """Return the Kafka source; asking a files client for it is a bug."""
        if self.source.kafka is None:
            raise TypeError(f"{self.client} does not read from Kafka")
        return self.source.kafka

    def plain(self) -> dict[str, Any]:
        """Return the config as JSON values, secrets as references; `model_validate` takes it back."""
        return self.model_dump(mode="json", by_alias=True)

    def at_launch(self, launch: LaunchParameters) -> Self:
        """Return the config as a launch has it."""
        if not launch.overrides:
            return self
        return type(self).model_validate(overridden(self.plain(), launch.overrides), context=AS_WRITTEN)

    def __reduce__(self) -> tuple[Any, ...]:
        # As text, because the sets that pydantic keeps are in another order in each process.
        return _revived, (type(self), self.model_dump_json(by_alias=True))

    def evolution_of(self, entity: str) -> EvolutionPolicy:
        """Return what becomes of an entity's rows that its contract does not know of."""
        return policy_of(self.schema_evolution, self.entities[entity].schema_evolution)

    @property
    def topics(self) -> dict[str, str]:
        """Return the entity of each topic that is read."""
        return {entity.topic: name for name, entity in self.entities.items() if entity.topic is not None}

    @property
    def transaction_topics(self) -> dict[str, str]:
        """Return, of each topic that is read, the one that tells of its transactions."""
        named = self.delivery.transaction_topics
        return {topic: transaction_topic(topic, named) for topic in self.topics}

    @property
    def group_id(self) -> str:
        """Return the consumer group in which offsets are published."""
        return self.kafka.group_id or f"tillstream-{self.client}"

    @property
    def replay_topic(self) -> str:
        """Return the topic through which dead letters come back."""
        return self.dead_letters.replay_topic or f"tillstream.{self.client}.replay"

    @property
    def dead_letter_sink(self) -> str:
        """Return the name of the sink that takes dead letters."""
        return self.dead_letters.sink or next(iter(self.sinks))


def _revived(model: type[ClientConfig], text: str) -> ClientConfig:
    """Return an unpickled config, where a launched job runs as that launch has it."""
    launch = current_launch()
    return _as_launched(model, text, None if launch is None else launch.encode())


@functools.lru_cache(maxsize=4)
def _as_launched(model: type[ClientConfig], text: str, launch: str | None) -> ClientConfig:
    # Every stage of a job brings the same one, and to check it takes milliseconds.
    found = model.model_validate_json(text, context=AS_WRITTEN)
    return found if launch is None else found.at_launch(LaunchParameters.decode(launch))
