"""Compile conditions over the columns of a row, such as `total >= 0 and shipped_at >= ordered_at`.

The language is a small part of Python's: columns, numbers, texts, true, false and null; `and`, `or`, `not`;
comparisons, `in (...)`, `is null`, `is not null`; `+ - * /`; `len`, `abs`, `lower`. Python's parser reads it,
and nothing that is not in this list is let through: an expression can neither call nor reach anything else.
Null is as in SQL: what is compared with it is unknown, and a row passes unless its condition is false.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tillstream.configs.literals import FLOATS, NUMBERS, TIMES, ordered_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tillstream.configs.contract import Column

__all__ = ["Expression"]

_CHARACTERS_MAX = 2000
_NODES_MAX = 200
_COMPARE: dict[type[ast.AST], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_ARITHMETIC: dict[type[ast.AST], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}
_WORDS = {"true": True, "false": False, "null": None}
_CALLS = {"len": ("text", "number"), "abs": ("number", "number"), "lower": ("text", "text")}
_EXPECTED = (
    "expected columns, numbers, texts, true, false, null, and, or, not, comparisons, in (...), is null, "
    "+ - * /, len(), abs() and lower()"
)


@dataclass(frozen=True)
class _Part:
    """Hold a piece of the Python text that is made, what type its value has, and whether it may be None."""

    text: str
    type: str
    nullable: bool
    constant: Any = ...


class Expression:
    """Hold a condition over a row, compiled.

    Args:
        text: the condition.
        columns: those that it may name, by name.

    Attributes:
        text: as given.
        columns: names of the columns that it uses, in order.

    Raises:
        ValueError: if it is none of this language, or compares what cannot be compared; what was found and
            expected.
    """

    def __init__(self, text: str, columns: Mapping[str, Column]) -> None:
        self.text = text
        tree = _parsed(text)
        names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id not in _WORDS]
        used = [name for name in dict.fromkeys(names) if name not in _CALLS or name in columns]
        unknown = [name for name in used if name not in columns]
        if unknown:
            raise ValueError(f"found {unknown[0]!r}, expected columns of the contract: {', '.join(columns)}")
        self.columns = tuple(used)
        kinds = [columns[name].kind for name in used]
        for name, kind in zip(used, kinds, strict=True):
            if kind in ("json", "bytes"):
                raise ValueError(f"found column {name!r} of type {kind}, expected one that can be compared")
        if not used:
            raise ValueError("found no column, expected a condition over the row")
        loader: Callable[[str], Any] = float if any(kind in FLOATS for kind in kinds) else Decimal
        self._loaders = [loader if kind == "decimal" else None for kind in kinds]
        as_decimal = loader is Decimal and "decimal" in kinds
        known = {name: columns[name] for name in used}
        self._strict = _Compiler(known, as_decimal=as_decimal, nulls=False).compile(tree)
        self._loose = _Compiler(known, as_decimal=as_decimal, nulls=True).compile(tree)

    def all_pass(self, values: Sequence[Sequence[Any]]) -> bool:
        """Tell whether all rows pass.

        Args:
            values: wire forms of each column, in the order of `columns`, equally many.
        """
        if any(None in column for column in values):
            return all(self.passes(row) for row in zip(*values, strict=True))
        loaded = [
            column if load is None else map(load, column)
            for load, column in zip(self._loaders, values, strict=True)
        ]
        try:
            return not self._strict(zip(*loaded, strict=True))
        except ArithmeticError:
            return False

    def passes(self, values: Iterable[Any]) -> bool:
        """Tell whether a row passes, by the wire forms of `columns`; what cannot be computed does not."""
        loaded = [
            value if load is None or value is None else load(value)
            for load, value in zip(self._loaders, values, strict=True)
        ]
        try:
            return not self._loose([loaded])
        except ArithmeticError:
            return False


def _parsed(text: str) -> ast.expr:
    if len(text) > _CHARACTERS_MAX:
        raise ValueError(f"found {len(text)} characters, expected at most {_CHARACTERS_MAX}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        said = error.msg if isinstance(error, SyntaxError) else "a text that Python cannot read"
        raise ValueError(f"found {said}, {_EXPECTED}") from None
    if sum(1 for _ in ast.walk(tree)) > _NODES_MAX:
        raise ValueError(f"found more than {_NODES_MAX} parts, expected a shorter condition")
    return tree


class _Compiler:
    """Turn the tree into Python text made of our own words, and that into a function.

    The function takes rows, and returns one element for each that does not pass.
    """

    def __init__(self, columns: Mapping[str, Column], *, as_decimal: bool, nulls: bool) -> None:
        self._columns = columns
        self._places = {name: f"c{place}" for place, name in enumerate(columns)}
        self._as_decimal = as_decimal
        self._nulls = nulls
        self._temporaries = 0
        self._space: dict[str, Any] = {"__builtins__": {}, "_all": _all, "_any": _any, "_div": _div}
        self._space |= {"_len": len, "_abs": abs, "_lower": str.lower}

    def compile(self, tree: ast.expr) -> Callable[[Iterable[Any]], list[int]]:
        condition = self._part(tree)
        self._expect(condition, "bool", tree)
        names = ", ".join(self._places.values())
        text = f"lambda rows: [1 for {names}, in rows if ({condition.text}) is False]"
        # Made of the words above, of names given here, and of nothing that the config's author wrote.
        made: Callable[[Iterable[Any]], list[int]] = eval(text, self._space)  # noqa: S307
        return made

    def _part(self, node: ast.expr) -> _Part:
        kinds: dict[type[ast.AST], Callable[[Any], _Part]] = {
            ast.Name: self._name,
            ast.Constant: lambda constant: self._constant(constant.value),
            ast.BoolOp: self._junction,
            ast.UnaryOp: self._unary,
            ast.BinOp: self._arithmetic,
            ast.Compare: self._comparisons,
            ast.Call: self._call,
        }
        made = kinds.get(type(node))
        if made is None:
            raise ValueError(f"found {ast.unparse(node)!r}, {_EXPECTED}")
        return made(node)

    def _name(self, node: ast.Name) -> _Part:
        if node.id in _WORDS and node.id not in self._columns:
            return self._constant(_WORDS[node.id])
        if node.id not in self._columns:
            raise ValueError(f"found {node.id!r} without its parentheses, {_EXPECTED}")
        column = self._columns[node.id]
        kind = "number" if column.kind in NUMBERS else column.kind
        kind = "text" if kind in ("string", "uuid") else kind
        # Columns that cannot be null are not trusted with it: rows without a contract's default are.
        return _Part(self._places[node.id], kind, self._nulls)

    def _constant(self, value: Any) -> _Part:
        if value is None:
            return _Part("None", "null", nullable=True, constant=None)
        if isinstance(value, bool):
            return _Part(str(value), "bool", nullable=False, constant=value)
        if isinstance(value, int | float):
            return self._kept(Decimal(repr(value)) if self._as_decimal else value, "number", value)
        if isinstance(value, str):
            return self._kept(value, "text", value)
        raise ValueError(f"found {value!r}, {_EXPECTED}")

    def _kept(self, value: Any, kind: str, constant: Any) -> _Part:
        name = f"k{len(self._space)}"
        self._space[name] = value
        return _Part(name, kind, nullable=False, constant=constant)

    def _expect(self, part: _Part, kind: str, node: ast.expr) -> None:
        if part.type != kind:
            article = "a condition" if kind == "bool" else f"a {kind}"
            raise ValueError(f"found {ast.unparse(node)!r}, a {part.type}, expected {article}")

    def _junction(self, node: ast.BoolOp) -> _Part:
        parts = [self._part(each) for each in node.values]
        for part, each in zip(parts, node.values, strict=True):
            self._expect(part, "bool", each)
        is_and = isinstance(node.op, ast.And)
        return self._joined(
            [part.text for part in parts], any(part.nullable for part in parts), is_and=is_and
        )

    def _joined(self, texts: list[str], nullable: bool, *, is_and: bool) -> _Part:  # noqa: FBT001
        if nullable:
            return _Part(f"{'_all' if is_and else '_any'}({', '.join(texts)})", "bool", nullable=True)
        return _Part(f"({(' and ' if is_and else ' or ').join(texts)})", "bool", nullable=False)

    def _unary(self, node: ast.UnaryOp) -> _Part:
        part = self._part(node.operand)
        if isinstance(node.op, ast.Not):
            self._expect(part, "bool", node.operand)
            return self._strictly("bool", "not {}", part)
        if isinstance(node.op, ast.USub):
            self._expect(part, "number", node.operand)
            return self._strictly("number", "-{}", part)
        raise ValueError(f"found {ast.unparse(node)!r}, {_EXPECTED}")

    def _arithmetic(self, node: ast.BinOp) -> _Part:
        parts = self._part(node.left), self._part(node.right)
        for part, each in zip(parts, (node.left, node.right), strict=True):
            self._expect(part, "number", each)
        if isinstance(node.op, ast.Div):
            return _Part(f"_div({parts[0].text}, {parts[1].text})", "number", nullable=True)
        sign = _ARITHMETIC.get(type(node.op))
        if sign is None:
            raise ValueError(f"found {ast.unparse(node)!r}, {_EXPECTED}")
        return self._strictly("number", f"{{}} {sign} {{}}", *parts)

    def _comparisons(self, node: ast.Compare) -> _Part:
        found, left = [], node.left
        for sign, right in zip(node.ops, node.comparators, strict=True):
            found.append(self._comparison(left, sign, right))
            left = right
        if len(found) == 1:
            return found[0]
        return self._joined([each.text for each in found], any(each.nullable for each in found), is_and=True)

    def _comparison(self, left: ast.expr, sign: ast.cmpop, right: ast.expr) -> _Part:
        if isinstance(sign, ast.In | ast.NotIn):
            return self._membership(left, right, "in" if isinstance(sign, ast.In) else "not in")
        parts = self._part(left), self._part(right)
        if isinstance(sign, ast.Is | ast.IsNot):
            if parts[1].type != "null":
                raise ValueError(f"found is {ast.unparse(right)}, expected is null or is not null")
            word = "is" if isinstance(sign, ast.Is) else "is not"
            return _Part(f"({parts[0].text} {word} None)", "bool", nullable=False)
        first, second = self._alike(parts[0], parts[1])
        if "null" in (first.type, second.type):
            raise ValueError("found a comparison with null, expected is null or is not null")
        if first.type != second.type:
            raise ValueError(
                f"found {ast.unparse(left)!r}, a {first.type}, against {ast.unparse(right)!r}, a "
                f"{second.type}, expected two of one type"
            )
        return self._strictly("bool", f"{{}} {_COMPARE[type(sign)]} {{}}", first, second)

    def _alike(self, first: _Part, second: _Part) -> tuple[_Part, _Part]:
        """Read a text beside a time as such a time."""
        if first.type in TIMES and isinstance(second.constant, str):
            return first, self._time(second.constant, first.type)
        if second.type in TIMES and isinstance(first.constant, str):
            return self._time(first.constant, second.type), second
        return first, second

    def _time(self, text: str, kind: str) -> _Part:
        column = next(each for each in self._columns.values() if each.kind == kind)
        try:
            return self._kept(ordered_of(column, text), kind, text)
        except ValueError as error:
            raise ValueError(f"found {text!r}, expected {error}") from None

    def _membership(self, left: ast.expr, right: ast.expr, word: str) -> _Part:
        part = self._part(left)
        if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
            raise ValueError(f"found in {ast.unparse(right)}, expected in ('a', 'b')")
        items = []
        for each in right.elts:
            _, item = self._alike(part, self._part(each))
            if item.constant is ... or item.type != part.type:
                raise ValueError(f"found {ast.unparse(each)!r} in a list, expected a {part.type}")
            items.append(self._space.get(item.text, item.constant))
        return self._strictly("bool", f"{{}} {word} {self._kept(frozenset(items), 'set', ...).text}", part)

    def _call(self, node: ast.Call) -> _Part:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _CALLS or len(node.args) != 1 or node.keywords:
            raise ValueError(f"found {ast.unparse(node)!r}, {_EXPECTED}")
        takes, gives = _CALLS[name]
        part = self._part(node.args[0])
        self._expect(part, takes, node.args[0])
        return self._strictly(gives, f"_{name}({{}})", part)

    def _strictly(self, kind: str, form: str, *parts: _Part) -> _Part:
        """Compute by a form that knows no None: unknown where one of its parts is."""
        if not any(part.nullable for part in parts):
            return _Part(f"({form.format(*[part.text for part in parts])})", kind, nullable=False)
        names, tests = [], []
        for part in parts:
            if not part.nullable:
                names.append(part.text)
                continue
            self._temporaries += 1
            names.append(f"t{self._temporaries}")
            tests.append(f"({names[-1]} := {part.text}) is None")
        return _Part(f"(None if {' or '.join(tests)} else {form.format(*names)})", kind, nullable=True)


def _all(*found: bool | None) -> bool | None:
    return False if False in found else None if None in found else True


def _any(*found: bool | None) -> bool | None:
    return True if True in found else None if None in found else False


def _div(dividend: Any, divisor: Any) -> Any:
    return None if dividend is None or divisor is None or divisor == 0 else dividend / divisor
