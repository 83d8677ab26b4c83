"""Tell what is in a template, and what tells two of them apart."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tillstream.runners.flink.template import LIBRARIES, read_manifest

__all__ = ["differing", "facts_of", "lines_of"]

_SHOWN = ("transforms", "packages", "encodings", "libraries")


def facts_of(template: Path) -> dict[str, Any]:
    """Return all that there is to know of a template, as JSON values; raises UserError if it is none."""
    manifest = read_manifest(template)
    content = template.read_bytes()
    with zipfile.ZipFile(template) as jar:
        carried = [name for name in jar.namelist() if name.startswith(LIBRARIES)]
    return {
        "client": manifest.client,
        "digest": hashlib.sha256(content).hexdigest()[:12],
        "size_bytes": len(content),
        "fat": bool(carried),
        **dict(msgspec.to_builtins(manifest)),
    }


def lines_of(facts: dict[str, Any]) -> Iterator[str]:
    """Yield what `facts_of` found, for people."""
    kind = "fat, with the runner's jars" if facts["fat"] else "thin, for clusters with the runner's jars"
    yield f"client      {facts['client']}{', bounded' if facts['bounded'] else ''}"
    yield f"digest      {facts['digest']}"
    yield f"size        {facts['size_bytes'] / 1000:.0f} KB, {kind}"
    yield f"code        {facts['code'] or 'none of the client carried'}"
    for title in _SHOWN:
        for name, value in facts[title].items():
            yield f"{title:<11} {name} {value}"
            title = ""  # noqa: PLW2901  (said once)
    for label, states in facts["uids"]["stages"].items():
        if states:
            yield f"state       {label}: {', '.join(states)}"
    for name, variable in facts["variables"].items():
        yield f"variable    {name}: {_told(variable)}"


def _told(variable: dict[str, Any]) -> str:
    places = ", ".join(variable["places"])
    if variable.get("is_secret"):
        return f"a secret, looked up where the job runs ({places})"
    value, default = variable.get("value"), variable.get("default")
    if not variable.get("is_open", True):
        return f"fixed at {value!r} ({places})"
    if value is not None:
        return f"{value!r} unless a launch says otherwise ({places})"
    return f"a launch must say ({places})" if default is None else f"default {default!r} ({places})"


def differing(before: dict[str, Any], now: dict[str, Any]) -> list[dict[str, Any]]:
    """Return where two templates differ, as `facts_of` found them: place, before, now; None for nothing.

    Args:
        before: of one.
        now: of the other.
    """
    ignored = {"digest", "size_bytes", "version"}
    one, other = (
        dict(_leaves({name: value for name, value in each.items() if name not in ignored}, ""))
        for each in (before, now)
    )
    return [
        {"place": place, "before": one.get(place), "now": other.get(place)}
        for place in sorted({*one, *other})
        if one.get(place) != other.get(place)
    ]


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{place}/{name}")
    else:
        yield place, value
