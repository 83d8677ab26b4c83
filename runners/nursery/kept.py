"""Choose the environment variables that a process is left with. All starts wait for this import."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["BOUNDS_VARIABLE", "bare", "keep"]

BOUNDS_VARIABLE = "TILLSTREAM_BOUNDS"
_SYSTEM = frozenset(
    {
        *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "HOSTNAME", "PWD"),
        *("VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)
_SYSTEM_PREFIXES = ("LC_", "PYTHON", "GRPC_", "MALLOC_", "OMP_", "OPENBLAS_")
_OURS = "TILLSTREAM_"
# By which a local stack finds all that belongs to it.
_STACK = "TILLSTREAM_STACK"


def keep(variables: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return what is left to a client's processes: the system's variables, ours, and what its config names.

    Args:
        variables: names beside the system's; a last `*` stands for any end.
        given: the environment.
    """
    named = frozenset(variables)
    prefixes = (*_SYSTEM_PREFIXES, _OURS, *(name[:-1] for name in named if name.endswith("*")))
    return {
        name: value
        for name, value in given.items()
        if name in _SYSTEM or name in named or name.startswith(prefixes)
    }


def bare(given: Mapping[str, str]) -> dict[str, str]:
    """Return what is left to a process that serves all clients: no secret, and nothing of one job."""
    return {
        name: value
        for name, value in given.items()
        if name in _SYSTEM or name == _STACK or name.startswith(_SYSTEM_PREFIXES)
    }
