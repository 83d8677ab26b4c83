"""Keep the stack's passwords: random, each in a file of its own that only its owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["ensure_password", "read_password"]

_BYTES = 24


def ensure_password(file: Path) -> str:
    """Return the password in a file, made at random at the first call.

    It consists of letters, digits, `-` and `_`, so that it needs no quoting anywhere.
    """
    if not file.exists():
        part = file.with_name(f"{file.name}.part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(_BYTES))
        part.rename(file)
    return read_password(file)


def read_password(file: Path) -> str:
    """Return the password in a file."""
    return file.read_text(encoding="ascii").strip()
