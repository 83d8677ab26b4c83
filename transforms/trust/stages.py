"""Put an entity's expectations and masks between its contract and its sinks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from apache_beam.metrics import Metrics

from tillstream.configs import ClientConfig
from tillstream.configs.trust import STREAM_KINDS, Expectation
from tillstream.pipelines.errors import ExpectationError, RecordError
from tillstream.pipelines.isolation.budget import stop_job
from tillstream.pipelines.records import ChangeBatch, MutationRecord
from tillstream.transforms.output import Refused, RowStage
from tillstream.transforms.trust.checks import TIME, Check, compile_check
from tillstream.transforms.trust.masks import Masker, mask_names, masker_of, salt_of

__all__ = ["MEND", "ExpectRows", "MaskRows", "Warnings", "counter_of", "trust_stages"]

MEND = (
    "it is of severity fail, so the job has stopped: mend the source or change the severity, then start the "
    "job from its newest checkpoint"
)
_LOG = logging.getLogger(__name__)
_WARN_INTERVAL_S = 10.0
_SHOWN_CHARACTERS_MAX = 200


def trust_stages(config: ClientConfig, entity: str) -> Sequence[RowStage]:
    """Return the stages that check and mask an entity's rows, in order; reads the salt where masks need it.

    Raises:
        UserError: if the salt cannot be read.
    """
    stages: list[RowStage] = []
    named = mask_names(config, entity)
    maskers: dict[str, Masker] = {}
    if named:
        salt = salt_of(config)
        maskers = {column: masker_of(each, salt) for column, each in named.items()}
    about = config.entities[entity]
    asked = [each for each in about.expectations if each.expect not in STREAM_KINDS]
    if asked:
        columns = {column.name: column for column in about.columns()}
        compiled = [(each, compile_check(each, columns)) for each in asked]
        stages.append(ExpectRows(config.client, entity, compiled, maskers))
    if maskers:
        stages.append(MaskRows(about.key, maskers, typed=about.contract is not None))
    return stages


def counter_of(severity: str, entity: str, name: str) -> Any:
    """Return the counter of rows that break an expectation."""
    return Metrics.counter("tillstream", f"expectation_{severity}_{entity}_{name}")


class Warnings:
    """Log what breaks an expectation, at most one line every ten seconds each.

    Args:
        clock_s: seconds that never go back.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._next_s: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def warn(self, about: str, detail: str) -> None:
        """Log one, or count it among those that are not logged."""
        now_s = self._clock_s()
        if now_s < self._next_s.get(about, now_s):
            self._silent[about] = self._silent.get(about, 0) + 1
            return
        self._next_s[about] = now_s + _WARN_INTERVAL_S
        silent = self._silent.pop(about, 0)
        _LOG.warning("%s: %s%s", about, detail, f"; {silent} more since the last line" if silent else "")


class ExpectRows:
    """Check each row against an entity's expectations, in their order.

    Delivery guarantees:
        Rows are judged by themselves and keep their order. Nothing is kept, so a replay judges as before;
        freshness alone looks at the clock, and what was stale stays so.

    Args:
        client: whose rows they are.
        entity: whose rows they are.
        checks: the expectations, compiled, in order.
        maskers: of masked columns, by name: what letters, logs and errors show of their values.
    """

    def __init__(
        self,
        client: str,
        entity: str,
        checks: Sequence[tuple[Expectation, Check]],
        maskers: dict[str, Masker],
    ) -> None:
        self._client, self._entity = client, entity
        self._checks = checks
        self._maskers = maskers
        self._counters = [
            counter_of(expectation.own_severity, entity, expectation.own_name) for expectation, _ in checks
        ]
        self._warnings = Warnings()
        self._columns: tuple[str, ...] = ()
        self._pickers: list[tuple[Check, list[Callable[[Any], Any] | None]]] = []

    def sift(
        self,
        batch: ChangeBatch,  # noqa: ARG002  (rows are judged by themselves)
        columns: tuple[str, ...],
        records: list[MutationRecord],
    ) -> tuple[list[MutationRecord], Sequence[Refused]]:
        """Return the rows that go on, and those that are quarantined; deletes go on.

        Raises:
            ExpectationError: if a row breaks an expectation of severity fail.
        """
        rows = [record.values for record in records if record.values is not None]
        if not rows:
            return records, ()
        if columns != self._columns:
            self._columns = columns
            self._pickers = [
                (check, [None if name == TIME else itemgetter(columns.index(name)) for name in check.columns])
                for _, check in self._checks
            ]
        for check, pickers in self._pickers:
            found = [
                [record.source_time_us for record in records if record.values is not None]
                if pick is None
                else list(map(pick, rows))
                for pick in pickers
            ]
            if not check.all_pass(found):
                return self._sift_each(records)
        return records, ()

    def without(self, unknown: tuple[str, ...]) -> ExpectRows:
        """Return the stage without expectations about columns that were not sent."""
        checks = [each for each in self._checks if set(unknown).isdisjoint(each[1].columns)]
        stage = ExpectRows(self._client, self._entity, checks, self._maskers)
        stage._warnings = self._warnings
        return stage

    def _sift_each(self, records: list[MutationRecord]) -> tuple[list[MutationRecord], Sequence[Refused]]:
        kept: list[MutationRecord] = []
        refused: list[Refused] = []
        for record in records:
            severity, error = self._judge(record) if record.values is not None else ("", None)
            if error is not None:
                refused.append(Refused(record, error))
            elif severity != "drop":
                kept.append(record)
        return kept, refused

    def _judge(self, record: MutationRecord) -> tuple[str, RecordError | None]:
        """Return the severity of the first expectation that keeps a row back, and why it is quarantined."""
        for place, (check, pickers) in enumerate(self._pickers):
            values = [record.source_time_us if pick is None else pick(record.values) for pick in pickers]
            if check.passes(values):
                continue
            expectation = self._checks[place][0]
            severity, name = expectation.own_severity, expectation.own_name
            self._counters[place].inc()
            if severity == "drop":
                return severity, None
            detail = f"found {self._shown(check.columns, values)}, expected {check.expected}"
            if severity == "quarantine":
                return severity, RecordError(f"expectation:{name}", detail)
            about = f"client {self._client}, entity {self._entity}: expectation {name}"
            if severity == "fail":
                stop_job(ExpectationError(f"{about}: {detail}; {MEND}"))
            self._warnings.warn(about, detail)
        return "", None

    def _shown(self, columns: Sequence[str], values: Sequence[Any]) -> str:
        parts = []
        for name, value in zip(columns, values, strict=True):
            masker = self._maskers.get(name)
            shown = value if masker is None else masker.apply(value)
            text = "null" if value is None else "(masked)" if shown is None else str(shown)
            parts.append(f"{'commit time (us)' if name == TIME else name} {text:.{_SHOWN_CHARACTERS_MAX}}")
        return ", ".join(parts)


class MaskRows:
    """Mask columns of an entity's rows, and of the keys of its deletes.

    Delivery guarantees:
        A value's mask is the same in every row, entity, process and launch as long as the salt is; so keys
        keep apart what was apart, and in the order that they had. Another salt makes other rows: start a
        new table with it.

    Args:
        key: names of the key's columns, in order.
        maskers: by column.
        typed: whether a contract has checked the rows; else a column may hold anything.
    """

    def __init__(self, key: Sequence[str], maskers: dict[str, Masker], *, typed: bool) -> None:
        self._maskers = maskers
        self._typed = typed
        self._key_columns = tuple(key)
        self._keys = [(place, maskers[name]) for place, name in enumerate(key) if name in maskers]
        self._columns: tuple[str, ...] = ()
        self._rewrite = _rewriter((), maskers, typed=typed)

    def sift(
        self,
        batch: ChangeBatch,  # noqa: ARG002  (a mask looks at values alone)
        columns: tuple[str, ...],
        records: list[MutationRecord],
    ) -> tuple[list[MutationRecord], Sequence[Refused]]:
        """Return all rows, masked."""
        if columns != self._columns:
            self._columns, self._rewrite = columns, _rewriter(columns, self._maskers, typed=self._typed)
        masked = self._rewrite([record.values for record in records])
        return [
            MutationRecord(
                record.kind,
                self._key(record.key) if self._keys else record.key,
                values,
                record.position,
                record.source_time_us,
                record.offset,
                record.index,
            )
            for record, values in zip(records, masked, strict=True)
        ], ()

    def without(self, unknown: tuple[str, ...]) -> MaskRows:
        """Return the stage for rows that have null for columns that were not sent: that stays null."""
        maskers = {name: each for name, each in self._maskers.items() if name not in unknown}
        return MaskRows(self._key_columns, maskers, typed=self._typed)

    def _key(self, key: tuple[Any, ...]) -> tuple[Any, ...]:
        values = list(key)
        for place, masker in self._keys:
            values[place] = masker.apply(values[place])
        return tuple(values)


def _rewriter(
    columns: Sequence[str], maskers: Mapping[str, Masker], *, typed: bool
) -> Callable[[Sequence[Any]], list[Any]]:
    """Return what masks rows, and passes the None of deletes.

    It is made for the columns, because to take rows apart and put them together again costs twice as much.
    """
    space: dict[str, Any] = {"__builtins__": {}}
    parts = []
    for place, name in enumerate(columns):
        masker = maskers.get(name)
        if masker is None:
            parts.append(f"row[{place}],")
            continue
        space[f"mask{place}"] = masker if typed else masker.apply
        parts.append(f"mask{place}[row[{place}]]," if typed else f"mask{place}(row[{place}]),")
    # Made of numbers alone, and of nothing that a config or a row holds.
    text = f"lambda rows: [None if row is None else ({' '.join(parts)}) for row in rows]"
    rewrite: Callable[[Sequence[Any]], list[Any]] = eval(text, space)  # noqa: S307
    return rewrite
