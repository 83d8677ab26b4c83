"""Check rows against a contract that may grow, or has a policy of its own for rows that do not fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, NoReturn

import msgspec

from tillstream.configs import Column
from tillstream.configs.contract import column_of, text_of
from tillstream.configs.forms import COLUMN
from tillstream.configs.schema_evolution import EvolutionPolicy, Policy
from tillstream.pipelines.errors import RecordError, SchemaFrozenError
from tillstream.pipelines.evolution import DECLARED, NULL, inferred, join, widened, wider
from tillstream.pipelines.isolation.budget import stop_job
from tillstream.pipelines.records import RowSchema
from tillstream.transforms.contracts.compiled import ANY_JSON, CompiledContract, Values
from tillstream.transforms.contracts.unavailable import Unavailable

__all__ = ["EvolvingContract", "contract_for"]

# Bounds what a source that puts data into the names of its columns does to the tables of sinks.
_EVOLVED_COLUMNS_MAX = 500
_PLACE = re.compile(r"at `\$\.([^`\[]+)")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"found {text:.40}, expected a number") from None


# Numbers keep all their digits on the way through Python.
_decode = msgspec.json.Decoder(float_hook=_number).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


def contract_for(
    entity: str, columns: Sequence[Column], key: Sequence[str], policy: EvolutionPolicy | None
) -> CompiledContract:
    """Return an entity's contract, compiled for its policy."""
    if policy is None or policy.is_plain:
        return CompiledContract(entity, columns, key)
    return EvolvingContract(entity, columns, key, policy)


class EvolvingContract(CompiledContract):
    """Decode and check rows of one entity under a policy of schema evolution.

    Rows without anything unforeseen take the same compiled way as those of any contract. One that has
    something is looked at column by column; what it teaches is compiled, so that the next are fast again.

    Where messages declare their columns, a new column has the type that they say, from the first row on;
    else one made of its values. A column that the source drops is null from then on.

    What was learnt is kept in memory, by each process, and learnt again after a restart. Each batch names
    the types of its own rows, and sinks bring those of different processes together.

    Args:
        entity: the entity's name.
        columns: the contract's columns, in order.
        key: names of the key's columns, in order.
        policy: what becomes of what the contract does not know of.
    """

    def __init__(
        self, entity: str, columns: Sequence[Column], key: Sequence[str], policy: EvolutionPolicy
    ) -> None:
        super().__init__(entity, columns, key)
        self._policy = policy
        self._given = {column.name: column for column in columns}
        unnamed = [value for name, value in policy.by_column.items() if name not in self._given]
        self._strict = any(value != "discard_value" for value in (policy.columns, *unnamed))
        # Columns that are left out: of any value, or of null as long as that is all they are.
        self._ignored: dict[str, Any] = {}
        self._fitting: dict[str, CompiledContract] = {}
        self._declared: dict[str, str] = {}
        self._ever_declared: set[str] = set()
        self._schema: RowSchema = ()
        self.unavailable = Unavailable({column.name: column.kind for column in columns}, self._evolves)
        self._grow({})

    def declare(self, schema: RowSchema) -> None:
        """Take the types of columns from what the messages of the next rows declare."""
        if not schema or schema == self._schema:
            return
        self._schema, self._declared = schema, dict(schema)
        self._ever_declared.update(self._declared)
        grown, ignored = dict(self._grown), dict(self._ignored)
        for name, kind in schema:
            policy = self._policy_of(name)
            own = self._given.get(name)
            if own is not None:
                self._widen(own, kind, grown)
            elif policy == "discard_value":
                ignored[name] = Any
            elif policy == "evolve" and self._wrong_name(name, grown) is None:
                # Not what holds the older values too: sinks find that, which know of them after a restart.
                grown[name] = replace(column_of(name, kind), nullable=True)
                ignored.pop(name, None)
        for name in self._given.keys() - self._declared.keys():
            self._release(name, grown)
        if grown != self._grown or ignored != self._ignored:
            self._ignored = ignored
            self._grow(grown)

    def _widen(self, own: Column, kind: str, grown: dict[str, Column]) -> None:
        known = grown.get(own.name, own)
        found = None
        if self._policy.by_column.get(own.name, self._policy.types) == "evolve":
            found = wider(replace(own, key=own.name in self.key_columns), kind)
        if known.nullable and not own.nullable:
            # It is there again; values that it had widened to stay.
            known = replace(known, nullable=False)
        if found is not None:
            known = replace(found, key=own.key)
        if known != own:
            grown[own.name] = known
        else:
            grown.pop(own.name, None)

    def _release(self, name: str, grown: dict[str, Column]) -> bool:
        """Let a contract's column that the source has no more be null, where the policy evolves."""
        known = grown.get(name, self._given[name])
        if not self._is_required(known) or self._policy_of(name) != "evolve":
            return False
        grown[name] = replace(known, nullable=True)
        return True

    def _is_required(self, column: Column) -> bool:
        return not column.nullable and column.default is None and column.name not in self.key_columns

    def _policy_of(self, name: str) -> Policy:
        return self._policy.by_column.get(name, self._policy.columns)

    def decode(self, row: bytes) -> Values:
        """Return the wire form of a JSON row; `shape` and `evolved` then tell of what.

        Raises:
            RecordError: `contract` and `malformed` as of any contract, `schema` where the policy says so.
            SchemaFrozenError: where the policy says so.
        """
        values: Values = self._apply(row, lambda: self._now.decode)
        return values

    def decode_without(self, row: bytes, unknown: tuple[str, ...]) -> Values:
        """Return what `decode` does, of a row in which some columns were not sent."""
        values: Values = self._apply(row, lambda: partial(self._now.decode_without, unknown=unknown))
        return values

    def _evolves(self, name: str) -> bool:
        return self._policy.by_column.get(name, self._policy.columns) == "evolve"

    def decode_many(self, rows: Sequence[bytes]) -> list[Values] | None:
        """Return the wire forms of JSON rows in one go; None where one of them needs a closer look."""
        return self._now.decode_many(rows)

    def typed(self, row: bytes) -> dict[str, Any]:
        """Return the columns of a JSON row with their Python types, evolved ones where they have a value.

        Raises:
            RecordError, SchemaFrozenError: as `decode` does.
        """
        found = self._apply(row, lambda: self._now.typed)
        return {name: value for name, value in found.items() if value is not None or name in self._given}

    def _apply(self, row: bytes, check: Callable[[], Callable[[bytes], Any]]) -> Any:
        try:
            return check()(row)
        except RecordError:
            found = self._object(row)
            if found is None:
                raise
        if self._settle_columns(found):
            try:
                return check()(_encode(found))
            except RecordError:
                pass  # for its types, then
        self._settle_types(found)
        try:
            return check()(_encode(found))
        except RecordError as error:
            raise self._told(error) from error

    def _told(self, error: RecordError) -> RecordError:
        """Say beside what does not fit what the source declares its column to be."""
        place = _PLACE.search(error.detail)
        name = "" if place is None else place[1]
        declared = self._declared.get(name)
        own = self._given.get(name)
        if declared is None or own is None or declared == text_of(own):
            return error
        return RecordError(
            error.reason,
            f"{error.detail}: the source declares it as {declared}, and the contract as {text_of(own)}, "
            "which is not widened to it: write its type, and a transform where need be, into the config",
        )

    @staticmethod
    def _object(row: bytes) -> dict[str, Any] | None:
        try:
            found = _decode(row)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _settle_columns(self, row: dict[str, Any]) -> bool:
        """Do with columns that the contract lacks as the policy says; tell whether there are any."""
        names = [name for name in row if name not in self._given]
        grown, ignored = dict(self._grown), dict(self._ignored)
        for name in names:
            policy = self._policy_of(name)
            if name in self._declared and name in grown:
                continue
            if policy == "evolve" and row[name] is not None:
                self._refuse_name(name, grown)
                kind = inferred(row[name])
                known = grown.get(name)
                kind = kind if known is None else join(_plain(known.kind), kind)
                grown[name] = Column(name, ANY_JSON if kind == "json" else kind, nullable=True)
                ignored.pop(name, None)
            elif policy in ("evolve", "discard_value"):
                # Null tells no type, and a column that is not there is null.
                del row[name]
                if name not in grown and len(ignored) < _EVOLVED_COLUMNS_MAX and re.fullmatch(COLUMN, name):
                    ignored[name] = None if policy == "evolve" else Any
            else:
                self._refuse(policy, "columns", name, f"found column {name!r}, which the contract lacks")
        gone = [name for name in self._given if name not in row]
        for name in gone:
            if self._policy_of(name) == "freeze" and self._is_required(grown.get(name, self._given[name])):
                self._refuse(
                    "freeze", "columns", name, f"found no column {name!r}, which the contract requires"
                )
        released = [self._release(name, grown) for name in gone]
        if grown != self._grown or ignored != self._ignored:
            self._ignored = ignored
            self._grow(grown)
        return bool(names) or any(released)

    def _settle_types(self, row: dict[str, Any]) -> None:
        """Do with values that do not fit their columns as the policy says."""
        grown = dict(self._grown)
        for name, own in self._given.items():
            value, column = row.get(name), grown.get(name, own)
            if value is None or self._fits(column, value):
                continue
            policy = self._policy.by_column.get(name, self._policy.types)
            wider = widened(replace(column, key=column.key or name in self.key_columns), value)
            if policy == "evolve" and wider is not None:
                grown[name] = replace(wider, key=column.key)
            elif policy == "discard_value" and column.nullable:
                row[name] = None
            elif policy == "freeze":
                # Not the value, which may be personal data.
                text = f"found a {type(value).__name__} in column {name!r} that is no {text_of(column)}"
                self._refuse(policy, "types", name, text)
            # Else the contract itself says what is wrong.
        if grown != self._grown:
            self._grow(grown)

    def _fits(self, column: Column, value: Any) -> bool:
        """Tell whether a value has a column's type; whether it keeps its rules is not asked."""
        checked = self._fitting.get(text_of(column) + column.name)
        if checked is None:
            checked = CompiledContract(self.entity, [replace(column, rules=None, default=None)], ())
            self._fitting[text_of(column) + column.name] = checked
        try:
            checked.decode(_encode({column.name: value}))
        except RecordError:
            return False
        return True

    def _refuse_name(self, name: str, grown: dict[str, Column]) -> None:
        wrong = self._wrong_name(name, grown)
        if wrong is not None:
            raise RecordError("schema", wrong)

    def _wrong_name(self, name: str, grown: dict[str, Column]) -> str | None:
        """Return in words why a column cannot evolve, or None where it can."""
        if not re.fullmatch(COLUMN, name):
            why = f"it is not {COLUMN}"
            if name.startswith("_"):
                why = "names that start with _ are the sinks' own"
            return (
                f"found column {name!r:.100}, whose name no column of a sink may have, because {why}: rename "
                "it in the source, or leave it out by schema_evolution.columns discard_value"
            )
        if name not in grown and len(grown) >= _EVOLVED_COLUMNS_MAX:
            return f"found column {name!r} beside {len(grown)} that evolved, expected no more"
        return None

    def _refuse(self, policy: Policy, rule: str, name: str, text: str) -> NoReturn:
        if policy == "freeze":
            text = (
                f"entity {self.entity!r}: {text}, and schema_evolution.{rule} is freeze: write the column "
                f"into the contract as it is now, or set schema_evolution.by_column.{name} to evolve, "
                "discard_row or discard_value; then launch the job from its last checkpoint"
            )
            stop_job(SchemaFrozenError(text))
        raise RecordError("schema", f"{text}, and schema_evolution.{rule} is {policy}")

    def _grow(self, grown: dict[str, Column]) -> None:
        self._grown = grown
        columns = [grown.get(name, column) for name, column in self._given.items()]
        columns += [column for name, column in grown.items() if name not in self._given]
        self._now = CompiledContract(
            self.entity, columns, self.key_columns, strict=self._strict, ignored=self._ignored
        )
        self.shape = self._now.columns
        self.evolved = tuple((name, self._words(column)) for name, column in grown.items())

    def _words(self, column: Column) -> str:
        words = [_plain(text_of(column)), *([DECLARED] if column.name in self._ever_declared else [])]
        own = self._given.get(column.name)
        if own is not None and column.nullable and not own.nullable:
            words.append(NULL)
        return " ".join(words)


def _plain(kind: str) -> str:
    return "json" if kind == ANY_JSON else kind
