"""Judge whether a build of a client's job can take over from the one that runs: pure, from what both say.

Each rule yields what differs with what that takes; the worst of them is the verdict. docs/plan.md lists them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from tillstream.configs.launching import overridden
from tillstream.runners.flink.metadata import Metadata
from tillstream.runners.jobs.build_rules import (
    encoding_changes,
    library_changes,
    total_changes,
    transform_changes,
)
from tillstream.runners.jobs.config_rules import config_changes
from tillstream.runners.jobs.contract_rules import contract_changes
from tillstream.runners.jobs.encodings import READS
from tillstream.runners.jobs.manifest import JobInfo, Manifest
from tillstream.runners.jobs.planned import Change, Effect, Loss, Plan, Verdict, worst
from tillstream.runners.jobs.state_rules import Sides, state_changes

__all__ = ["judge"]

_VERDICTS: Mapping[Effect, Verdict] = {
    "none": "no_change",
    "restart": "restart",
    "restore": "restore",
    "restore_without": "restore_without",
    "refused": "refused",
}
_UNSAID = (
    "nothing says what the job is made of, because an older tillstream launched it or its jar is gone: only "
    "its stages and its state were compared"
)


def judge(
    new: Manifest,
    new_stages: Mapping[str, str],
    running: JobInfo | None,
    checkpoint: Metadata | None,
    *,
    old_stages: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
    job_id: str | None = None,
    beside: Iterable[Change] = (),
    reads: Mapping[str, frozenset[int]] = READS,
) -> Plan:
    """Return what would happen if a build took over from the job that runs, or goes on from its state.

    Args:
        new: the build's manifest.
        new_stages: name of each of its stages, by the id that its state has (`FlinkRest.stages`).
        running: what the job says of itself, or the last one did; None where there was none, or it is silent.
        checkpoint: the state that would be restored; None where there is none, or it cannot be read.
        old_stages: name of each stage of that job, by id.
        config: as the launch would have it, as JSON values; by default that of the manifest.
        job_id: of the job that runs; None where none does.
        beside: what else differs, of what runs it.
        reads: versions of each form in state that this release reads.
    """
    if running is None and checkpoint is None and job_id is None:
        return Plan(new.client, "new")
    wanted = new.config if config is None else config
    found: list[Change | Loss] = [*beside]
    if running is not None:
        found += _between(new, running, wanted, reads)
    uids = None if running is None else running.manifest.uids
    found += state_changes(Sides(new.uids, new_stages, uids, old_stages or {}, checkpoint))
    changes = tuple(each for each in found if isinstance(each, Change))
    lost = tuple(dict.fromkeys(each for each in found if isinstance(each, Loss)))
    effects = [each.effect for each in changes]
    effects += ["restore_without"] * bool(lost)
    if job_id is None:
        # What runs already needs no launch; what does not needs one, whatever else is equal.
        effects.append("restore")
    if running is None:
        effects.append("restore")
    verdict = _VERDICTS[worst(iter(effects))]
    return Plan(
        new.client,
        verdict,
        tuple(_reasons(verdict, changes, lost)),
        lost,
        changes,
        tuple(_notes(running, checkpoint, job_id)),
        job_id,
        checkpoint.path if checkpoint is not None else None,
    )


def _between(
    new: Manifest, running: JobInfo, wanted: Mapping[str, Any], reads: Mapping[str, frozenset[int]]
) -> Iterator[Change | Loss]:
    old, before = running.manifest, _effective(running)
    yield from config_changes(before, wanted)
    yield from transform_changes(new, old, before, wanted)
    yield from contract_changes(before, wanted, old.contracts, new.contracts)
    yield from total_changes(new, old)
    yield from encoding_changes(new, old, reads)
    yield from library_changes(new, old)


def _effective(running: JobInfo) -> dict[str, Any]:
    """Return the config as the launch had it; where that began at `latest`, as it was written."""
    start = "/source/kafka/start"
    overrides = {
        each: value for each, value in running.launch.overrides.items() if not each.startswith(start)
    }
    config: dict[str, Any] = overridden(running.manifest.config, overrides)
    try:
        # With the defaults that this release knows of.
        return type(running.manifest.model()).model_validate(config).plain()
    except (ValidationError, LookupError):
        return config


def _reasons(verdict: Verdict, changes: tuple[Change, ...], lost: tuple[Loss, ...]) -> Iterator[str]:
    if verdict in ("refused", "restore_without"):
        for each in changes:
            if each.effect == verdict:
                yield f"{each.part} {each.name}: {each.note}"
    if verdict == "restore_without":
        stages = dict.fromkeys(each.stage for each in lost)
        yield f"state would be forgotten in {', '.join(stages)}"
    if verdict in ("restart", "restore"):
        names = dict.fromkeys(each.name for each in changes if each.effect == verdict)
        if names:
            yield f"of {', '.join(names)}"


def _notes(running: JobInfo | None, checkpoint: Metadata | None, job_id: str | None) -> Iterator[str]:
    if running is None:
        yield _UNSAID
    if checkpoint is None and job_id is not None:
        yield "no checkpoint could be looked into: state was compared by what both builds declare"
    if job_id is None:
        yield "no job runs: it would be launched from the state that is left"
