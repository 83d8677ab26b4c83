"""The template is the one pipeline of every client."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.pipelines.errors import MissingToolError, TransformError
from tillstream.pipelines.template import build
from tillstream.runners.flink.jar import pipeline_proto, write_jar
from tillstream.runners.flink.options import harness_environment, job_options
from tillstream.runners.flink.template import launchable


def config(**changes: Any) -> ClientConfig:
    """Return a client of one table that goes to Postgres."""
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "127.0.0.1:9092"}},
            "entities": {
                "orders": {"topic": "t", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["w"]}
            },
            "sinks": {
                "w": {"type": "postgres", "host": "h", "database": "d", "user": "u", "password": "${PW}"}
            },
            **changes,
        }
    )


@pytest.fixture(scope="module")
def proto() -> Any:
    """Return the streaming pipeline in Beam's portable form."""
    return pipeline_proto(config(), bounded=False)


def test_labels_are_pinned(proto: Any) -> None:
    """State is found again by these labels: changing one loses every savepoint."""
    names = {each.unique_name for each in proto.components.transforms.values()}
    assert {name for name in names if "/" not in name and not name.startswith("ref_")} == {
        "Clock",
        "CollectBatches",
        "CollectDeadLetters",
        "ReadChanges",
        "Ticks",
        "TransformChanges",
        "WriteDeadLetters",
        "WriteSinks",
    }


def test_state_is_keyed_and_named(proto: Any) -> None:
    """Only these have state, under names that stay: offsets, shards, transforms, held keys, sinks."""
    steps = [
        each for each in proto.components.transforms.values() if each.spec.urn == "beam:transform:pardo:v1"
    ]
    states = {(step.unique_name, name) for step in steps for name in _pardo(step).state_specs}
    assert states == {
        ("ReadChanges/ParDo(ReadChanges)", "offset"),
        ("TransformChanges/ParDo(TransformChanges)", "shard_head"),
        ("TransformChanges/ParDo(TransformChanges)", "shard_log"),
        ("TransformChanges/ParDo(TransformChanges)", "client_head"),
        ("TransformChanges/ParDo(TransformChanges)", "client_log"),
        ("TransformChanges/ParDo(TransformChanges)", "held_head"),
        ("TransformChanges/ParDo(TransformChanges)", "held_log"),
        ("WriteSinks", "keyed"),
    }


def test_the_guarantee_decides_on_stable_input() -> None:
    """Only exactly-once waits for checkpoints; it needs a generation, and a bounded run has none."""
    asked = {}
    for guarantee in ("exactly-once", "at-least-once"):
        client = config(delivery={"guarantee": guarantee})
        for bounded in (False, True):
            built = pipeline_proto(client, bounded=bounded)
            write = [
                each for each in built.components.transforms.values() if each.unique_name == "WriteSinks"
            ]
            asked[guarantee, bounded] = [_pardo(each).requires_stable_input for each in write]
    assert asked.pop(("exactly-once", False)) == [True]
    assert all(each == [False] for each in asked.values())
    with pytest.raises(ValueError, match="generation: found none"):
        build(beam.Pipeline(), config(), bounded=False)


def _pardo(transform: Any) -> Any:
    from apache_beam.portability.api import beam_runner_api_pb2

    payload = beam_runner_api_pb2.ParDoPayload()
    payload.ParseFromString(transform.spec.payload)
    return payload


def _input_of_the_sinks(proto: Any) -> str:
    (write,) = (each for each in proto.components.transforms.values() if each.unique_name == "WriteSinks")
    (read,) = write.inputs.values()
    return str(proto.components.pcollections[read].unique_name)


def test_what_waits_for_sinks_is_found_whatever_is_added(proto: Any) -> None:
    """Flink finds a stage's state by its input's name, so a first later stage must not change that."""
    view = {"from": "orders", "key": ["hour"], "transform": "acme.sales_per_store_and_hour@1.0.0"}
    entities = config().plain()["entities"]
    view |= {"key": ["store_id", "hour"], "sinks": ["w"]}
    more = pipeline_proto(config(entities={**entities, "sales": view}), bounded=False)
    assert any(each.unique_name == "Aggregate" for each in more.components.transforms.values())
    assert _input_of_the_sinks(more) == _input_of_the_sinks(proto)


def test_elements_are_bytes_between_stages(proto: Any) -> None:
    """No element crosses a stage boundary pickled."""
    coders = {coder.spec.urn for coder in proto.components.coders.values()}
    assert not {urn for urn in coders if "pickled" in urn}


def test_checkpointing_reaches_beam() -> None:
    """The interval goes to the runner too, not only to Flink, and a bounded job has none."""
    options = job_options(config(delivery={"checkpoint_interval_ms": 250}), bounded=False)
    assert options["checkpointing_interval"] == 250
    assert options["finish_bundle_before_checkpointing"] is True
    assert job_options(config(), bounded=True)["checkpointing_interval"] == -1


@pytest.mark.parametrize(
    ("delivery", "flink", "poll_ms", "bundle_ms"),
    [
        ({}, {}, 5, 50),
        ({}, {}, 50, 100),
        ({"checkpoint_interval_ms": 3000}, {}, 1000, 2000),
        ({"checkpoint_interval_ms": 3000}, {}, 60_000, 3000),
        ({"checkpoint_interval_ms": 3000}, {"unaligned_checkpoints": True}, 1000, 400),
        ({"guarantee": "at-least-once"}, {}, 50, 50),
        ({"guarantee": "at-least-once"}, {}, 1000, 400),
    ],
)
def test_bundles_of_slow_polls_stay_open_longer(
    delivery: dict[str, Any], flink: dict[str, Any], poll_ms: int, bundle_ms: int
) -> None:
    """Looking at their clocks costs an idle job; rows that wait for a checkpoint wait for no bundle."""
    source = {"kafka": {"bootstrap_servers": "b:9092", "poll_interval_ms": poll_ms}}
    made = config(source=source, delivery=delivery, flink=flink)
    assert job_options(made, bounded=False)["max_bundle_time_mills"] == bundle_ms
    assert job_options(made, bounded=True)["max_bundle_time_mills"] == max(50, int(0.4 * poll_ms))


def test_the_memory_limit_reaches_the_harness() -> None:
    """`flink.memory_mb_max` becomes the environment of the harness."""
    variable = "TILLSTREAM_HARNESS_MEMORY_MB"
    assert harness_environment(config(flink={"memory_mb_max": 512}))[variable] == "512"
    assert harness_environment(config())[variable] == "2048"
    assert variable not in harness_environment(config(flink={"memory_mb_max": None}))


def test_with_two_processes_the_reading_stages_have_one_of_their_own() -> None:
    """`flink.processes` parts the environments, and leaves labels and URNs, which uids are made of, alone."""
    proto = pipeline_proto(config(flink={"processes": 2}), bounded=False)
    environments = proto.components.environments
    named = {
        transform.unique_name.partition("/")[0]: transform.environment_id
        for transform in proto.components.transforms.values()
        if transform.environment_id
    }
    reading = {label for label, environment in named.items() if environment == named["ReadChanges"]}
    assert reading == {"Ticks", "ReadChanges"}
    assert named["TransformChanges"] == named["WriteSinks"] == named["WriteDeadLetters"]
    assert {environments[each].urn for each in named.values()} == {"beam:env:process:v1"}


def test_an_unknown_transform_stops_the_build() -> None:
    """A job is not launched with a transform that nobody registered."""
    entity = {
        "topic": "t",
        "key": ["id"],
        "contract": {"id": "int64"},
        "sinks": ["w"],
        "transform": "a.b@1.0.0",
    }
    with pytest.raises(TransformError, match="unknown"):
        pipeline_proto(config(entities={"orders": entity}), bounded=False)


def _runner_jars(folder: Path) -> Path:
    for name, path in (
        (
            "beam-runners-java-job-service-1.jar",
            "org/apache/beam/runners/jobsubmission/PortablePipelineJarUtils.class",
        ),
        ("beam-runners-flink-1.jar", "tillstream/flink/RunTemplate.class"),
    ):
        with zipfile.ZipFile(folder / name, "w") as jar:
            jar.writestr(path, b"")
            jar.writestr("org/apache/beam/Other.class", b"")
    return folder


def test_the_jar_is_thin_reproducible_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same config gives the same bytes; of the runner only the classes that must be there; no secret."""
    monkeypatch.setenv("PW", "hunter2-very-secret")
    runner = _runner_jars(tmp_path)
    jars = [tmp_path / "a" / "acme.jar", tmp_path / "b" / "acme.jar"]
    for jar in jars:
        jar.parent.mkdir()
        write_jar(config(), tmp_path / "template", runner, bounded=False)
        launchable(tmp_path / "template", jar, LaunchParameters(1, 1))
    assert jars[0].read_bytes() == jars[1].read_bytes()
    with zipfile.ZipFile(jars[0]) as content:
        assert [name for name in content.namelist() if name.endswith(".class")] == [
            "org/apache/beam/runners/jobsubmission/PortablePipelineJarUtils.class",
            "tillstream/flink/RunTemplate.class",
        ]
        assert not any(b"hunter2" in content.read(name) for name in content.namelist())
    assert jars[0].stat().st_size < 100_000


def test_a_missing_runner_is_named(tmp_path: Path) -> None:
    """Without the runner's jars the error says what to run."""
    with pytest.raises(MissingToolError, match="tillstream up"):
        write_jar(config(), tmp_path / "acme.jar", tmp_path, bounded=False)
