"""Write the manifest of a client's job, for a build."""

from __future__ import annotations

import hashlib
import inspect
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from tillstream.configs import ClientConfig
from tillstream.runners.jobs.encodings import ENCODINGS
from tillstream.runners.jobs.manifest import Manifest
from tillstream.transforms.flows import registry_of
from tillstream.transforms.lint.uids import uids_of

__all__ = ["describe"]


def describe(config: ClientConfig, proto: Any, runner_jars: Path, *, bounded: bool) -> Manifest:
    """Return the manifest of a client's job.

    Args:
        config: the client's.
        proto: its pipeline in Beam's portable form.
        runner_jars: folder of the Beam Flink runner's jars.
        bounded: whether it ends.
    """
    return Manifest(
        config=config.plain(),
        uids=uids_of(config, proto),
        transforms=_transforms(config),
        encodings=dict(ENCODINGS),
        libraries={
            "python": platform.python_version(),
            "tillstream": metadata.version("tillstream"),
            "apache-beam": metadata.version("apache-beam"),
            "flink-runner": _digest(",".join(sorted(jar.name for jar in runner_jars.glob("*.jar")))),
        },
        bounded=bounded,
    )


def _transforms(config: ClientConfig) -> dict[str, str]:
    registry = registry_of(config)
    names = sorted({entity.transform for entity in config.entities.values() if entity.transform is not None})
    found = {}
    for name in names:
        module = inspect.getmodule(registry.get(name))
        assert module is not None  # the registry takes classes of modules only
        found[name] = _digest(inspect.getsource(module))
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
