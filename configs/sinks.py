"""Describe where a client's mutations go."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tillstream.configs.base import ConfigModel, RelativePath
from tillstream.configs.secrets import SecretRef

__all__ = ["FilesSink", "PostgresSink", "Sink"]

_SqlName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class PostgresSink(ConfigModel):
    """Write rows into tables of a Postgres database, one table an entity."""

    type: Literal["postgres"] = Field(description="Kind of sink.")
    host: str = Field(min_length=1, description="Host name or address.")
    port: int = Field(default=5432, ge=1, le=65_535, description="TCP port.")
    database: str = Field(min_length=1, description="Name of the database.")
    user: str = Field(min_length=1, description="Role that logs in; it creates and owns the tables.")
    password: SecretRef | None = Field(
        default=None, description="Reference to the password: ${NAME} or file:PATH. Default: none is sent."
    )
    schema_name: _SqlName | None = Field(
        default=None,
        alias="schema",
        description="Schema that holds the tables; created when missing. Default: the client's name.",
    )
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] = Field(
        default="prefer", description="libpq's sslmode."
    )
    connect_timeout_s: int = Field(default=10, ge=1, le=300, description="Most time to connect, seconds.")
    retry_s_max: int = Field(
        default=60,
        ge=0,
        le=3600,
        description="How long one transaction is tried again while the database does not answer, seconds; "
        "after that Flink restarts the job from its last checkpoint.",
    )

    def schema_for(self, client: str) -> str:
        """Return the schema that holds the client's tables."""
        return client if self.schema_name is None else self.schema_name


class FilesSink(ConfigModel):
    """Write mutations into files, one folder an entity."""

    type: Literal["files"] = Field(description="Kind of sink.")
    path: RelativePath = Field(description="Folder that holds the files; relative to this file.")
    format: Literal["jsonl", "parquet"] = Field(
        default="jsonl", description="JSON lines, or Parquet (needs the entities' contracts)."
    )
    compression: Literal["none", "zstd"] = Field(default="none", description="How the files are compressed.")


Sink = Annotated[PostgresSink | FilesSink, Field(discriminator="type")]
