"""Whatever is versioned and lies in state is listed, so that a plan can tell what a release reads."""

from __future__ import annotations

import re
from pathlib import Path

from tillstream.pipelines.framing import Framed
from tillstream.runners.jobs.encodings import ENCODINGS, READS

ROOT = Path(__file__).parents[4]
_VERSION = re.compile(r"^(\w*VERSION)\b(?!_)[^=\n]*=[^=]", re.MULTILINE)
# Where a version of this name is that of a form in state, by the form's name.
IN_STATE = {
    "io/read_changes.py:OFFSET_VERSION": "offset",
    "transforms/aggregates/groups.py:GROUP_VERSION": "group",
    "transforms/aggregates/messages.py:CONTRIBUTIONS_VERSION": "contributions",
    "transforms/copies.py:COPIES_VERSION": "copies",
    "transforms/lookups/forms.py:LOOKUPS_VERSION": "lookups",
    "transforms/shard_state.py:SHARD_VERSION": "shard",
}
# The same as bytes, or the name of a counter that lies in a shard.
WITHIN = {
    "transforms/aggregates/changes.py:_VERSION",
    "transforms/aggregates/groups.py:_VERSION",
    "transforms/aggregates/messages.py:_VERSION",
    "transforms/lookups/routers.py:_VERSION",
}
# Forms of far sides, of files and of topics.
ELSEWHERE = {
    "io/controls.py:_VERSION",
    "io/replays.py:_VERSION",
    "io/sinks/commit_log.py:_VERSION",
    "io/sinks/ledger.py:_VERSION",
    "io/sinks/letters.py:_LINE_VERSION",
    "pipelines/isolation/budget.py:_VERSION",
    "pipelines/isolation/recorder.py:VERSION",
    "pipelines/isolation/strikes.py:_VERSION",
    "transforms/lint/uids.py:_VERSION",
    "transforms/testing/envelopes.py:FIXTURE_VERSION",
}


def test_every_version_is_known() -> None:
    """A new one must be listed: as a form in state, or as one of something else."""
    found = set()
    for folder in ("io", "pipelines", "transforms"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for name in _VERSION.findall(path.read_text(encoding="utf-8")):
                found.add(f"{path.relative_to(ROOT)}:{name}")
    assert found == {*IN_STATE, *WITHIN, *ELSEWHERE}
    assert set(IN_STATE.values()) <= set(ENCODINGS)


def _frames(kind: type[Framed]) -> set[str]:
    found = set()
    for each in kind.__subclasses__():
        if each.__module__.startswith("tillstream."):
            found |= {each.__name__} | _frames(each)
    return found


def test_every_frame_is_listed() -> None:
    """What goes from stage to stage may wait in a checkpoint."""
    assert _frames(Framed) == set(ENCODINGS) - set(IN_STATE.values())


def test_what_is_written_is_read() -> None:
    """A release goes on from its own state."""
    assert all(version in READS[name] for name, version in ENCODINGS.items())
    assert set(READS) == set(ENCODINGS)
