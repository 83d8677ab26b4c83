"""The ids of stages come out of a jar as Flink makes them: compared with those that it has written down."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from google.protobuf import json_format

from tests.unit.runners.k8s.rendering import AGGREGATE, READ, TRANSFORM, WRITE, config_of, template_of
from tillstream.runners.flink.checkpoints import read_checkpoint
from tillstream.runners.flink.jar import pipeline_proto
from tillstream.runners.flink.stage_ids import operator_id, stages_in
from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
from tillstream.runners.jobs.manifest import Manifest
from tillstream.transforms.lint.uids import uids_of

RECORDED = Path(__file__).with_name("recorded") / "checkpoint.zip"


def test_a_recorded_checkpoint_has_the_same_ids(tmp_path: Path) -> None:
    """What Flink 1.19.3 wrote of a job is found by the names of that job's steps."""
    with zipfile.ZipFile(RECORDED) as recorded:
        recorded.extractall(tmp_path / "chk-1")
    stages = stages_in(template_of(config_of("acme"), tmp_path / "acme.jar", READ, TRANSFORM, WRITE))
    assert set(read_checkpoint(str(tmp_path / "chk-1")).held()) == set(stages)
    assert sorted(stages.values()) == ["ReadChanges", "TransformChanges", "WriteSinks"]


def test_a_built_pipeline_has_the_ids_that_beams_runner_gives(tmp_path: Path) -> None:
    """As Beam 2.62 has fused and Flink 1.19.3 has hashed it: each stage that keeps state."""
    config = config_of("acme")
    proto = pipeline_proto(config, bounded=False)
    jar = tmp_path / "acme.jar"
    with zipfile.ZipFile(jar, "w") as out:
        out.writestr(MANIFEST_ENTRY, Manifest(config.plain(), uids_of(config, proto), {}, {}, {}).encode())
        out.writestr(PIPELINE_ENTRY, json_format.MessageToJson(proto))
    assert stages_in(jar) == {
        "d2d48e2b0ac709b14a5baf7b646817c2": "Ticks",
        "0def005a15a8b885fa4b18458c916854": "ReadChanges",
        "838f3036d9f1d2e624679e78876a437d": "TransformChanges",
        "8cd91c4d5b2a68e46b481c28517f5b96": "JoinLookups/Resolve",
        "d95edcd5b6945046b733dcc8b81ce471": "Aggregate",
        "0887678120f02391653c87149f0c8d39": "JoinLookups/Join/ParDo(JoinRows)",
        "2dca9f96f37a801d1a05a9cf42704cd1": "WriteSinks",
    }


@pytest.mark.parametrize(
    ("uid", "found"),
    [
        # As Guava's Hashing.murmur3_128(0) has them: no block, one of each length of the rest.
        ("", "0" * 32),
        ("Clock", "0016e54064646e6a9d6aaf74cb789789"),
        ("unzipped_flatten:0", "882015b5a57f305ad7a94c2d8897f2c6"),
        ("5Ticks.None/beam:env:process:v1:0", "0def005a15a8b885fa4b18458c916854"),
    ],
)
def test_a_uid_is_hashed_as_flink_does(uid: str, found: str) -> None:
    """Murmur3, 128 bits, of UTF-8."""
    assert operator_id(uid) == found


def test_stages_of_one_input_are_told_apart_by_nobody(tmp_path: Path) -> None:
    """They have one name for both, so that none of them passes for the other."""
    twin = type(AGGREGATE)("Other/Step", AGGREGATE.taken, ("other",))
    stages = stages_in(template_of(config_of("acme"), tmp_path / "acme.jar", AGGREGATE, twin))
    assert list(stages.values()) == ["Aggregate, Other"]


@pytest.mark.parametrize("content", [b"", b"{}", json.dumps({"components": 1}).encode()])
def test_what_is_no_template_is_told(content: bytes, tmp_path: Path) -> None:
    """By what is missing."""
    jar = tmp_path / "some.jar"
    jar.write_bytes(content)
    with pytest.raises(ValueError, match="expected a jar of 'tillstream template build'"):
        stages_in(jar)
    with zipfile.ZipFile(jar, "w") as out:
        out.writestr(PIPELINE_ENTRY, content)
    with pytest.raises(ValueError):  # noqa: PT011  (of JSON, or of the manifest)
        stages_in(jar)
