"""Say what a job is made of, where it can be read from the job itself.

The manifest lies in the built jar, and travels with the job as Beam's option `user_agent`, which Flink shows
among the job's settings: what runs can be known from the cluster alone.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.base import AS_WRITTEN
from tillstream.configs.launching import LaunchParameters
from tillstream.configs.variables import Variable
from tillstream.transforms.lint.uids import Uids

__all__ = ["JobInfo", "Manifest", "read_agent"]

_VERSION = 1
_AGENT = "tillstream "


class Manifest(msgspec.Struct, frozen=True):
    """Hold what a built job is made of.

    Attributes:
        config: the client's, as JSON values, completed with defaults; secrets are references.
        uids: what its savepoints find state by.
        transforms: digest of the code of each transform by name and version, acme.big_orders@1.0.0.
        encodings: version of each form that lies in its state, by name.
        libraries: versions of what it was built with: python, tillstream, apache-beam, flink-runner.
        bounded: whether it ends.
        version: of this form; a field may be appended without raising it.
        code: digest of what it carries of the client's own code; empty for nothing.
        packages: version of each installed package, by name, that it takes transforms from.
        variables: of its config, by name.
        contracts: that transforms bring, of entities whose config has none, by entity.
        totals: what each aggregate adds up, as a number, by the name of its state.
    """

    config: dict[str, Any]
    uids: Uids
    transforms: dict[str, str]
    encodings: dict[str, int]
    libraries: dict[str, str]
    bounded: bool = False
    version: int = _VERSION
    code: str = ""
    packages: dict[str, str] = {}
    variables: dict[str, Variable] = {}
    contracts: dict[str, Any] = {}
    totals: dict[str, int] = {}

    @property
    def client(self) -> str:
        """Return the client's name."""
        return self.uids.client

    @property
    def digest(self) -> str:
        """Return twelve hexadecimal digits that change with any of it."""
        return hashlib.sha256(self.encode()).hexdigest()[:12]

    def encode(self) -> bytes:
        """Return the manifest as JSON; equal ones give equal bytes."""
        return msgspec.json.encode(self, order="deterministic")

    def model(self) -> ClientConfig:
        """Return the client's config as a model; its relative paths start where it is launched."""
        return ClientConfig.model_validate(self.config, context=AS_WRITTEN)

    @classmethod
    def decode(cls, content: bytes) -> Manifest:
        """Read what `encode` wrote.

        Raises:
            ValueError: if it is none, or of another version.
        """
        found = msgspec.json.decode(content, type=cls)
        if found.version != _VERSION:
            raise ValueError(f"manifest: found version {found.version}, expected {_VERSION}")
        return found


class JobInfo(msgspec.Struct, frozen=True):
    """Hold what a launched job says of itself.

    Attributes:
        manifest: of what was launched.
        launch: its parameters.
    """

    manifest: Manifest
    launch: LaunchParameters

    def config(self) -> ClientConfig:
        """Return the client's config as this launch has it."""
        return self.manifest.model().at_launch(self.launch)

    def agent(self) -> str:
        """Return the form in which it travels, for `read_agent`."""
        packed = zlib.compress(msgspec.json.encode(self, order="deterministic"), 9)
        return _AGENT + base64.b64encode(packed).decode()


def read_agent(text: str | None) -> JobInfo | None:
    """Return what a job says of itself; None where it was not launched by tillstream, or by an older one.

    Args:
        text: the option `userAgent` among the job's settings.

    Raises:
        ValueError: if it cannot be read, or is of another version.
    """
    if text is None or not text.startswith(_AGENT):
        return None
    try:
        found = msgspec.json.decode(zlib.decompress(base64.b64decode(text[len(_AGENT) :])), type=JobInfo)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(f"job's manifest: found {error}, expected one of tillstream") from error
    if found.manifest.version != _VERSION:
        raise ValueError(f"job's manifest: found version {found.manifest.version}, expected {_VERSION}")
    return found
