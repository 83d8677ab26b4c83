"""Write the manifest of a client's job, for a build."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Collection, Mapping
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from tillstream.configs import ClientConfig
from tillstream.configs.variables import Variable
from tillstream.runners.jobs.code import code_digest, packages_in
from tillstream.runners.jobs.encodings import ENCODINGS
from tillstream.runners.jobs.manifest import Manifest
from tillstream.runners.jobs.meaning import contracts_of_transforms, totals_of
from tillstream.transforms.flows import registry_of
from tillstream.transforms.lint.uids import uids_of
from tillstream.transforms.registry import ENTRY_POINTS

__all__ = ["describe"]


def describe(
    config: ClientConfig,
    proto: Any,
    runner_jars: Path,
    *,
    bounded: bool,
    code: bytes = b"",
    variables: Mapping[str, Variable] | None = None,
) -> Manifest:
    """Return the manifest of a client's job.

    Args:
        config: the client's.
        proto: its pipeline in Beam's portable form.
        runner_jars: folder of the Beam Flink runner's jars.
        bounded: whether it ends.
        code: what it carries of the client's own, as `pack` returns it.
        variables: of the config, by name.
    """
    modules = _modules(config)
    return Manifest(
        config=config.plain(),
        uids=uids_of(config, proto),
        transforms={name: _digest_of(module, code) for name, module in modules.items()},
        encodings=dict(ENCODINGS),
        libraries={
            "python": platform.python_version(),
            "tillstream": metadata.version("tillstream"),
            "apache-beam": metadata.version("apache-beam"),
            "flink-runner": _digest(",".join(sorted(jar.name for jar in runner_jars.glob("*.jar")))),
        },
        bounded=bounded,
        code=code_digest(code),
        packages=_packages({module.__name__ for module in modules.values()}),
        variables=dict(variables or {}),
        contracts=contracts_of_transforms(config),
        totals=totals_of(config),
    )


def _modules(config: ClientConfig) -> dict[str, ModuleType]:
    """Return the module of each transform that the config names."""
    registry = registry_of(config)
    names = sorted({entity.transform for entity in config.entities.values() if entity.transform is not None})
    found = {name: inspect.getmodule(registry.get(name)) for name in names}
    # The registry takes classes of modules only.
    return {name: module for name, module in found.items() if module is not None}


def _digest_of(module: ModuleType, code: bytes) -> str:
    """Return the digest of a transform's code; what is carried belongs together."""
    package = module.__name__.partition(".")[0]
    return code_digest(code) if package in packages_in(code) else _digest(inspect.getsource(module))


def _packages(modules: Collection[str]) -> dict[str, str]:
    """Return the installed packages that announce these modules, with their versions."""
    found = {}
    for point in metadata.entry_points(group=ENTRY_POINTS):
        if point.module in modules and point.dist is not None:
            found[point.dist.name] = point.dist.version
    return dict(sorted(found.items()))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
