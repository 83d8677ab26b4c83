"""A job says what it is made of, in a form that the cluster shows."""

from __future__ import annotations

import json

import msgspec
import pytest

from tillstream.configs.launching import LaunchParameters
from tillstream.runners.jobs.manifest import JobInfo, Manifest, read_agent
from tillstream.transforms.lint.uids import Uids

CONFIG = {
    "client": "acme",
    "source": {"kafka": {"bootstrap_servers": "b:9092"}},
    "entities": {"things": {"topic": "t", "key": ["id"], "sinks": ["out"]}},
    "sinks": {"out": {"type": "files", "path": "/out"}},
}
MANIFEST = Manifest(CONFIG, Uids("acme", {}, {}, {}, {}), {"a.b@1.0.0": "12"}, {"offset": 1}, {"python": "3"})
INFO = JobInfo(MANIFEST, LaunchParameters(5, 2, {"/source/kafka/bootstrap_servers": "c:9092"}))


def test_a_job_s_info_travels() -> None:
    """What the cluster shows gives the manifest back, and the config as the launch has it."""
    found = read_agent(INFO.agent())
    assert found == INFO
    assert found is not None
    assert found.config().kafka.bootstrap_servers == "c:9092"


@pytest.mark.parametrize("agent", [None, "Apache_Beam_SDK_for_Python/2.62.0"])
def test_other_jobs_have_none(agent: str | None) -> None:
    """A job that tillstream did not launch is no error."""
    assert read_agent(agent) is None


@pytest.mark.parametrize("agent", ["tillstream !", "tillstream eJw=", "tillstream eJwDAAAAAAE="])
def test_a_spoiled_info_is_refused(agent: str) -> None:
    """What cannot be read is told, not taken for a job of somebody else."""
    with pytest.raises(ValueError, match="expected one of tillstream"):
        read_agent(agent)


def test_the_digest_changes_with_any_part() -> None:
    """Equal manifests have equal digests, others not."""
    assert Manifest.decode(MANIFEST.encode()).digest == MANIFEST.digest
    other = Manifest(CONFIG, MANIFEST.uids, {"a.b@1.0.0": "13"}, {"offset": 1}, {"python": "3"})
    assert other.digest != MANIFEST.digest
    with pytest.raises(ValueError, match="found version 2"):
        Manifest.decode(msgspec.structs.replace(MANIFEST, version=2).encode())


def test_a_manifest_of_before_is_read() -> None:
    """What was appended has defaults: nothing carried, no packages, no variables."""
    older = json.loads(MANIFEST.encode())
    for name in ("code", "packages", "variables"):
        del older[name]
    found = Manifest.decode(json.dumps(older).encode())
    assert (found.code, found.packages, found.variables) == ("", {}, {})
    assert found.uids == MANIFEST.uids
