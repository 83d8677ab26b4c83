"""Show what a canary found, shortly."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tillstream.runners.jobs.canary.verdict import CanaryVerdict, Difference, EntityDiff

__all__ = ["lines_of"]

_SHOWN_MAX = 100
_ROW_COLUMNS_MAX = 4


def lines_of(verdict: CanaryVerdict) -> Iterator[str]:
    """Yield the lines of a verdict for a terminal: what was compared, a few examples, and the reason."""
    if verdict.seconds:
        took = ", ".join(f"{side} {seconds:.1f} s" for side, seconds in verdict.seconds.items())
        yield f"{verdict.source_changes} source changes, read by both: {took}"
    for diff in verdict.entities:
        yield from _entity(diff)
    for letters in verdict.letters:
        counts = [
            f"{count} {word}" for word, count in (("gained", letters.gained), ("lost", letters.lost)) if count
        ]
        of = f"{letters.entity or 'no entity'}, {letters.step}"
        yield f"  dead letters ({of}): {letters.reason} {', '.join(counts)}"
    yield f"{'promoted' if verdict.promote else 'refused'}: {verdict.reason}"


def _entity(diff: EntityDiff) -> Iterator[str]:
    counts = [
        f"{count} {word}"
        for word, count in (
            ("equal", diff.equal),
            ("changed", diff.changed),
            ("only in the old", diff.only_old),
            ("only in the new", diff.only_new),
            ("tolerated", diff.tolerated),
        )
        if count
    ]
    yield f"  {diff.entity} ({diff.level}): {', '.join(counts) or 'nothing'}"
    if diff.columns:
        most = sorted(diff.columns.items(), key=lambda each: (-each[1], each[0]))
        yield f"    columns: {', '.join(f'{name} {count}' for name, count in most)}"
    for note in diff.notes:
        yield f"    {note}"
    for example in diff.examples:
        yield f"    {_example(example)}"


def _example(difference: Difference) -> str:
    key = ", ".join(f"{name}={_text(value)}" for name, value in difference.key.items())
    if difference.kind == "changed":
        pairs = difference.columns.items()
        columns = [f"{name}: {_text(pair[0])} -> {_text(pair[1])}" for name, pair in pairs]
    else:
        row = {name: value for name, value in difference.columns.items() if name not in difference.key}
        columns = [f"{name}: {_text(value)}" for name, value in row.items()]
    more = ["..."] if len(columns) > _ROW_COLUMNS_MAX else []
    return f"{difference.kind} {key or 'all rows'}  {', '.join(columns[:_ROW_COLUMNS_MAX] + more)}"


def _text(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."
