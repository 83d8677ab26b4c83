"""Render the Helm chart: the one place where manifests are written down."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

import tillstream.k8s
from tillstream.pipelines.errors import MissingToolError, UserError

__all__ = ["CHART", "merged", "read_values", "render"]

CHART = Path(tillstream.k8s.__file__).with_name("chart") / "tillstream"
_DEADLINE_S = 60.0
# What others need comes first; the job last.
_ORDER = (
    *("Namespace", "ServiceAccount", "Role", "RoleBinding", "NetworkPolicy", "PodDisruptionBudget"),
    *("ConfigMap", "FlinkDeployment"),
)


def read_values(files: Iterable[Path]) -> dict[str, Any]:
    """Return what values files say together; a later one goes before.

    Raises:
        UserError: if one cannot be read, or is no map.
    """
    found: dict[str, Any] = {}
    for path in files:
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, yaml.YAMLError) as error:
            raise UserError(f"{path}: found {error}, expected values of the chart, YAML") from error
        if not isinstance(values, dict):
            raise UserError(f"{path}: found {type(values).__name__}, expected a map of values")
        found = merged(found, values)
    return found


def merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with others over them, as Helm does: maps are merged, all else is replaced."""
    found = dict(values)
    for name, value in over.items():
        there = found.get(name)
        both = isinstance(value, dict) and isinstance(there, dict)
        found[name] = merged(there, value) if both else value  # type: ignore[arg-type]
    return found


def render(values: Mapping[str, Any], *, name: str, namespace: str) -> list[dict[str, Any]]:
    """Return the manifests of one client, in the order in which they can be applied.

    Args:
        values: of the chart, over its own.
        name: of the release.
        namespace: that they are for.

    Raises:
        MissingToolError: if there is neither Helm nor its library for Python.
        UserError: if a value is missing or wrong, in Helm's words.
    """
    helm = shutil.which("helm")
    if helm is not None:
        texts = [_by_command(helm, values, name, namespace)]
    elif importlib.util.find_spec("helm_python") is not None:
        texts = _by_library(values, name, namespace)
    else:
        raise MissingToolError(
            "found no helm, expected Helm 3 or 4 on PATH (https://helm.sh/docs/intro/install), or its "
            "library: pip install 'tillstream[k8s]'"
        )
    found = [each for text in texts for each in yaml.safe_load_all(text) if each]
    return sorted(found, key=lambda each: (_ORDER.index(each["kind"]), each["metadata"]["name"]))


def _by_command(helm: str, values: Mapping[str, Any], name: str, namespace: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        json.dump(values, file)
        file.flush()
        command = [helm, "template", name, str(CHART), "--namespace", namespace, "--values", file.name]
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_DEADLINE_S)
    if answer.returncode != 0:
        raise _refused(answer.stderr)
    return answer.stdout


def _by_library(values: Mapping[str, Any], name: str, namespace: str) -> list[str]:
    import helm_python

    try:
        with helm_python.Chart.load(CHART) as chart:
            wanted = chart.merge_values(dict(values))
            chart.validate_schema(wanted)
            return list(chart.render(dict(values), name=name, namespace=namespace).values())
    except helm_python.HelmError as error:
        raise _refused(str(error)) from error


def _refused(text: str) -> UserError:
    # The last part is ours, or says what is wrong; before it Helm says where in the chart.
    return UserError(f"chart: {text.strip().removeprefix('Error: ')}")
