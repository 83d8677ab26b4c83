"""Keep the stack's passwords: random, each in a file of its own that only its owner reads."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

__all__ = ["ensure_password", "read_password"]

_BYTES = 24


def ensure_password(file: Path) -> str:
    """Return the password in a file, made at random at the first call.

    It consists of letters, digits, `-` and `_`, so that it needs no quoting anywhere. Callers that come
    at the same time all get the same one.
    """
    if not file.exists():
        # Readable for its owner alone.
        descriptor, part = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(secrets.token_urlsafe(_BYTES))
        try:
            # A link, unlike a renaming, never takes the place of what another caller put there meanwhile.
            with contextlib.suppress(FileExistsError):
                os.link(part, file)
        finally:
            Path(part).unlink()
    return read_password(file)


def read_password(file: Path) -> str:
    """Return the password in a file."""
    return file.read_text(encoding="ascii").strip()
