"""Keep the password of a capture's role in a file that only its owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tillstream.pipelines.errors import UserError

__all__ = ["new_password", "read_password", "write_password"]

_BYTES = 24


def new_password() -> str:
    """Return a random password of letters, digits, `-` and `_`, which needs no quoting anywhere."""
    return secrets.token_urlsafe(_BYTES)


def read_password(file: Path) -> str | None:
    """Return the password in a file; None where there is no such file.

    Raises:
        UserError: if the file cannot be read.
    """
    try:
        return file.read_text(encoding="ascii").strip() or None
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"capture.role_password_file: cannot read {file}: {type(error).__name__}") from error


def write_password(file: Path, password: str) -> None:
    """Write a file whole or not at all, for its owner alone.

    Raises:
        UserError: if the folder cannot be written to.
    """
    part = file.with_name(f"{file.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(password)
        part.replace(file)
    except OSError as error:
        raise UserError(
            f"capture.role_password_file: cannot write {file}: {error.strerror}: expected a folder "
            "that this command writes and Connect reads"
        ) from error
