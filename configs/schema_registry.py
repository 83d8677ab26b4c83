"""Describe the registry that holds the schemas of messages."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import Self

from tillstream.configs.base import ConfigModel, Number, RelativePath
from tillstream.configs.secrets import SecretRef
from tillstream.configs.urls import crosses_in_the_open, http_parts

__all__ = ["SchemaRegistry"]


def _check_url(url: str) -> str:
    parts = http_parts(url, "expected https://host:port, and the path of the registry's API where it has one")
    if parts.username is not None or parts.password is not None:
        raise ValueError("found a login in it, expected none: write user and password beside it")
    if parts.query or parts.fragment:
        raise ValueError("found ? or # in it, expected a URL that paths can be put behind")
    return url.rstrip("/")


_Url = Annotated[str, AfterValidator(_check_url)]


class SchemaRegistry(ConfigModel):
    """Ask a registry with the REST API of Confluent's for schemas, each once a worker process."""

    urls: list[_Url] = Field(
        min_length=1,
        description="Where it listens, with the path of its API, such as https://registry:8081; of several "
        "servers the next is asked where one does not answer.",
    )
    user: str | None = Field(
        default=None, description="User of HTTP's basic authentication; none by default."
    )
    password: SecretRef | None = Field(default=None, description="Reference to the user's password.")
    ca_file: RelativePath | None = Field(
        default=None,
        description="Certificates to trust, PEM; relative to the config's folder. Default: the system's.",
    )
    cert_file: RelativePath | None = Field(
        default=None, description="Certificate to show, PEM; relative to the config's folder. Default: none."
    )
    key_file: RelativePath | None = Field(
        default=None, description="Its private key, PEM, without a password. Default: in cert_file."
    )
    timeout_s: Number = Field(
        default=10, ge=1, le=600, description="Longest wait for a connection, and for an answer, seconds."
    )
    retry_s_max: Number = Field(
        default=60, ge=0, le=3600, description="How long to retry an outage before the job restarts, seconds."
    )
    unknown_s: Number = Field(
        default=30,
        ge=0,
        le=86_400,
        description="How long the registry is not asked again for a schema that it does not have, seconds.",
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.user is None) != (self.password is None):
            found = "a password without a user" if self.user is None else "a user without a password"
            raise ValueError(f"found {found}, expected both or neither")
        if self.user is not None and (":" in self.user or not self.user.isprintable()):
            raise ValueError("found a user with a colon or a control character, which no login can have")
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("found key_file without cert_file, expected both, or cert_file alone")
        for url in self.urls:
            parts = urlsplit(url)
            if crosses_in_the_open(parts) and (self.user is not None or self.cert_file is not None):
                raise ValueError(f"found {url}, expected https: the login would cross a network in the open")
        return self
