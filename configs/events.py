"""Describe how change events are written in messages."""

from typing import Annotated, Literal

from pydantic import Field

from tillstream.configs.base import NO_TRUTH, ConfigModel, RelativePath
from tillstream.configs.schema_registry import SchemaRegistry

__all__ = ["Events", "Format", "SourceColumn"]

Format = Literal["debezium_json", "debezium_avro", "avro", "cloudevents", "flattened"]


class SourceColumn(ConfigModel):
    """Say what messages without a schema do not tell of a column, and its numbers do not either."""

    scale: Annotated[int, Field(ge=0, le=1000), NO_TRUTH] | None = Field(
        default=None,
        description="Digits after the point of the source's decimal, where decimal_handling_mode is precise.",
    )
    geometry: bool = Field(
        default=False,
        description="Whether the source's column is a geometry: it comes as an object with its WKB and SRID.",
    )
    fraction_digits: Annotated[int, Field(ge=0, le=9), NO_TRUTH] | None = Field(
        default=None,
        description=(
            "Digits of a second's fraction in the source's time or timestamp, where time_precision_mode is "
            "adaptive: up to 3 come as milliseconds, up to 6 as microseconds, others as nanoseconds. A "
            "column without a precision has 6 in Postgres, 0 in MySQL."
        ),
    )


class Events(ConfigModel):
    """Say how change events are written in messages or lines.

    The handling modes are those of the connector's configuration. They matter where JSON comes without
    schemas: a message with one says itself what its values are.
    """

    format: Format = Field(
        default="debezium_json",
        description=(
            "debezium_json: Debezium's envelope in JSON, with or without its schema. debezium_avro: the same "
            "in Avro, with the id of a schema in a registry. avro: Avro with a schema from a file. "
            "cloudevents: the envelope inside a CloudEvent. flattened: rows as Debezium's transform "
            "ExtractNewRecordState writes them."
        ),
    )
    schema_registry: SchemaRegistry | None = Field(
        default=None, description="Registry of the messages' schemas; format debezium_avro needs it."
    )
    avro_schema_file: RelativePath | None = Field(
        default=None,
        description=(
            "Schema of the messages, .avsc, relative to the config's folder; {entity} stands for the "
            "entity's name. Format avro needs it."
        ),
    )
    avro_key_schema_file: RelativePath | None = Field(
        default=None,
        description="Schema of their keys, likewise. Default: none, keys are taken from the rows.",
    )
    field_names: Literal["plain", "avro_unicode"] = Field(
        default="plain",
        description=(
            "For Avro, how names of columns are written. plain: as they are, or as the connector's "
            "field.name.adjustment.mode avro made them, with underscores, which cannot be undone. "
            "avro_unicode: with the escapes of that mode, _u005f for an underscore."
        ),
    )
    decimal_handling_mode: Literal["string", "precise", "double"] = Field(
        default="string",
        description=(
            "The connector's decimal.handling.mode. precise: base64, whose scale `columns` names, or numbers "
            "(decimal.format=numeric). double: numbers; what they lost, the source lost."
        ),
    )
    time_precision_mode: Literal[
        "isostring", "adaptive", "adaptive_time_microseconds", "connect", "microseconds", "nanoseconds"
    ] = Field(
        default="isostring",
        description=(
            "The connector's time.precision.mode. adaptive: `columns` names the digits of times and "
            "timestamps; adaptive_time_microseconds: of timestamps."
        ),
    )
    binary_handling_mode: Literal["base64", "bytes", "base64-url-safe", "hex"] = Field(
        default="base64",
        description="The connector's binary.handling.mode; bytes come as base64 in JSON.",
    )
    interval_handling_mode: Literal["string", "numeric"] = Field(
        default="string",
        description="The connector's interval.handling.mode. numeric: microseconds, months as 30.4375 days.",
    )
    hstore_handling_mode: Literal["json", "map"] = Field(
        default="json",
        description="The connector's hstore.handling.mode. map: objects, in columns that are json.",
    )
    columns: dict[str, dict[str, SourceColumn]] = Field(
        default_factory=dict,
        description="Entity to column to what its handling mode leaves open; none by default.",
    )
    delete_tombstone_handling_mode: Literal[
        "tombstone", "delete-to-tombstone", "rewrite", "rewrite-with-tombstone", "drop"
    ] = Field(
        default="tombstone",
        description=(
            "For format flattened, the transform's delete.tombstone.handling.mode. tombstone, "
            "delete-to-tombstone: a delete is a null or a tombstone, and positions are taken from headers "
            "alone (add.headers). rewrite, rewrite-with-tombstone: records with __deleted are deletes, and "
            "tombstones tell nothing. drop: there are no deletes."
        ),
    )
