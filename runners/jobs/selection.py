"""Find the configs of the clients that a command is for: named, all of a folder, or those with labels."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError
from tillstream.runners.clients import config_path, places

if TYPE_CHECKING:
    from tillstream.configs import ClientConfig

__all__ = ["LOADING", "Chosen", "select"]

# Held by who imports transforms and builds of them: clients' modules may have one name in several folders,
# and Beam keeps what it builds in globals.
LOADING = threading.RLock()


@dataclass(frozen=True)
class Chosen:
    """Name a client that was chosen; its config may yet be wrong.

    Attributes:
        client: its name, as far as the file tells.
        path: of its config.
    """

    client: str
    path: Path

    def load(self) -> ClientConfig:
        """Return its config as it is; fast, for what starts nothing.

        Raises:
            ConfigError: all that is wrong with the file itself.
        """
        from tillstream.configs.loader import load

        return load(self.path)

    def check(self) -> ClientConfig:
        """Return its config with the contracts that its transforms bring; imports Beam where it has some.

        Raises:
            ConfigError: all that is wrong with the file or its transforms.
        """
        from tillstream.configs.cli import check

        with LOADING:
            return check(self.path)


def select(
    clients: Sequence[str] = (),
    *,
    everyone: bool = False,
    labels: Sequence[str] = (),
    folder: Path | None = None,
) -> list[Chosen]:
    """Return the clients that are meant, each once, sorted by name unless they were named.

    Args:
        clients: names, or paths of configs.
        everyone: all that the folder holds.
        labels: `key=value`; those that have all of them.
        folder: where configs lie; by default the first with some of those where names are looked for.

    Raises:
        UserError: if nothing is asked for, both names and a group are, or nobody is found.
    """
    if clients and (everyone or labels):
        raise UserError("found CLIENT beside --all or --label, expected either names or a group")
    if clients:
        return list(dict.fromkeys(_named(client, folder) for client in clients))
    if not everyone and not labels:
        raise UserError("found no client, expected CLIENT, --all, or --label KEY=VALUE")
    wanted = dict(map(_pair, labels))
    home = folder or _home()
    found = [
        _chosen(path, data)
        for path, data in _configs(home, named=folder is not None)
        if wanted.items() <= _labels(data).items()
    ]
    if not found:
        what = " ".join(f"--label {label}" for label in labels) or "client"
        raise UserError(f"{home}: found no config for {what}, expected at least one *.yaml there")
    return sorted(found, key=lambda each: (each.client, each.path))


def _named(client: str, folder: Path | None) -> Chosen:
    path = config_path(client, folder)
    return _chosen(path, _read(path))


def _chosen(path: Path, data: Mapping[str, Any]) -> Chosen:
    named = data.get("client")
    return Chosen(named if isinstance(named, str) else path.stem, path)


def _pair(label: str) -> tuple[str, str]:
    key, _, value = label.partition("=")
    if not re.fullmatch(forms.LABEL, key) or not re.fullmatch(forms.LABEL_VALUE, value):
        raise UserError(f"--label: found {label!r}, expected KEY=VALUE, such as tier=gold")
    return key, value


def _labels(data: Mapping[str, Any]) -> dict[str, str]:
    found = data.get("labels")
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}


def _home() -> Path:
    for place in places():
        if _configs(place, named=False):
            return place
    raise UserError(
        f"found no config in {', '.join(map(str, places()))}, expected one: name it with --folder"
    )


def _configs(folder: Path, *, named: bool) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the configs of a folder; in one that was not named, other files may lie beside them."""
    if not folder.is_dir():
        if named:
            raise UserError(f"--folder: found no folder {folder}, expected one with configs of clients")
        return []
    read = [(path, _read(path)) for path in sorted(folder.glob("*.yaml"))]
    return [(path, data) for path, data in read if named or "client" in data]


def _read(path: Path) -> Mapping[str, Any]:
    """Return what a file says at its top; what is wrong with it is said when it is loaded."""
    try:
        data = yaml.load(path.read_bytes(), yaml.CSafeLoader)
    except (OSError, yaml.YAMLError):
        return {}
    return data if isinstance(data, dict) else {}
