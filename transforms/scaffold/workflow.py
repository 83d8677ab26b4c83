"""Write the workflow by which CI checks, plans and deploys a client."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from tillstream.configs import forms
from tillstream.pipelines.errors import UserError
from tillstream.runners.clients import places

__all__ = ["WORKFLOWS", "new_workflow", "workflow"]

WORKFLOWS = Path(".github", "workflows")
_CLIENT = "acme"


def workflow(client: str, config: str) -> str:
    """Return the text of a client's workflow, in the form of GitHub Actions.

    Args:
        client: its name.
        config: path of its config in the repository.

    Raises:
        UserError: if that is no client's name.
    """
    if not re.fullmatch(forms.CLIENT, client):
        raise UserError(f"found {client!r}, expected a client's name: {forms.WORDS[forms.CLIENT]}")
    folder = files("tillstream.transforms.scaffold").joinpath("templates")
    text = folder.joinpath("workflow.yaml").read_text(encoding="utf-8")
    # The path of the config may hold the word that stands for the client.
    before, line, after = text.partition(f"CONFIG: {_CLIENT}.yaml")
    named = [re.sub(rf"\b{_CLIENT}\b", client, part) for part in (before, after)]
    return line.replace(f"{_CLIENT}.yaml", config).join(named)


def new_workflow(client: str, config: str | None, folder: Path) -> Path:
    """Write a client's workflow into a repository, and return its path.

    Args:
        client: its name.
        config: path of its config in the repository; None for where commands find it there by the client's
            name, else CLIENT.yaml.
        folder: of the repository.

    Raises:
        UserError: if there is one already, or it cannot be written.
    """
    path = folder / WORKFLOWS / f"{client}.yaml"
    text = workflow(client, config or _config_in(folder, client))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise UserError(f"found {path}, expected none: remove it to have it written anew") from None
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}: expected a folder that can be written"
        ) from error
    return path


def _config_in(folder: Path, client: str) -> str:
    found = (place / f"{client}.yaml" for place in places() if not place.is_absolute())
    return next((path.as_posix() for path in found if (folder / path).is_file()), f"{client}.yaml")
