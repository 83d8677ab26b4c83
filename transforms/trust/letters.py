"""Mask dead letters: no value that is masked in rows stands in a letter of any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import apache_beam as beam
import msgspec

from tillstream.configs import ClientConfig
from tillstream.pipelines.records import DeadLetter, DeadLetterBatch
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.flows import Flow, flows_of, registry_of
from tillstream.transforms.trust.masks import (
    Masker,
    Named,
    classes_masked,
    has_masks,
    mask_names,
    masker_of,
    salt_of,
    strictest,
)
from tillstream.transforms.trust.nested import replaced_inside
from tillstream.transforms.trust.scrubbing import (
    has_one_spelling,
    leaves_of,
    replaced,
    withheld_message,
    withheld_rule,
    withheld_trace,
)

__all__ = ["LetterMasker", "mask_letters"]

WITHHELD = "(withheld)"
# Code sees them as JSON spells them.
_PLAIN_KINDS = frozenset({"string", "int16", "int32", "int64", "bool"})
# Reasons whose details show what a client's code made.
_RULES = frozenset({"contract", "schema", "malformed", "unknown_entity", "missing_key"})
_INPUT = "the transform's input: "
_ENVELOPE = frozenset({"op", "before", "after", "payload"})
_BESIDE = frozenset({"source", "schema", "transaction", "message", "ts_ms", "ts_us", "ts_ns"})
# Numbers keep their digits.
_decode = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class _Rules:
    """Say how the letters of some origin are masked.

    Attributes:
        maskers: by column, of all entities that the change belongs to.
        known: columns whose values may be shown at all; None for any.
        typed: columns whose values code may see as other than texts and whole numbers.
        is_withheld: whether messages of exceptions may hold values of other records.
        is_nameless: whether payloads may hold values without the names of their columns, as those of
            aggregates do.
        is_unknown: whether nothing is known of the record, so that nothing of it may be shown.
    """

    maskers: Mapping[str, Masker] = field(default_factory=dict)
    known: frozenset[str] | None = None
    typed: frozenset[str] = frozenset()
    is_withheld: bool = False
    is_nameless: bool = False
    is_unknown: bool = False


class LetterMasker:
    """Mask the letters of one client.

    A letter is masked by the columns of the entity that it names and of the one that the change was read
    for. What cannot be read as JSON is replaced by its length and its HMAC; so is the record of a topic that
    no entity names, because nothing is known of it.

    Args:
        config: the client's, completed by `resolve`.
        salt: the client's.
    """

    def __init__(self, config: ClientConfig, salt: bytes) -> None:
        self._config = config
        self._salt = salt
        self._flows: list[Flow] = [
            flow for flows in flows_of(config, registry_of(config)).values() for flow in flows
        ]
        self._named: dict[str, dict[str, Named]] = {
            name: dict(mask_names(config, name)) for name in config.entities
        }
        for flow in self._flows:
            if flow.info is not None and flow.info.input is not None:
                columns = columns_of_model(flow.info.input)
                classes = {column.name: column.pii for column in columns if column.pii is not None}
                _merge(self._named[flow.source], classes_masked(config, classes))
        self._any = next(masker_of(named, salt) for masks in self._all_masks() for named in masks.values())
        self._rules: dict[tuple[str | None, ...], _Rules] = {}

    def mask(self, letter: DeadLetter) -> DeadLetter:
        """Return the letter as it may be written."""
        origin = (letter.entity, letter.source_entity, letter.topic, letter.transform)
        rules = self._rules.get(origin)
        if rules is None:
            rules = self._rules[origin] = self._rules_of(letter)
        if rules.is_unknown:
            return msgspec.structs.replace(
                letter, key=self._hidden(letter.key), payload=self._hidden(letter.payload)
            )
        if not rules.maskers and not rules.is_withheld:
            return letter
        found = _Found()
        key, is_key_read = self._document(letter.key, rules, found)
        # Rows have names; what an aggregate adds up has none, unless it is still the change itself.
        is_nameless = rules.is_nameless and letter.step == "transform"
        payload, is_read = self._document(letter.payload, rules, found, is_nameless=is_nameless)
        is_withheld = (
            rules.is_withheld
            or self._config.privacy.error_messages == "withhold"
            or not (is_read and is_key_read and found.is_certain)
        )
        detail, trace, values = letter.detail, letter.traceback, found.values
        # What expectations say is masked already; of others, only exceptions of a transform say values.
        if letter.step == "transform" and (trace is not None or letter.reason == "transform_failed"):
            detail, trace = (
                withheld_message(detail, values, always=is_withheld),
                withheld_trace(trace, values, always=is_withheld),
            )
        elif is_withheld and _is_of_made(letter):
            detail = withheld_rule(detail)
        elif not letter.reason.startswith("expectation:"):
            detail = replaced(detail, values)
        return msgspec.structs.replace(
            letter,
            key=key,
            payload=payload,
            reason=replaced(letter.reason, values),
            detail=detail,
            traceback=trace,
        )

    def _all_masks(self) -> Iterator[dict[str, Named]]:
        yield from self._named.values()
        yield {name: (mask, name) for name, mask in self._config.privacy.by_class.items()}

    def _rules_of(self, letter: DeadLetter) -> _Rules:
        source = self._config.topics.get(letter.topic)
        names = {name for name in (letter.entity, letter.source_entity, source) if name is not None}
        if not names:
            return _Rules(is_unknown=True)
        flows = [
            flow
            for flow in self._flows
            if flow.target in names or (flow.name is not None and flow.name == letter.transform)
        ]
        names |= {flow.source for flow in flows} | {flow.target for flow in flows}
        named: dict[str, Named] = {}
        for name in names:
            _merge(named, self._named.get(name, {}))
        reading = [flow for flow in self._flows if flow.source in {each.source for each in flows}]
        known = None
        contracts = [self._config.entities[flow.target].contract for flow in reading]
        if named and all(flow.kind == "copy" for flow in reading) and None not in contracts:
            known = frozenset(column for contract in contracts for column in contract or ()) | set(named)
        # Other rows, and earlier ones, that the transform has seen may stand in what it says.
        sees_others = any(flow.kind != "record" or flow.parameters.states for flow in flows if flow.transform)
        entities = [self._config.entities[name] for name in names & self._config.entities.keys()]
        kinds = [column for entity in entities for column in entity.columns()]
        for flow in flows:
            if flow.info is not None and flow.info.input is not None:
                kinds += columns_of_model(flow.info.input)
        return _Rules(
            {column: masker_of(each, self._salt) for column, each in named.items()},
            known,
            frozenset(column.name for column in kinds if column.kind not in _PLAIN_KINDS),
            is_withheld=sees_others and any(self._named.values()),
            is_nameless=any(flow.kind == "aggregate" for flow in flows),
        )

    def _document(
        self, text: bytes | None, rules: _Rules, found: _Found, *, is_nameless: bool = False
    ) -> tuple[bytes | None, bool]:
        """Return a JSON document masked, and whether it could be read."""
        if text is None or not rules.maskers:
            return text, True
        try:
            node = _decode(text)
            if not isinstance(node, dict) or (is_nameless and "op" not in node):
                return self._hidden(text), False
            return _encode(_Walk(rules, found).envelope(node)), True
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError, TypeError):
            return self._hidden(text), False

    def _hidden(self, text: bytes | None) -> bytes | None:
        if text is None:
            return None
        digest = self._any.digest(text).hex()
        return _encode(
            {"withheld": "not known to be free of masked values", "bytes": len(text), "hmac_sha256": digest}
        )


@dataclass
class _Found:
    """Hold the masked values of a letter, and whether all is known that code may write them as."""

    values: set[str] = field(default_factory=set)
    is_certain: bool = True


class _Walk:
    """Mask one document, and take note of the values that it held."""

    def __init__(self, rules: _Rules, found: _Found) -> None:
        self._maskers = rules.maskers
        self._known = rules.known
        self._typed = rules.typed
        self._found = found

    def envelope(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Mask Debezium's envelope, with or without its schema around it, a row, or a key."""
        if not node.keys() & _ENVELOPE and not node.keys() <= _BESIDE:
            return {name: self._known_column(name, value) for name, value in node.items()}
        masked: dict[str, Any] = {}
        for name, value in node.items():
            if name in ("before", "after") and name not in self._maskers:
                masked[name] = self._row(value)
            elif name == "payload" and isinstance(value, dict):
                masked[name] = self.envelope(value)
            elif name == "source" and isinstance(value, dict):
                # MySQL's connector may send the statement, with values in it.
                masked[name] = {each: WITHHELD if each == "query" else found for each, found in value.items()}
            elif name == "message" and isinstance(value, dict):
                masked[name] = WITHHELD
            elif name in ("schema", "transaction") and isinstance(value, dict):
                masked[name] = value
            elif name in _ENVELOPE or name in _BESIDE:
                masked[name] = self._column(name, value)
            else:
                masked[name] = self._known_column(name, value)
        return masked

    def _row(self, value: Any) -> Any:
        if isinstance(value, str):  # MongoDB's connector sends rows as text
            try:
                value = _decode(value)
            except (msgspec.MsgspecError, RecursionError):
                return WITHHELD
        if value is None:
            return None
        if not isinstance(value, dict):
            return WITHHELD
        return {name: self._known_column(name, found) for name, found in value.items()}

    def _known_column(self, name: str, value: Any) -> Any:
        if self._known is None or name in self._known:
            return self._column(name, value)
        # Rules may speak of it.
        self._found.values.update(leaves_of(value))
        return WITHHELD

    def _column(self, name: str, value: Any) -> Any:
        made = self._masked(name, value)
        return replaced_inside(value, self._masked) if made is value else made

    def _masked(self, name: str, value: Any) -> Any:
        """Return the mask of a masked column's value, the value itself of any other."""
        masker = self._maskers.get(name)
        if masker is None:
            return value
        self._found.values.update(leaves_of(value))
        if value is not None and (name in self._typed or not has_one_spelling(value)):
            self._found.is_certain = False
        return masker.apply(value)


def _merge(into: dict[str, Named], named: Mapping[str, Named]) -> None:
    for column, each in named.items():
        into[column] = strictest(into[column], each) if column in into else each


def _is_of_made(letter: DeadLetter) -> bool:
    """Tell whether a rule was broken by what a client's code made, of this row and of others."""
    is_made = letter.step == "transform" and letter.transform is not None and letter.reason in _RULES
    return is_made and not letter.detail.startswith(_INPUT)


class _MaskDeadLetters(beam.DoFn):
    """Mask DeadLetterBatch frames."""

    def __init__(self, config: ClientConfig) -> None:
        self._config = config

    def setup(self) -> None:
        """Read the salt."""
        self._masker = LetterMasker(self._config, salt_of(self._config))

    def process(self, frame: bytes) -> Iterator[bytes]:
        """Mask the letters of one frame."""
        letters = DeadLetterBatch.decode(frame).letters
        yield DeadLetterBatch(tuple(map(self._masker.mask, letters))).encode()


def mask_letters(
    config: ClientConfig, letters: Sequence[beam.PCollection], label: str
) -> list[beam.PCollection]:
    """Return collections of letters as they may be written: as they are where the client masks nothing.

    Args:
        config: the client's, completed by `resolve`.
        letters: of DeadLetterBatch frames.
        label: part of each step's label.
    """
    if not has_masks(config):
        return list(letters)
    return [
        each | f"{label}{place or ''}" >> beam.ParDo(_MaskDeadLetters(config)).with_output_types(bytes)
        for place, each in enumerate(letters)
    ]
