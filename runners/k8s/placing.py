"""Say where a pod finds the secrets and files that a config refers to by paths of another machine.

Secrets become keys of one Secret, mounted as the folder that `SecretRef.resolve` looks into: references by
path become `${KEY}`, with what no variable's name has as _. None of them is kept here.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel

from tillstream.configs import ClientConfig, SecretRef
from tillstream.configs.open_places import pointer_of
from tillstream.pipelines.errors import UserError

__all__ = ["FILES_FOLDER", "SECRETS_FOLDER", "Placed", "place"]

# k8s/chart/tillstream/templates/_pods.tpl mounts them.
SECRETS_FOLDER = PurePosixPath("/run/tillstream/secrets")
FILES_FOLDER = PurePosixPath("/opt/tillstream/files")
_FILE = "file:"
_PUBLIC = frozenset({"ssl_ca_file", "ca_file", "cert_file"})
_PRIVATE = frozenset({"key_file"})
# Of each entity, which {entity} in the path stands for.
_SCHEMAS = frozenset({"avro_schema_file", "avro_key_schema_file"})
_ENTITY = "{entity}"
# A certificate's file may hold its key too (RFC 7468).
_KEY_INSIDE = b"PRIVATE KEY-----"
# Kubernetes' form of a key of a ConfigMap.
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_Path = tuple[str | int, ...]


@dataclass
class Placed:
    """Hold where things are in a pod.

    Attributes:
        overrides: values of the config that name them there, by JSON pointer.
        secrets: keys of the client's Secret, and the path or variable that each takes the place of.
        files: content of certificates and schemas by their name, base64.
    """

    overrides: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


def place(config: ClientConfig) -> Placed:
    """Return where a client's pods find secrets, certificates and schemas; those of its capture are left out.

    Raises:
        UserError: if two secrets would have one key, or a certificate or schema cannot be read.
    """
    found = Placed()
    for path, value in _leaves(config, ()):
        if path[0] == "capture" or value is None:
            continue
        if isinstance(value, SecretRef) and value.reference.startswith(_FILE):
            key = _place_secret(found, path, value.reference.removeprefix(_FILE))
            found.overrides[pointer_of(path)] = f"${{{key}}}"
        elif isinstance(value, SecretRef):
            _place_secret(found, path, value.reference[2:-1])
        elif path[-1] in _SCHEMAS:
            _place_schemas(found, path, str(value), list(config.entities))
        elif path[-1] in _PRIVATE or (path[-1] in _PUBLIC and _KEY_INSIDE in _read(path, Path(value))):
            key = _place_secret(found, path, str(value))
            found.overrides[pointer_of(path)] = str(SECRETS_FOLDER / config.client / key)
        elif path[-1] in _PUBLIC:
            _place_file(found, path, Path(value))
    return found


def _place_secret(found: Placed, path: _Path, origin: str) -> str:
    key = re.sub(r"[^A-Za-z0-9_]", "_", PurePosixPath(origin).name)
    if found.secrets.setdefault(key, origin) != origin:
        raise UserError(
            f"{'.'.join(map(str, path))}: found {origin} beside {found.secrets[key]}, expected names that "
            "differ: in a pod all secrets of a client lie in one folder"
        )
    return key


def _place_file(found: Placed, path: _Path, origin: Path) -> None:
    content = _read(path, origin)
    name = f"{hashlib.sha256(content).hexdigest()[:8]}-{origin.name}"
    _keep(found, path, name, content)
    found.overrides[pointer_of(path)] = str(FILES_FOLDER / name)


def _place_schemas(found: Placed, path: _Path, pattern: str, entities: list[str]) -> None:
    contents = {entity: _read(path, Path(pattern.replace(_ENTITY, entity))) for entity in entities}
    digests = (hashlib.sha256(content).digest() for content in contents.values())
    name = PurePosixPath(pattern).name
    if _ENTITY in pattern and _ENTITY not in name:
        # It names a folder, and in a pod all files lie in one.
        name = f"{_ENTITY}-{name}"
    name = f"{hashlib.sha256(b''.join(digests)).hexdigest()[:8]}-{name}"
    for entity, content in contents.items():
        _keep(found, path, name.replace(_ENTITY, entity), content)
    found.overrides[pointer_of(path)] = str(FILES_FOLDER / name)


def _read(path: _Path, origin: Path) -> bytes:
    try:
        return origin.read_bytes()
    except OSError as error:
        raise UserError(f"{'.'.join(map(str, path))}: cannot read {origin}: {error.strerror}") from error


def _keep(found: Placed, path: _Path, name: str, content: bytes) -> None:
    if not _KEY.fullmatch(name):
        raise UserError(
            f"{'.'.join(map(str, path))}: found {name!r}, expected letters, digits, '-', '_', '.'"
        )
    found.files[name] = base64.b64encode(content).decode()


def _leaves(value: Any, path: _Path) -> Iterator[tuple[_Path, Any]]:
    if isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from _leaves(getattr(value, name), (*path, info.alias or name))
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _leaves(each, (*path, name))
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from _leaves(each, (*path, number))
    else:
        yield path, value
