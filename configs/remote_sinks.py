"""Describe the sinks that write to services: Kafka and HTTP."""

import re
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from tillstream.configs import forms
from tillstream.configs.base import NO_TRUTH, ConfigModel, Number, RelativePath
from tillstream.configs.kafka import KafkaConnection
from tillstream.configs.secrets import SecretRef
from tillstream.configs.urls import crosses_in_the_open, http_parts

__all__ = ["HttpSink", "KafkaSink"]

_Topic = Annotated[str, StringConstraints(pattern=forms.TOPIC)]
# Leaves room for the longest name of an entity.
_Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,160}$")]
_Header = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,100}$")]


class KafkaSink(KafkaConnection):
    """Write every change into topics of a Kafka cluster, one topic an entity; deletes are tombstones."""

    type: Literal["kafka"] = Field(description="Kind of sink.")
    topic_prefix: _Prefix | None = Field(
        default=None,
        description="What precedes the entity in a topic's name, with a dot. Default: the client.",
    )
    partitions: Number = Field(
        default=4, ge=1, le=1000, description="Partitions of the topics that it creates."
    )
    replication_factor: Annotated[int, Field(ge=1), NO_TRUTH] | None = Field(
        default=None, description="Copies of the topics that it creates. Default: as the brokers say."
    )
    ledger_topic: _Topic | None = Field(
        default=None,
        description="Compacted topic that tells which batches are written. "
        "Default: <topic_prefix>.tillstream_ledger.",
    )
    retry_s_max: Number = Field(
        default=60, ge=0, description="How long to retry an outage before the job restarts, seconds."
    )


class HttpSink(ConfigModel):
    """Post every change to a service, one request a batch."""

    type: Literal["http"] = Field(description="Kind of sink.")
    url: str = Field(
        description="Where to post; {entity} stands for the entity's name. Plain http: this machine only."
    )
    body: Literal["lines", "array"] = Field(
        default="lines", description="JSON lines (application/x-ndjson), or one JSON array."
    )
    auth_header: _Header = Field(default="Authorization", description="Header that carries the secret.")
    auth: SecretRef | None = Field(
        default=None, description="Reference to that header's whole value, such as 'Bearer ...'."
    )
    ca_file: RelativePath | None = Field(
        default=None,
        description="Certificates to trust, PEM; relative to the config's folder. Default: the system's.",
    )
    rows_max: Number = Field(default=1000, ge=1, le=100_000, description="Most changes of a request.")
    requests_per_s_max: Annotated[int, Field(ge=1), NO_TRUTH] | None = Field(
        default=None,
        description="Most requests a second to the host, by each worker process; none by default.",
    )
    timeout_s: Number = Field(
        default=10,
        ge=1,
        description="Longest wait for a connection, and for each part of an answer, seconds.",
    )
    failures_max: Number = Field(
        default=5, ge=1, description="Failures in a row after which the host is left alone for a while."
    )
    pause_s: Number = Field(
        default=5, ge=1, description="How long it is left alone before one request tries it again, seconds."
    )
    retry_s_max: Number = Field(
        default=60, ge=0, description="How long to retry an outage before the job restarts, seconds."
    )

    @field_validator("url")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        parts = http_parts(url, "expected https://host/path, with {entity} where the entity's name belongs")
        if parts.username is not None or parts.password is not None:
            raise ValueError("found a login in it, expected none: refer to it by auth")
        if crosses_in_the_open(parts):
            raise ValueError("found http, expected https: rows and secrets would cross a network in the open")
        if set(re.findall(r"\{[^}]*\}", url)) - {"{entity}"} or "{" in parts.netloc:
            raise ValueError("expected no placeholder but {entity}, and none in the host")
        return url
