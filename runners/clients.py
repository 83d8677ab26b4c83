"""Find a client's config by the client's name."""

from __future__ import annotations

import re
from pathlib import Path

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError

__all__ = ["config_path"]


def config_path(client: str) -> Path:
    """Return the config that is meant: a file, or `NAME.yaml` here, in `clients/`, or among the shipped ones.

    Raises:
        UserError: if there is none, naming where it was looked for.
    """
    path = Path(client)
    if path.suffix or len(path.parts) != 1 or not re.fullmatch(forms.CLIENT, client):
        return path
    import tillstream.configs

    shipped = Path(tillstream.configs.__file__).with_name("clients")
    places = [Path(), Path("clients"), Path("configs", "clients"), shipped]
    for place in places:
        found = place / f"{client}.yaml"
        if found.is_file():
            return found
    raise UserError(
        f"client {client!r}: found no {client}.yaml in {', '.join(map(str, places))}, expected its config "
        "there, or its path in place of the name"
    )
