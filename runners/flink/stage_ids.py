"""Tell which stages with state a job would have, and under which ids, from its jar alone: without a cluster.

Beam's Flink runner gives a stage the uid `<name of its input>/<URN of its environment>:0` (Beam 2.62,
`FusedPipeline.getEnvironmentExecutedTransforms`, `SyntheticComponents.uniqueId`), and Flink makes the id of
an operator's state of that: murmur3 of 128 bits, without a seed (Flink 1.19, `StreamGraphHasherV2`). A step
with keyed state begins a stage; what follows without state of its own is fused with it.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tillstream.runners.flink.template import MANIFEST_ENTRY, PIPELINE_ENTRY
from tillstream.runners.jobs.manifest import Manifest

__all__ = ["operator_id", "stages_in"]

_STEP = "beam:transform:pardo:v1"
_SOURCES = frozenset({"beam:transform:impulse:v1", "flink:transform:streaming_impulse:v1"})
_WORD = 8
_MASK = (1 << 64) - 1
_FIRST, _SECOND = 0x87C37B91114253D5, 0x4CF5AD432745937F


def stages_in(jar: Path) -> dict[str, str]:
    """Return the name of each stage that can have state, by the id that its state has.

    Args:
        jar: a template, or the jar of a launch of one.

    Raises:
        ValueError: if it is neither.
    """
    try:
        with zipfile.ZipFile(jar) as opened:
            components = json.loads(opened.read(PIPELINE_ENTRY))["components"]
            uids = Manifest.decode(opened.read(MANIFEST_ENTRY)).uids
    except (zipfile.BadZipFile, KeyError, TypeError) as error:
        raise ValueError(f"found {error!r}, expected a jar of 'tillstream template build'") from error
    heads = _heads(components, uids.stages)
    short = Counter(_short(label) for labels in heads.values() for label in labels)
    return {
        uid: ", ".join(_short(each) if short[_short(each)] == 1 else each for each in sorted(labels))
        for uid, labels in heads.items()
    }


def operator_id(uid: str) -> str:
    """Return the id that Flink gives an operator of this uid: 32 hexadecimal digits."""
    content = uid.encode()
    one = two = 0
    tail = len(content) - len(content) % (2 * _WORD)
    for at in range(0, tail, 2 * _WORD):
        one ^= _scrambled(content[at : at + _WORD], _FIRST, 31, _SECOND)
        one = ((_rotated(one, 27) + two) * 5 + 0x52DCE729) & _MASK
        two ^= _scrambled(content[at + _WORD : at + 2 * _WORD], _SECOND, 33, _FIRST)
        two = ((_rotated(two, 31) + one) * 5 + 0x38495AB5) & _MASK
    one ^= _scrambled(content[tail : tail + _WORD], _FIRST, 31, _SECOND) ^ len(content)
    two ^= _scrambled(content[tail + _WORD :], _SECOND, 33, _FIRST) ^ len(content)
    one = (one + two) & _MASK
    one, two = _mixed(one), _mixed(one + two & _MASK)
    one = (one + two) & _MASK
    two = (two + one) & _MASK
    return (one.to_bytes(_WORD, "little") + two.to_bytes(_WORD, "little")).hex()


def _heads(components: Mapping[str, Any], states: Mapping[str, tuple[str, ...]]) -> dict[str, list[str]]:
    """Return the labels of the steps that begin each stage, by its id: those with state, and a source's."""
    transforms = components.get("transforms", {}).values()
    of_sources = {
        name
        for each in transforms
        if each.get("spec", {}).get("urn") in _SOURCES
        for name in each.get("outputs", {}).values()
    }
    found: dict[str, list[str]] = {}
    for each in transforms:
        if each.get("spec", {}).get("urn") != _STEP:
            continue
        # The main input; none of ours has a side input.
        (taken,) = each["inputs"].values()
        if states.get(each["uniqueName"]) or taken in of_sources:
            urn = components["environments"][each["environmentId"]]["urn"]
            uid = f"{components['pcollections'][taken]['uniqueName']}/{urn}:0"
            found.setdefault(operator_id(uid), []).append(each["uniqueName"])
    return found


def _short(label: str) -> str:
    # As runners/local/java/beam-runners-flink, RunTemplate.shortened.
    return label.split("/", 1)[0]


def _scrambled(word: bytes, first: int, turn: int, second: int) -> int:
    return _rotated(int.from_bytes(word, "little") * first & _MASK, turn) * second & _MASK


def _rotated(value: int, by: int) -> int:
    return (value << by | value >> (64 - by)) & _MASK


def _mixed(value: int) -> int:
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & _MASK
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return value ^ value >> 33
