"""Describe how change events are written in messages."""

from typing import Literal

from pydantic import Field

from tillstream.configs.base import ConfigModel

__all__ = ["Events", "Format"]

Format = Literal["debezium_json", "debezium_avro", "avro", "cloudevents", "flattened"]


class Events(ConfigModel):
    """Say how change events are written in messages or lines."""

    format: Format = Field(
        default="debezium_json",
        description=(
            "debezium_json: Debezium's envelope in JSON, with or without its schema. debezium_avro: the same "
            "in Avro, with the id of a schema in a registry. avro: Avro with a schema from a file. "
            "cloudevents: the envelope inside a CloudEvent. flattened: rows as Debezium's transform "
            "ExtractNewRecordState writes them."
        ),
    )
