"""Describe how to reach a Kafka cluster: what sources and sinks share."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator
from typing_extensions import Self

from tillstream.configs import forms
from tillstream.configs.base import ConfigModel, RelativePath
from tillstream.configs.secrets import SecretRef

__all__ = ["KafkaConnection"]

_Servers = Annotated[str, StringConstraints(pattern=forms.SERVERS)]


class KafkaConnection(ConfigModel):
    """Say where a Kafka cluster is, and how to log in."""

    bootstrap_servers: _Servers = Field(description="Brokers to ask first: host:port, several with commas.")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to talk to the brokers."
    )
    ssl_ca_file: RelativePath | None = Field(
        default=None, description="Certificates to trust, PEM; relative to the config's folder."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        default=None, description="How to log in, for the SASL protocols."
    )
    sasl_username: str | None = Field(default=None, description="Who logs in.")
    sasl_password: SecretRef | None = Field(default=None, description="Reference to the password.")

    @model_validator(mode="after")
    def _sasl_is_whole(self) -> Self:
        given = [self.sasl_mechanism, self.sasl_username, self.sasl_password]
        protocol = self.security_protocol
        if protocol.startswith("SASL"):
            if None in given:
                raise ValueError(
                    f"found security_protocol {protocol}, "
                    "expected sasl_mechanism, sasl_username and sasl_password beside it"
                )
        elif given != [None, None, None]:
            raise ValueError(
                f"found sasl_* beside security_protocol {protocol}, expected SASL_PLAINTEXT or SASL_SSL"
            )
        return self
