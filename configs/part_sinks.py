"""Describe the sinks that write files and objects."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from tillstream.configs.base import ConfigModel, Number, RelativePath
from tillstream.configs.secrets import SecretRef
from tillstream.configs.urls import crosses_in_the_open, http_parts

__all__ = ["FilesSink", "GcsSink", "PartFormat"]

# Google's rules, https://cloud.google.com/storage/docs/buckets#naming, without those on dots in a row.
_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$")]
_Prefix = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$", max_length=500)]


class PartFormat(ConfigModel):
    """Say what a file or object looks like."""

    format: Literal["jsonl", "parquet", "avro"] = Field(default="jsonl", description="Form of the files.")
    compression: Literal["none", "gzip", "zstd"] = Field(
        default="none",
        description="Compression of JSON lines, and of Avro's blocks; Parquet compresses by itself.",
    )


class FilesSink(PartFormat):
    """Write every change as a line or row of files, one folder an entity."""

    type: Literal["files"] = Field(description="Kind of sink.")
    path: RelativePath = Field(description="Folder of the files, relative to the config's folder.")


class GcsSink(PartFormat):
    """Write every change as a line or row of objects in Google Cloud Storage, one prefix an entity."""

    type: Literal["gcs"] = Field(description="Kind of sink.")
    bucket: _Bucket = Field(description="Bucket of the objects; must be there.")
    prefix: _Prefix | None = Field(
        default=None, description="What precedes the entity in an object's name. Default: the client."
    )
    credentials: SecretRef | None = Field(
        default=None,
        description="Reference to a service account's key, JSON. Default: the worker's own account "
        "(Application Default Credentials).",
    )
    endpoint: str | None = Field(
        default=None,
        description="Where the service listens, for an emulator or a private address. "
        "Plain http: this machine only, and without credentials. Default: Google's.",
    )
    timeout_s: Number = Field(default=30, ge=1, description="Longest wait for each answer, seconds.")
    retry_s_max: Number = Field(
        default=60, ge=0, description="How long to retry an outage before the job restarts, seconds."
    )

    @field_validator("endpoint")
    @classmethod
    def _is_safe(cls, endpoint: str | None) -> str | None:
        if endpoint is None:
            return None
        parts = http_parts(endpoint, "expected https://host or https://host:port")
        if parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("expected scheme, host and port only")
        if crosses_in_the_open(parts):
            raise ValueError("found http, expected https: rows and secrets would cross a network in the open")
        return endpoint.rstrip("/")
