"""Be a kubectl that answers what a test says, and what a cluster would have of a launch."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

from tests.unit.runners.k8s.rendering import GENERATION, kind, rendered
from tillstream.runners.k8s import chart
from tillstream.runners.k8s.launching import ClusterLaunch

__all__ = ["Cluster", "deployment", "live_of"]

# Notes what it is asked, and answers with the next of the answers to that verb, or to that verb with its kind
# and name; the last one stays.
_PROGRAM = """#!{python}
import fcntl, json, sys
from pathlib import Path
here = Path(__file__).parent
arguments = [each for each in sys.argv[1:]]
if arguments[0] == "--context":
    arguments = arguments[2:]
said = sys.stdin.read()
lock = (here / "lock").open("w")
fcntl.flock(lock, fcntl.LOCK_EX)
with (here / "asked.jsonl").open("a") as log:
    log.write(json.dumps([sys.argv[1:], said]) + "\\n")
answers = json.loads((here / "answers.json").read_text())
names = [" ".join(arguments[:count]) for count in (3, 2, 1)]
mine = next(answers[name] for name in names if name in answers)
answer = mine.pop(0) if len(mine) > 1 else mine[0]
(here / "answers.json").write_text(json.dumps(answers))
if isinstance(answer, dict) and "refused" in answer:
    sys.stderr.write(answer["refused"])
    sys.exit(1)
sys.stdout.write(answer if isinstance(answer, str) else json.dumps(answer))
"""


class Cluster:
    """Be what kubectl talks to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "kubectl"
        program.write_text(_PROGRAM.format(python=sys.executable), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def answers(self, *made: dict[str, Any], **verbs: Any) -> None:
        """Say what it answers, a list for each verb, or in maps for each verb with kind and name."""
        told: dict[str, Any] = {"config": ["prod\n"], **verbs}
        for each in made:
            told |= each
        (self.folder / "answers.json").write_text(json.dumps(told), encoding="utf-8")

    def has(self, *launches: ClusterLaunch, **changes: Any) -> None:
        """Have these launches live, each stable; what is applied changes nothing of that."""
        told: dict[str, Any] = {"get": [""], "apply": ["flinkdeployment serverside-applied\n"]}
        for launch in launches:
            live, held = live_of(launch, **changes)
            told[f"get flinkdeployment {live['metadata']['name']}"] = [live]
            told[f"get configmap {held['metadata']['name']}"] = [held]
        self.answers(told)

    def asked(self) -> list[tuple[list[str], str]]:
        """Return arguments and standard input of each call."""
        lines = (self.folder / "asked.jsonl").read_text(encoding="utf-8").splitlines()
        return [(each[0], each[1]) for each in map(json.loads, lines)]

    def applied(self) -> list[list[dict[str, Any]]]:
        """Return the manifests of each call that applied some."""
        texts = [said for arguments, said in self.asked() if "apply" in arguments]
        return [list(chart.yaml.safe_load_all(text)) for text in texts]


def deployment(lifecycle: str = "STABLE", job: str = "RUNNING", **changes: Any) -> dict[str, Any]:
    """Return a FlinkDeployment as the operator leaves it."""
    status = {
        "lifecycleState": lifecycle,
        "observedGeneration": 2,
        "jobStatus": {"state": job, "jobId": "ab"},
    }
    annotations = {"tillstream.dev/job": "d-18", "tillstream.dev/generation": str(GENERATION)}
    metadata = {"name": "acme", "namespace": "apps", "generation": 2, "annotations": annotations}
    found = {"metadata": metadata, "spec": {"image": "i", "job": {"parallelism": 2}}, "status": status}
    return chart.merged(found, changes)


def live_of(launch: ClusterLaunch, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the FlinkDeployment of a launch as the operator leaves it, and the ConfigMap of its jar."""
    manifests = rendered(launch)
    ((_, wanted),) = kind(manifests, "FlinkDeployment").items()
    ((_, held),) = kind(manifests, "ConfigMap").items()
    operators = deployment(metadata=wanted["metadata"])
    is_idle = launch.suspended
    status = {"lifecycleState": "SUSPENDED", "jobStatus": {"state": "FINISHED"}} if is_idle else {}
    found = chart.merged({**operators, "spec": wanted["spec"]}, {"status": status})
    return chart.merged(found, changes), held
