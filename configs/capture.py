"""Describe how a client's tables are captured: the database, Connect, and what their slot may cost."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel, Interpolated, Name, Number, RelativePath
from tillstream.configs.secrets import SecretRef
from tillstream.configs.urls import crosses_in_the_open

__all__ = ["Capture"]

_Table = Annotated[str, StringConstraints(pattern=forms.TABLE)]
_Setting = Annotated[str, StringConstraints(pattern=forms.SETTING)]


class Capture(ConfigModel):
    """Capture tables of a Postgres database with Debezium, by `tillstream capture` and `tillstream resync`.

    A job needs none of it: it reads topics, whoever fills them.
    """

    connect_url: Interpolated = Field(
        default="${TILLSTREAM_CONNECT:-http://127.0.0.1:8083}",
        validate_default=True,
        description="Kafka Connect's REST address.",
    )
    connect_user: str | None = Field(default=None, description="Who logs in to it, by HTTP basic.")
    connect_password: SecretRef | None = Field(default=None, description="Reference to the password.")
    host: str = Field(description="Where the database listens.")
    port: Number = Field(default=5432, ge=1, le=65535, description="Its TCP port.")
    database: str = Field(min_length=1, description="Name of the database.")
    sslmode: str = Field(
        default="prefer",
        pattern="^(disable|prefer|require|verify-ca|verify-full)$",
        description="How far to trust the network: disable, prefer, require, verify-ca or verify-full.",
    )
    admin_user: str = Field(
        description=(
            "Role that makes publication, role and slot, and asks after them; Connect never learns of it."
        )
    )
    admin_password: SecretRef | None = Field(default=None, description="Reference to its password.")
    role: Name | None = Field(
        default=None,
        description="Role that Connect logs in as; made by create. Default: tillstream_<client>.",
    )
    role_password_file: RelativePath | None = Field(
        default=None,
        description=(
            "File that create and rotate write the role's password to. "
            "Default: capture_<client>_password in the folder that TILLSTREAM_SECRETS_DIR names, else in "
            "/run/secrets."
        ),
    )
    connect_secrets_dir: str | None = Field(
        default=None,
        description=(
            "Folder in which Connect finds a file of that name, by its DirectoryConfigProvider. "
            "Default: that of role_password_file."
        ),
    )
    connect_secrets_provider: Name = Field(
        default="directory", description="Name of that provider in the worker's config.providers."
    )
    connect_bootstrap_servers: Annotated[str, StringConstraints(pattern=forms.SERVERS)] | None = Field(
        default=None, description="Brokers as Connect reaches them. Default: those of source.kafka."
    )
    tables: Annotated[list[_Table], Field(min_length=1)] | None = Field(
        default=None,
        description="Tables, each as schema.table. Default: those of the entities' topics.",
    )
    partitions: Number = Field(default=1, ge=1, le=1000, description="Partitions of topics that are made.")
    replication_factor: Number | None = Field(
        default=None, ge=1, description="Copies of topics that are made. Default: the cluster's."
    )
    schemas: bool = Field(
        default=False,
        description="Whether each JSON message carries its schema; it is then ten times as large.",
    )
    transactions: bool = Field(
        default=False,
        description=(
            "Whether events name their transaction; delivery.atomicity transaction needs it. So do entities "
            "that are keyless, and then it is as if it were true."
        ),
    )
    heartbeat_interval_s: Number = Field(
        default=10,
        ge=1,
        le=3600,
        description=(
            "How often a message is written into the database's log, so that the slot of tables without "
            "changes moves on while other databases of the server write, seconds."
        ),
    )
    slot_lag_mb_alert: Number = Field(
        default=1024, ge=1, description="Log kept for the slot from which on status is an alert, mebibytes."
    )
    slot_lag_mb_max: Number = Field(
        default=8192,
        ge=1,
        description="Log kept for the slot at which it is given up, if anything gives it up, mebibytes.",
    )
    cap_server_slots: bool = Field(
        default=False,
        description=(
            "Whether create sets max_slot_wal_keep_size to slot_lag_mb_max where the server has no such cap. "
            "It holds for all slots of the server."
        ),
    )
    incremental_chunk_rows: Number = Field(
        default=4096, ge=1, le=1_000_000, description="Rows that resync reads at a time."
    )
    connector: dict[_Setting, str] = Field(
        default={},
        description=(
            "More of the connector's properties, such as its converters; they win over tillstream's. "
            "Secrets in them are references that Connect resolves."
        ),
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        parts = urlsplit(self.connect_url)
        if crosses_in_the_open(parts) and (self.connect_user is not None or parts.username is not None):
            raise ValueError(
                f"found connect_url at http://{parts.hostname}, expected https: the login would cross a "
                "network in the open"
            )
        return self
