"""Tell what differs between the FlinkDeployment that is live and the one that would be applied."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from tillstream.configs.open_places import pointer_of
from tillstream.runners.jobs.planned import Change, Effect
from tillstream.runners.k8s.deploying import job_of

__all__ = ["deployment_changes"]

# Told by the config, or of no effect by themselves (the operator's JobSpec: DiffType.IGNORE).
_TOLD_ELSEWHERE = re.compile(
    r"/job/(parallelism|initialSavepointPath|savepointRedeployNonce|allowNonRestoredState|upgradeMode)"
)
# The operator reads them itself, and restarts nothing for them (AbstractFlinkSpec).
_OPERATORS = re.compile(r"/flinkConfiguration/kubernetes\.operator\..*")
_STATE = "/job/state"
# Flink hides what it takes for secrets by such names too (GlobalConfiguration).
_SECRET = re.compile(
    r".*/env(/.*)?|/flinkConfiguration/.*(password|secret|token|credential|auth|key|jaas|header).*",
    re.IGNORECASE,
)
_SHOWN_MAX = 120
_Path = tuple[str | int, ...]


def deployment_changes(live: dict[str, Any], wanted: dict[str, Any]) -> Iterator[Change]:
    """Yield what differs between the specs of two FlinkDeployments, beside the job in their jars.

    Args:
        live: as the cluster has it.
        wanted: as it would be applied.
    """
    for path, was, now in _differences(_spec(live), _spec(wanted), ()):
        pointer = pointer_of(path)
        if not _TOLD_ELSEWHERE.fullmatch(pointer):
            effect: Effect = "none" if _OPERATORS.fullmatch(pointer) else "restart"
            note = "state and position are kept" if pointer == _STATE else ""
            yield Change("deployment", pointer, _shown(pointer, was), _shown(pointer, now), effect, note)


def _spec(deployment: dict[str, Any]) -> Any:
    """Return a spec without the name of the ConfigMap that the jar lies in, which each launch has anew."""
    text = json.dumps(deployment["spec"])
    job = job_of(deployment)
    return json.loads(text.replace(f"-job-{job}", "-job") if job else text)


def _differences(was: Any, now: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any]]:
    if was == now:
        return
    if isinstance(was, dict) and isinstance(now, dict):
        for name in [*was, *(name for name in now if name not in was)]:
            yield from _differences(was.get(name), now.get(name), (*path, name))
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (old, new) in enumerate(zip(was, now, strict=True)):
            yield from _differences(old, new, (*path, number))
    # An empty list or map is as good as none.
    elif was or now:
        yield path, was, now


def _shown(pointer: str, value: Any) -> Any:
    """Return what is short, and can be no secret."""
    if value is None or isinstance(value, bool | int | float):
        return value
    is_short = isinstance(value, str) and len(value) <= _SHOWN_MAX
    return value if is_short and not _SECRET.fullmatch(pointer) else "..."
