"""Talk to a cluster through kubectl, which knows every way of logging in to one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

import yaml

from tillstream.pipelines.errors import MissingToolError, UnavailableError, UserError
from tillstream.runners.k8s.names import OPERATOR_VERSION, OURS

__all__ = ["Kubectl"]

_DEADLINE_S = 60.0
_MANAGER = "tillstream"
_UNREACHABLE = ("Unable to connect", "was refused", "i/o timeout", "no such host", "TLS handshake timeout")
# How klog begins a line: E1122 03:50:11.123456 ...
_KLOG = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.")
_NO_OPERATOR = ("the server doesn't have a resource type", "no matches for kind")


class Kubectl:
    """Call the API server of one cluster.

    Args:
        context: of the kubeconfig; by default its current one.

    Raises:
        MissingToolError: if there is no kubectl.
    """

    def __init__(self, context: str | None = None) -> None:
        found = shutil.which("kubectl")
        if found is None:
            raise MissingToolError("found no kubectl on PATH: https://kubernetes.io/docs/tasks/tools/")
        self._command = [found, *([] if context is None else ["--context", context])]
        self._context = context

    def context(self) -> str:
        """Return the context of the kubeconfig; in-cluster where there is none."""
        if self._context is None:
            try:
                self._context = self._run(["config", "current-context"]).strip()
            except UserError:
                # A pod's own account needs no kubeconfig.
                self._context = "in-cluster"
        return self._context

    def apply(self, manifests: Iterable[dict[str, Any]], *, dry_run: bool = False) -> list[str]:
        """Apply manifests on the server's side, strictly, and return a line for each.

        Fields that others set stay theirs: a conflict is refused.

        Args:
            manifests: in order.
            dry_run: let the server say what would happen, and change nothing.

        Raises:
            UserError: if the server refuses one.
            UnavailableError: if it does not answer.
        """
        options = ["--server-side", f"--field-manager={_MANAGER}", "--validate=strict"]
        if dry_run:
            options.append("--dry-run=server")
        text = yaml.safe_dump_all(manifests, sort_keys=False)
        return self._run(["apply", *options, "-f", "-"], text).splitlines()

    def deployment(self, name: str, namespace: str) -> dict[str, Any] | None:
        """Return a FlinkDeployment; None where there is none."""
        return self.find("flinkdeployment", name, namespace)

    def find(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        """Return an object; None where there is none."""
        answer = self._run(["get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found"])
        found: dict[str, Any] | None = json.loads(answer) if answer.strip() else None
        return found

    def deployments(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return the FlinkDeployments of tillstream's in a namespace, by default in all."""
        where = ["-A"] if namespace is None else ["-n", namespace]
        answer = json.loads(self._run(["get", "flinkdeployments", *where, "-l", OURS, "-o", "json"]))
        return list(answer["items"])

    def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object and return it, as the server has it."""
        answer = self._run(["create", "-o", "json", "-f", "-"], json.dumps(manifest))
        return dict(json.loads(answer))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """Return an object."""
        return dict(json.loads(self._run(["get", kind, name, "-n", namespace, "-o", "json"])))

    def _run(self, arguments: list[str], stdin: str | None = None) -> str:
        try:
            answer = subprocess.run(
                [*self._command, *arguments],
                input=stdin,
                stdin=None if stdin is not None else subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_DEADLINE_S,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"kubectl {arguments[0]}: no answer after {_DEADLINE_S:.0f} s") from error
        if answer.returncode == 0:
            return answer.stdout
        # Its library for the API says the same five times, with time and line, before kubectl does.
        said = "\n".join(line for line in answer.stderr.splitlines() if not _KLOG.match(line)).strip()
        if any(each in said for each in _UNREACHABLE):
            raise UnavailableError(
                f"kubectl {arguments[0]}: {said}: check the context (localhost:8080 is asked where there "
                "is no kubeconfig) and the network"
            )
        if any(each in said for each in _NO_OPERATOR):
            raise UserError(
                f"kubectl {arguments[0]}: {said}: install the Flink Kubernetes Operator {OPERATOR_VERSION} "
                "in the cluster first (docs/kubernetes.md)"
            )
        raise UserError(f"kubectl {arguments[0]}: {said}")
