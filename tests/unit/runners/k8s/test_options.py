"""Flink and the operator know every option that is set; a misspelt one would be ignored in silence."""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.unit.runners.k8s.rendering import Manifests, kind
from tillstream.runners.local.service import package_folder

OPERATOR = Path(__file__).with_name("schemas") / "operator_options.txt"
# Its name is given by who sets it up.
REPORTER = "metrics.reporter.prom."


@functools.cache
def _flinks_own() -> bytes:
    """Return the classes of Flink's distribution that define options; their names are constants in them."""
    (jar,) = (package_folder("pyflink") / "lib").glob("flink-dist-*.jar")
    with zipfile.ZipFile(jar) as opened:
        names = [name for name in opened.namelist() if name.endswith("Options.class")]
        return b"\0".join(opened.read(name) for name in names)


def _known(option: str) -> bool:
    if option.startswith(("kubernetes.operator.", "job.autoscaler.")):
        return option in OPERATOR.read_text(encoding="utf-8").splitlines()
    if option.startswith(REPORTER):
        option = f"metrics.reporter.<name>.{option.removeprefix(REPORTER)}"
        return option.endswith((".factory.class", ".port"))
    # A constant is preceded by its length (Java Virtual Machine Specification, 4.4.7).
    return len(option).to_bytes(2, "big") + option.encode() in _flinks_own()


def test_every_option_is_known(manifests: Callable[[str], Manifests]) -> None:
    """By Flink 1.19's own classes, or the operator's list."""
    (deployment,) = kind(manifests("acme"), "FlinkDeployment").values()
    options = deployment["spec"]["flinkConfiguration"]
    assert [option for option in options if not _known(option)] == []


def test_a_misspelt_option_is_not() -> None:
    """The check can fail, also where the wrong name is part of a right one."""
    assert _known("state.checkpoints.dir")
    assert not _known("state.checkpoint.dir")
    assert not _known("state.checkpoints")
    assert not _known("kubernetes.operator.periodic.savepoint.intervall")
