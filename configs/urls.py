"""Check the addresses of services that are asked over HTTP."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from tillstream.configs import forms

__all__ = ["crosses_in_the_open", "http_parts"]


def http_parts(url: str, expected: str) -> SplitResult:
    """Return the parts of a URL with a host, http or https.

    Args:
        url: as a config has it.
        expected: what to say where it is something else.

    Raises:
        ValueError: where it is no such URL.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError(expected)
    return parts


def crosses_in_the_open(parts: SplitResult) -> bool:
    """Tell whether what is sent there can be read on the way: plain http to another host."""
    return parts.scheme == "http" and parts.hostname not in forms.LOOPBACK
