"""Name what a client has on Kubernetes."""

from __future__ import annotations

from tillstream.pipelines.errors import UserError

__all__ = ["GENERATION", "JOB", "OPERATOR_VERSION", "OURS", "namespace_of", "resource_of"]

# What the chart is written for, and its output checked against (tests/unit/runners/k8s/schemas).
OPERATOR_VERSION = "1.15"
# Annotations of a FlinkDeployment: digest of what it runs, and the launch's generation.
JOB = "tillstream.dev/job"
GENERATION = "tillstream.dev/generation"
# Selects all that is tillstream's. Not by managed-by, which Helm sets to its own name.
OURS = "app.kubernetes.io/name=tillstream"


def resource_of(client: str) -> str:
    """Return a client's name as a name of Kubernetes (RFC 1123).

    Raises:
        UserError: if it ends with _, which no such name can.
    """
    if client.endswith("_"):
        raise UserError(f"client {client}: found _ at its end, expected a letter or digit for Kubernetes")
    # No client's name has a dash, so no two meet.
    return client.replace("_", "-")


def namespace_of(client: str) -> str:
    """Return the namespace that a client has unless another one is asked for."""
    return f"tillstream-{resource_of(client)}"
