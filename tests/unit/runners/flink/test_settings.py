"""What a config says of checkpoints and state reaches the job, above the cluster's own settings."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.flink.options import job_settings
from tillstream.runners.flink.template import MANIFEST_ENTRY, launchable
from tillstream.runners.jobs.manifest import Manifest
from tillstream.transforms.lint.uids import Uids


def _config(**flink: Any) -> ClientConfig:
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "b:9092"}},
            "entities": {"orders": {"topic": "t", "key": ["id"], "sinks": ["lake"]}},
            "sinks": {"lake": {"type": "files", "path": "/lake"}},
            "flink": flink,
        }
    )


def test_a_failed_checkpoint_restarts_nothing_by_itself() -> None:
    """By default state is on the heap, whole in each checkpoint, and a few checkpoints may fail."""
    assert job_settings(_config()) == {
        "state.backend.type": "hashmap",
        "execution.buffer-timeout.interval": "0 ms",
        "state.backend.rocksdb.memory.fixed-per-slot": "64 mb",
        "state.backend.incremental": "false",
        "execution.checkpointing.unaligned.enabled": "false",
        "execution.checkpointing.timeout": "600 s",
        "execution.checkpointing.min-pause": "0 ms",
        "execution.checkpointing.tolerable-failed-checkpoints": "5",
    }


@pytest.mark.parametrize(("asked", "incremental"), [(True, "true"), (False, "false")])
def test_rocksdb_writes_what_has_changed(asked: bool, incremental: str) -> None:  # noqa: FBT001
    """Unless the config says that checkpoints are whole."""
    found = job_settings(_config(state_backend="rocksdb", incremental_checkpoints=asked))
    assert (found["state.backend.type"], found["state.backend.incremental"]) == ("rocksdb", incremental)


def test_a_launch_may_differ_from_the_build(tmp_path: Path) -> None:
    """The settings in the jar of a launch are those of the launch."""
    manifest = Manifest(_config().plain(), Uids("acme", {}, {}, {}, {}), {}, {}, {})
    template, jar = tmp_path / "template.jar", tmp_path / "launch.jar"
    with zipfile.ZipFile(template, "w") as out:
        out.writestr(MANIFEST_ENTRY, manifest.encode())
    launchable(template, jar, LaunchParameters(1, 1, {"/flink/checkpoint_timeout_s": 42}))
    with zipfile.ZipFile(jar) as found:
        lines = found.read("TILLSTREAM/flink.properties").decode().splitlines()
    assert lines == sorted(lines)
    assert "execution.checkpointing.timeout=42 s" in lines
