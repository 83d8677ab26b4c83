"""Every verdict of a plan, by what two builds of a client say and what its checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tillstream.configs import ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.flink.metadata import Handle, Metadata, OperatorMetadata
from tillstream.runners.jobs.compat import judge
from tillstream.runners.jobs.encodings import ENCODINGS
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.runners.jobs.planned import Plan
from tillstream.transforms.lint.uids import Uids

READ, TRANSFORM, AGGREGATE, WRITE = (f"{number:032x}" for number in range(4))
STATES = {
    "Ticks": (),
    "ReadChanges/ParDo(ReadChanges)": ("offset",),
    "TransformChanges/ParDo(TransformChanges)": ("client_head", "client_log", "shard_head", "shard_log"),
    "Aggregate/ParDo(AggregateChanges)": ("aggregate_head", "aggregate_log"),
    "WriteSinks": ("keyed",),
}
STAGES = {READ: "ReadChanges", TRANSFORM: "TransformChanges", AGGREGATE: "Aggregate", WRITE: "WriteSinks"}
NAMES = {
    READ: ("offset", "pushed-back-elements", "watermark-holds"),
    TRANSFORM: ("client_head", "client_log", "pending-timers", "shard_head", "shard_log", "sortBuffer"),
    AGGREGATE: ("aggregate_head", "aggregate_log", "watermark-holds"),
    WRITE: ("keyed", "stable-input-buffer0"),
}
OUT = {
    "type": "postgres",
    "host": "h",
    "database": "d",
    "user": "u",
    "password": "${PASSWORD}",
    "schema": "s",
}
COPY = {"from": "orders", "key": ["id"], "contract": {"id": "int64"}, "sinks": ["out"]}
CONFIG: dict[str, Any] = {
    "client": "acme",
    "source": {"kafka": {"bootstrap_servers": "b:9092"}},
    "entities": {
        "orders": {
            "topic": "t.orders",
            "key": ["id"],
            "contract": {"id": "int64", "total": "decimal(12,2)"},
            "transform": "acme.big@1.0.0",
            "sinks": ["out"],
        },
        "sales": {"from": "orders", "key": ["hour"], "transform": "acme.sales@1.0.0", "sinks": ["out"]},
    },
    "sinks": {"out": OUT},
}


def build(change: Callable[[dict[str, Any]], Any] = lambda _: None, **fields: Any) -> Manifest:
    """Return the manifest of a build whose config, or whose other parts, are changed."""
    plain = msgspec.json.decode(msgspec.json.encode(CONFIG))
    change(plain)
    config = ClientConfig.model_validate(plain)
    uids = Uids(
        plain["client"],
        STATES,
        {"orders": ("acme.big/seen",)},
        {name: tuple(entity.key) for name, entity in config.entities.items()},
        {"shards": config.flink.shards, "max_parallelism": config.flink.max_parallelism},
    )
    made = {
        "uids": uids,
        "transforms": {entity.transform: "1" for entity in config.entities.values() if entity.transform},
        "encodings": ENCODINGS,
        "libraries": {
            "python": "3.11.7",
            "tillstream": "0.2.0",
            "apache-beam": "2.62.0",
            "flink-runner": "f",
        },
        "contracts": {"sales": {"hour": {"type": "timestamptz"}, "count": {"type": "int64"}}},
        "totals": {"acme.sales/sales": 7},
    }
    return Manifest(config.plain(), **{**made, **fields})


def checkpoint(*, key_groups: int = 128, names: dict[str, tuple[str, ...]] | None = NAMES) -> Metadata:
    """Return what Flink wrote of a job with all stages."""
    operators = [OperatorMetadata(each, 1, key_groups, (Handle(100, "f"),)) for each in STAGES]
    operators.append(OperatorMetadata("f" * 32, 1, key_groups))
    return Metadata(4, 7, {each.operator_id: each for each in operators}, "file:/chk-7", names)


RUNNING = build()


def plan(
    new: Manifest,
    *,
    stages: dict[str, str] | None = None,
    found: Metadata | None = None,
    running: Manifest | None = RUNNING,
    **arguments: Any,
) -> Plan:
    """Return the plan of a build against the job that runs."""
    return judge(
        new,
        STAGES if stages is None else stages,
        None if running is None else JobInfo(running, LaunchParameters(1, 1, arguments.pop("overrides", {}))),
        checkpoint() if found is None else found,
        old_stages=STAGES,
        job_id=arguments.pop("job_id", "j"),
        **arguments,
    )


def entity(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Return what changes the entity orders."""
    return lambda config: config["entities"]["orders"].update(changes)


def flink(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Return what sets options of Flink."""
    return lambda config: config.update(flink=changes)


def test_nothing_there_is_a_launch() -> None:
    """Without a job and without state it starts anew."""
    found = judge(build(), STAGES, None, None)
    assert (found.verdict, found.exit_code, found.lines()) == (
        "new",
        10,
        ["acme: launch: no job runs, and there is no state to go on from"],
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda config: config.update(labels={"tier": "gold"}),
        lambda config: config["source"]["kafka"].update(start="latest"),
        lambda config: config.update(upgrade={"watch_s": 5}),
    ],
)
def test_no_change(change: Any) -> None:
    """What no running job reads changes nothing, and CI sees 0."""
    found = plan(build(change))
    assert (found.verdict, found.exit_code, found.lost) == ("no_change", 0, ())
    assert found.lines() == ["acme: no change"]


def test_where_latest_was_is_no_change() -> None:
    """The launch put a time in its place; the config still says latest."""
    new = build(lambda config: config["source"]["kafka"].update(start="latest"))
    overrides = {"/source/kafka/start": "2026-01-01T00:00:00Z"}
    assert plan(new, running=new, overrides=overrides).verdict == "no_change"


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (flink(parallelism=2), "/flink/parallelism"),
        (flink(memory_mb_max=512), "/flink/memory_mb_max"),
        (
            lambda config: config["source"]["kafka"].update(bootstrap_servers="c:9092"),
            "/source/kafka/bootstrap",
        ),
        (lambda config: config["sinks"]["out"].update(host="other"), "/sinks/out/host"),
        (lambda config: config.update(limits={"record_timeout_ms": 500}), "/limits/record_timeout_ms"),
        (lambda config: config.update(delivery={"checkpoint_interval_ms": 9000}), "/delivery/checkpoint"),
    ],
)
def test_restart(change: Any, name: str) -> None:
    """Addresses, bounds and parallelism touch no state: which they are is said."""
    found = plan(build(change))
    assert (found.verdict, found.exit_code) == ("restart", 10)
    assert name in found.reasons[0]
    assert name in "\n".join(found.lines())


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (build(entity(transform="acme.big@1.1.0")), "orders: acme.big@1.0.0 -> acme.big@1.1.0"),
        (build(transforms={"acme.big@1.0.0": "2", "acme.sales@1.0.0": "1"}), "same version has other code"),
        (build(entity(contract={"id": "int64", "total": "decimal(14,2)"})), "decimal(12,2) -> decimal(14,2)"),
        (build(lambda config: config["entities"].update(copy=COPY)), "gets the changes of orders from now"),
        (build(lambda config: config["sinks"]["out"].update(schema="x")), "fill it by 'tillstream resync'"),
        (build(lambda config: config.update(dedup={"horizon_s": 60})), "/dedup/horizon_s"),
        (build(libraries={**RUNNING.libraries, "tillstream": "0.3.0"}), "tillstream: 0.2.0 -> 0.3.0"),
        (build(libraries={**RUNNING.libraries, "python": "3.12.1"}), "must run Python 3.12.1 too"),
        (build(libraries={**RUNNING.libraries, "apache-beam": "2.62.1"}), "apache-beam: 2.62.0 -> 2.62.1"),
    ],
)  # fmt: skip
def test_restore(new: Manifest, text: str) -> None:
    """What becomes of records may change over the same state; what changes is said, old and new."""
    found = plan(new)
    assert (found.verdict, found.exit_code, found.lost) == ("restore", 10, ())
    assert text in "\n".join(found.lines())


def without(*labels: str) -> Uids:
    """Return what a build without some stages finds state by."""
    return msgspec.structs.replace(
        RUNNING.uids, stages={label: found for label, found in STATES.items() if label not in labels}
    )


def test_a_stage_that_nobody_wants_is_dropped_with_its_state() -> None:
    """Its totals came from rows that sinks have; Flink must be told, so CI sees 20."""
    new = build(
        lambda config: config["entities"].pop("sales"),
        uids=without("Aggregate/ParDo(AggregateChanges)"),
        totals={},
    )
    found = plan(new, stages={each: name for each, name in STAGES.items() if each != AGGREGATE})
    assert (found.verdict, found.exit_code, found.drops_state) == ("restore_without", 20, True)
    assert [(each.stage, each.state) for each in found.lost] == [
        ("Aggregate", "aggregate_head"),
        ("Aggregate", "aggregate_log"),
    ]
    assert "  - Aggregate/aggregate_head: the totals of groups" in "\n".join(found.lines())


def test_another_name_of_a_transform_forgets_its_keyed_state() -> None:
    """Flink says nothing of it, so the plan does; nothing has to be dropped."""
    new = build(uids=msgspec.structs.replace(RUNNING.uids, cells={"orders": ("acme.huge/seen",)}))
    found = plan(new)
    assert (found.verdict, found.drops_state) == ("restore_without", False)
    assert found.lost[0].state == "acme.big/seen"
    assert found.lost[0].holds == "what it kept for each key of orders"


def test_an_aggregate_by_another_name_counts_from_now_on() -> None:
    """Its entity goes on with totals that begin at nothing."""
    found = plan(build(totals={"acme.sums/sales": 7}))
    assert found.verdict == "restore_without"
    assert found.lost[0].holds == "the totals of sales: it would count from now on"


def test_a_state_that_is_asked_for_no_more_is_told() -> None:
    """Within a stage that stays, Flink would leave it out without a word."""
    stages = {**STATES, "TransformChanges/ParDo(TransformChanges)": ("shard_head", "shard_log")}
    found = plan(build(uids=msgspec.structs.replace(RUNNING.uids, stages=stages)))
    assert found.verdict == "restore_without"
    assert {each.state for each in found.lost} == {"client_head", "client_log"}


@pytest.mark.parametrize(
    ("new", "text"),
    [
        (build(flink(shards=8)), "/flink/shards"),
        (build(flink(max_parallelism=64)), "/flink/max_parallelism"),
        (build(entity(key=["id", "total"])), "/entities/orders/key"),
        (build(entity(contract={"id": "int64", "total": "bool"})), "table of sink 'out' cannot become that"),
        (
            build(contracts={"sales": {"hour": {"type": "timestamptz"}, "count": {"type": "date"}}}),
            "contract sales.count",
        ),
        (build(totals={"acme.sales/sales": 8}), "adds up something else"),
        (build(libraries={**RUNNING.libraries, "apache-beam": "2.63.0"}), "within a minor version only"),
        (build(libraries={**RUNNING.libraries, "tillstream": "0.1.9"}), "an older release"),
        (build(libraries={**RUNNING.libraries, "tillstream": "0.10.0"}), ""),
    ],
)
def test_refused(new: Manifest, text: str) -> None:
    """What cannot be restored is named, with the way that there is."""
    found = plan(new)
    if not text:
        assert found.verdict == "restore"
        return
    assert (found.verdict, found.exit_code) == ("refused", 30)
    assert any(text in reason for reason in found.reasons)
    assert all("the way is" in reason for reason in found.reasons)


@pytest.mark.parametrize("version", [1, 3])
def test_a_form_that_is_not_read_is_refused(version: int) -> None:
    """Older or newer: a release goes on from what its decoders take."""
    running = build(encodings={**ENCODINGS, "shard": version})
    reads = {name: frozenset({each}) for name, each in ENCODINGS.items()}
    found = plan(
        build(encodings={**ENCODINGS, "shard": 2}), running=running, reads={**reads, "shard": frozenset({2})}
    )
    assert found.verdict == "refused"
    assert "this release does not read that form; the way is tillstream 0.2.0" in found.reasons[0]
    both = {**reads, "shard": frozenset({1, 2, 3})}
    assert plan(build(encodings={**ENCODINGS, "shard": 2}), running=running, reads=both).verdict == "restore"


def test_key_groups_of_the_checkpoint_are_looked_at() -> None:
    """Its job may have been launched otherwise than it says."""
    found = plan(build(), found=checkpoint(key_groups=64))
    assert found.verdict == "refused"
    assert "/flink/max_parallelism" in found.reasons[0]


def test_rows_that_wait_are_not_dropped() -> None:
    """A build without the stage that they wait for is refused, whether its label went or its id changed."""
    stages = {each: name for each, name in STAGES.items() if each != WRITE}
    found = plan(build(uids=without("WriteSinks")), stages=stages)
    assert found.verdict == "refused"
    assert "batches that no sink has taken yet" in found.reasons[0]
    found = plan(build(), stages={**stages, "e" * 32: "WriteSinks"})
    assert found.verdict == "refused"
    assert "under another id" in found.reasons[0]


@pytest.mark.parametrize("names", [None, {}])
def test_state_without_known_names_goes_by_what_the_job_declares(names: Any) -> None:
    """Files out of reach hide names, not which stages have state."""
    stages = {each: name for each, name in STAGES.items() if each != AGGREGATE}
    new = build(lambda config: config["entities"].pop("sales"), totals={},
                uids=without("Aggregate/ParDo(AggregateChanges)"))  # fmt: skip
    assert plan(new, stages=stages, found=checkpoint(names=names)).verdict == "restore_without"
    assert plan(new, stages=stages, found=checkpoint(names=names), running=None).verdict == "refused"


def test_without_a_checkpoint_the_declared_state_counts() -> None:
    """A job may be too young to have one; its stop will take it."""
    stages = {each: name for each, name in STAGES.items() if each != WRITE}
    info = JobInfo(RUNNING, LaunchParameters(1, 1, {}))
    found = judge(build(uids=without("WriteSinks")), stages, info, None, old_stages=STAGES, job_id="j")
    assert found.verdict == "refused"
    assert "no checkpoint could be looked into" in found.notes[0]
    assert judge(build(), STAGES, info, None, old_stages=STAGES, job_id="j").verdict == "no_change"


def test_a_silent_job_is_judged_by_its_stages() -> None:
    """One of an older release: the rest is not known, and that is said."""
    found = plan(build(), running=None)
    assert found.verdict == "restore"
    assert "nothing says what the job is made of" in found.notes[0]
    assert plan(build(), running=None, stages={READ: "ReadChanges"}).verdict == "refused"


def test_a_job_that_does_not_run_goes_on_from_its_state() -> None:
    """Nothing differs, and still there is something to do."""
    found = plan(build(), job_id=None)
    assert (found.verdict, found.checkpoint) == ("restore", "file:/chk-7")


def test_secrets_are_not_shown() -> None:
    """Not even where they lie: a plan is pasted into tickets."""
    found = plan(build(lambda config: config["sinks"]["out"].update(password="file:/run/other")))
    assert found.verdict == "restart"
    assert "/run/other" not in str(found.as_json())
    assert "/sinks/out/password: ... -> ..." in "\n".join(found.lines())


def test_a_plan_as_json_has_all_of_it() -> None:
    """Programs read the same that people do."""
    found = plan(build(flink(shards=8))).as_json()
    assert msgspec.json.decode(msgspec.json.encode(found))["exit_code"] == 30
    assert found["changes"][0] == {
        "part": "config",
        "name": "/flink/shards",
        "old": 16,
        "new": 8,
        "effect": "refused",
        "note": found["changes"][0]["note"],
    }
