"""Tell the harness of a job whose it is, and so what it may see; the names of secrets, never their values."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tillstream.configs import SECRETS_DIR_VARIABLE, ClientConfig, FilesSink, GcsSink, SecretRef
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.nursery.kept import BOUNDS_VARIABLE

__all__ = ["BOUNDS_VARIABLE", "FOLDER_VARIABLE", "Bounds", "bounds_of"]

# Where flight files lie, if not in Beam's semi-persistent directory.
FOLDER_VARIABLE = "TILLSTREAM_FLIGHTS_DIR"
_FILE = "file:"
# A worker's own account, for those who write with it.
_GOOGLE_PREFIXES = ("GOOGLE_", "CLOUDSDK_", "GCE_", "STORAGE_EMULATOR_")


@dataclass(frozen=True)
class Bounds:
    """Say what the processes of one client's job may see.

    Attributes:
        client: whose job it is.
        launch: which one, milliseconds since 1970 UTC; 0 where it is not known.
        rest_url: of the cluster that runs it.
        variables: environment variables that stay beside the system's; a last `*` stands for any end.
        files: paths of the secrets that the config refers to by path.
        folders: that its sinks write, and may have to read again.
        job: name of its job on the cluster; empty where that is the client's.
    """

    client: str
    launch: int
    rest_url: str
    variables: tuple[str, ...]
    files: tuple[str, ...]
    folders: tuple[str, ...]
    job: str = ""

    def encode(self) -> str:
        """Return the form in which it travels."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def decode(cls, text: str) -> Bounds:
        """Read what `encode` wrote."""
        fields = json.loads(text)
        # Of jobs that were launched before transforms travelled with them.
        fields.pop("modules", None)
        lists = {name: tuple(fields[name]) for name in ("variables", "files", "folders")}
        return cls(**{**fields, **lists})

    def readable(self) -> list[Path]:
        """Return what stays readable, whatever is hidden around it; folders of sinks are made."""
        for folder in self.folders:
            Path(folder).mkdir(parents=True, exist_ok=True)
        found = [Path(each) for each in (*self.files, *self.folders)]
        secrets = self.secrets()
        return found if secrets is None else [*found, secrets / self.client]

    def secrets(self) -> Path | None:
        """Return the folder in which all clients' secrets lie, where there is one."""
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        return Path(folder).resolve() if folder and Path(folder).is_dir() else None


def bounds_of(config: ClientConfig, launch: LaunchParameters | None) -> Bounds:
    """Return the bounds of a client's job.

    Args:
        config: the client's.
        launch: that it is of.
    """
    variables, files = set(config.limits.environment), set()
    for secret in _secrets(config):
        if secret.reference.startswith(_FILE):
            files.add(secret.reference.removeprefix(_FILE))
        else:
            variables.add(secret.reference[2:-1])
    if any(isinstance(sink, GcsSink) for sink in config.sinks.values()):
        variables |= {f"{prefix}*" for prefix in _GOOGLE_PREFIXES}
    shadow = None if launch is None else launch.canary
    folders = {sink.path for sink in config.sinks.values() if isinstance(sink, FilesSink)}
    if shadow is not None:
        folders = {shadow.folder}
    return Bounds(
        config.client,
        0 if launch is None else launch.generation,
        config.flink.rest_url,
        tuple(sorted(variables)),
        tuple(sorted(files)),
        tuple(sorted(folders)),
        "" if launch is None else launch.job_name(config.client),
    )


def _secrets(value: Any) -> Iterator[SecretRef]:
    if isinstance(value, SecretRef):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _secrets(getattr(value, name))
    elif isinstance(value, dict):
        for each in value.values():
            yield from _secrets(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _secrets(each)
