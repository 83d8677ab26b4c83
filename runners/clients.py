"""Find a client's config by the client's name."""

from __future__ import annotations

import re
from pathlib import Path

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError

__all__ = ["config_path", "places"]


def places() -> list[Path]:
    """Return the folders in which configs are looked for, the nearest first; the shipped ones come last."""
    import tillstream.configs

    shipped = Path(tillstream.configs.__file__).with_name("clients")
    return [Path(), Path("clients"), Path("configs", "clients"), shipped]


def config_path(client: str, folder: Path | None = None) -> Path:
    """Return the config that is meant: a file, or `NAME.yaml` here, in `clients/`, or among the shipped ones.

    Args:
        client: a path, or a client's name.
        folder: the only one in which a name is looked for.

    Raises:
        UserError: if there is none, naming where it was looked for.
    """
    path = Path(client)
    if path.suffix or len(path.parts) != 1 or not re.fullmatch(forms.CLIENT, client):
        return path
    looked = places() if folder is None else [folder]
    for place in looked:
        found = place / f"{client}.yaml"
        if found.is_file():
            return found
    raise UserError(
        f"client {client!r}: found no {client}.yaml in {', '.join(map(str, looked))}, expected its config "
        "there, or its path in place of the name"
    )
