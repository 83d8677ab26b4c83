"""Write the code that reads Avro bodies of one schema, and compile it.

A writer's schema is fixed, so what each byte means is known before the first message: the code for a schema
is a straight line without a look at the schema. Fields that nobody wants are passed over by one regular
expression each run of them. `docs/decisions/0013` has what this costs beside a general reader.

The code takes nothing out of a schema but numbers; names and functions come to it as constants. What it reads
is bounded by the message: lengths beyond its end read what is there and fail at the end, and an array's count
is checked against the bytes that are left.

Source: Avro 1.12 specification, "Binary Encoding".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tillstream.io.codecs.avro_numbers import FLOAT32, FLOAT64, count, fail, int32, shortest, size, varint
from tillstream.io.codecs.avro_schema import Node, SchemaError

__all__ = ["CodeWriter", "column_of"]

_CODE = "<avro>"
_LOOPS_MAX = 6
_VARINT = rb"[\x80-\xff]{0,9}[\x00-\x7f]"
_SKIPPED = {
    "null": b"",
    "boolean": rb"[\x00\x01]",
    "int": _VARINT,
    "long": _VARINT,
    "enum": _VARINT,
    "float": rb"[\x00-\xff]{4}",
    "double": rb"[\x00-\xff]{8}",
}


class CodeWriter:
    """Gather the lines of a function that reads one body, `body` from `p` on.

    Each `read` leaves a value in a variable. Values have Python's types: whole numbers, floats, str, bytes,
    lists, dicts of text to value, None; enums are their symbols.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._indent = 1
        self._loops = 0
        self._names = 0
        self._memos: list[str] = []
        self._is_at_end = False
        self._given: dict[str, Any] = {
            "varint": varint,
            "int32": int32,
            "size": size,
            "count": count,
            "fail": fail,
            "shortest": shortest,
            "float32": FLOAT32.unpack_from,
            "float64": FLOAT64.unpack_from,
        }
        # Line and column of each value that is spelt, for messages.
        self.columns: dict[int, str] = {}

    def line(self, text: str) -> None:
        """Add a line where the writer stands."""
        self._lines.append("    " * self._indent + text)

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Add a line and stand inside of it."""
        self.line(head)
        self._indent += 1
        yield
        self._indent -= 1

    def name(self) -> str:
        """Return a new variable."""
        self._names += 1
        return f"v{self._names}"

    def constant(self, value: Any) -> str:
        """Return the name by which the code has a value."""
        name = f"K{len(self._given)}"
        self._given[name] = value
        return name

    def function(self, returned: str, *, is_whole: bool = True) -> Callable[[bytes, int], Any]:
        """Return the function of (body, p).

        Args:
            returned: what it returns, of variables.
            is_whole: whether the body ends with the last value; the function then raises where it does not.
        """
        if is_whole and not self._is_at_end:
            with self.block("if p != len(body):"):
                self.line("fail('a length beyond its end' if p > len(body) else 'bytes behind its end')")
        self.line(f"return {returned}")
        head = ["def read(body, p):", f"    global {', '.join(self._memos)}" if self._memos else "    pass"]
        scope = dict(self._given)
        exec(compile("\n".join([*head, *self._lines]), _CODE, "exec"), scope)  # noqa: S102  (see above)
        read: Callable[[bytes, int], Any] = scope["read"]
        return read

    def read(self, node: Node) -> str:
        """Add what reads a value; return its variable."""
        return self.either(node, self._value)

    def spelt(self, node: Node, spell: Callable[[Any], Any] | None, column: str) -> str:
        """Add what reads a value and spells it, where it is not null; return its variable."""
        constant = self.constant(spell) if spell else ""

        def one(each: Node, into: str) -> None:
            self._value(each, into)
            if constant and each.kind != "null":
                # Two lines stand before the first.
                self.columns[len(self._lines) + 3] = column
                self.line(f"{into} = {constant}({into})")

        return self.either(node, one)

    def either(self, node: Node, each: Callable[[Node, str], None]) -> str:
        """Add what reads a value, by a function that adds it for one type of a union; return its variable."""
        into = self.name()
        if node.kind != "union":
            each(node, into)
            return into
        self.line("u = body[p]; p += 1")
        # Null is the less likely.
        order = sorted(enumerate(node.branches), key=lambda found: found[1].kind == "null")
        for tested, (place, branch) in enumerate(order):
            with self.block(f"{'el' if tested else ''}if u == {2 * place}:"):
                self.line("pass")
                each(branch, into)
        self.line("else: fail('a branch that its union has not')")
        return into

    @staticmethod
    def row(values: Sequence[tuple[str, str]]) -> str:
        """Return what makes a dict, given its keys and the variables of its values."""
        # A text's repr is a literal of that text, whatever is in it.
        return f"{{{', '.join(f'{name!r}: {value}' for name, value in values)}}}"

    def repeated(self, nodes: Sequence[tuple[Node, bool]]) -> list[str]:
        """Add what reads texts that are the same in most messages: they are known again by their bytes.

        Args:
            nodes: types of the values, and whether each is wanted.

        Returns:
            The variables of those that are wanted.
        """
        into = [self.name() for _, is_wanted in nodes if is_wanted]
        memo = self.constant((None, 0, *[None for _ in into]))
        self._memos.append(memo)
        self.line(f"{', '.join(['m', 'n', *into])} = {memo}")
        with self.block("if body[p : p + n] == m:"):
            self.line("p += n")
        with self.block("else:"):
            self.line("s = p")
            names = iter(into)
            for node, is_wanted in nodes:
                if is_wanted:
                    self.line(f"{next(names)} = {self.read(node)}")
                else:
                    self.skip([node])
            # Bound at once: another thread sees all of it or nothing.
            self.line(f"{memo} = ({', '.join(['body[s:p]', 'p - s', *into])})")
        return into

    def later(self, condition: str, mark: str, before: Sequence[Node], node: Node, into: str) -> None:
        """Add what reads a value that was passed over, where a condition says that it is needed after all.

        Args:
            condition: of variables.
            mark: variable with a place.
            before: types of the values from there on to this one.
            node: its type.
            into: variable that it goes to.
        """
        with self.block(f"if {condition}:"):
            self.line(f"end = p; p = {mark}")
            self.skip(before)
            self.line(f"{into} = {self.read(node)}; p = end")

    def mark(self) -> str:
        """Add what notes the present place; return its variable."""
        into = self.name()
        self.line(f"{into} = p")
        return into

    def skip(self, nodes: Sequence[Node], *, are_last: bool = False) -> None:
        """Add what passes over values that follow each other; `are_last` where the body ends with them."""
        pattern = b""
        for node in nodes:
            own = _pattern(node)
            if own is not None:
                pattern += own
                continue
            self._match(pattern)
            pattern = b""
            self._pass(node)
        self._match(pattern, is_last=are_last)

    def _match(self, pattern: bytes, *, is_last: bool = False) -> None:
        if not pattern:
            return
        if is_last:
            match = self.constant(re.compile(pattern).fullmatch)
            self.line(f"if {match}(body, p) is None: fail('another end')")
            self._is_at_end = True
            return
        match = self.constant(re.compile(pattern).match)
        self.line(f"m = {match}(body, p)")
        self.line("if m is None: fail('no such value')")
        self.line("p = m.end()")

    def _pass(self, node: Node) -> None:
        if node.kind in ("string", "bytes"):
            self._length()
            self.line("p += n >> 1")
        elif node.kind == "record":
            self.skip([each for _, each in node.fields])
        elif node.kind == "union":
            self.either(node, lambda each, _: self.skip([each]))
        else:
            self.read(node)

    def _value(self, node: Node, into: str) -> None:
        getattr(self, f"_{node.kind}")(node, into)

    def _null(self, _: Node, into: str) -> None:
        self.line(f"{into} = None")

    def _boolean(self, _: Node, into: str) -> None:
        self.line(f"{into} = body[p]; p += 1")
        self.line(
            f"{into} = False if {into} == 0 else True if {into} == 1 else fail('a boolean of another byte')"
        )

    def _int(self, _: Node, into: str) -> None:
        self._number(into, "int32")

    def _long(self, _: Node, into: str) -> None:
        self._number(into, "varint")

    def _number(self, into: str, function: str) -> None:
        self.line(f"{into} = body[p]; p += 1")
        with self.block(f"if {into} > 127:"):
            # Most numbers take two bytes at most, which is no call's worth.
            self.line("u = body[p]")
            self.line(f"if u < 128: {into} += (u << 7) - 128; p += 1")
            self.line(f"else: {into}, p = {function}(body, p, {into})")
        self.line(f"{into} = ({into} >> 1) ^ -({into} & 1)")

    def _float(self, _: Node, into: str) -> None:
        self.line(f"{into} = shortest(float32(body, p)[0]); p += 4")

    def _double(self, _: Node, into: str) -> None:
        self.line(f"{into} = float64(body, p)[0]; p += 8")

    def _length(self) -> None:
        self.line("n = body[p]; p += 1")
        self.line("if n & 129: n, p = size(body, p, n)")

    def _bytes(self, _: Node, into: str) -> None:
        self._length()
        self.line(f"q = p + (n >> 1); {into} = body[p:q]; p = q")

    def _string(self, _: Node, into: str) -> None:
        self._length()
        self.line(f"q = p + (n >> 1); {into} = body[p:q].decode(); p = q")

    def _fixed(self, node: Node, into: str) -> None:
        self.line(f"q = p + {node.size}; {into} = body[p:q]; p = q")

    def _enum(self, node: Node, into: str) -> None:
        self._length()
        self.line(f"{into} = {self.constant(node.symbols)}[n >> 1]")

    def _union(self, node: Node, into: str) -> None:
        self.line(f"{into} = {self.read(node)}")

    def _record(self, node: Node, into: str) -> None:
        self.line(f"{into} = {self.row([(name, self.read(each)) for name, each in node.fields])}")

    def _array(self, node: Node, into: str) -> None:
        with self._items(into, "[]"):
            item = self.read(node.branches[0])
            self.line(f"{into}.append({item})")

    def _map(self, node: Node, into: str) -> None:
        with self._items(into, "{}"):
            key = self.read(Node("string", 1))
            value = self.read(node.branches[0])
            self.line(f"{into}[{key}] = {value}")

    @contextmanager
    def _items(self, into: str, empty: str) -> Iterator[None]:
        self._loops += 1
        if self._loops > _LOOPS_MAX:
            raise SchemaError(f"found more than {_LOOPS_MAX} arrays and maps inside each other")
        count = self.name()
        self.line(f"{into} = {empty}")
        with self.block("while True:"):
            self.line(f"{count}, p = count(body, p)")
            self.line(f"if {count} == 0: break")
            with self.block(f"for {count} in range({count}):"):
                yield
        self._loops -= 1


def _pattern(node: Node) -> bytes | None:
    """Return what matches each value of a type, or None where no expression does."""
    if node.kind == "fixed":
        return rb"[\x00-\xff]{%d}" % node.size
    if node.kind == "record":
        return _joined([_pattern(each) for _, each in node.fields], b"")
    if node.kind == "union":
        parts = [_pattern(each) for each in node.branches]
        numbered = [
            None if part is None else re.escape(bytes([2 * at])) + part for at, part in enumerate(parts)
        ]
        whole = _joined(numbered, b"|")
        return None if whole is None else b"(?:%s)" % whole
    return _SKIPPED.get(node.kind)


def _joined(parts: list[bytes | None], between: bytes) -> bytes | None:
    found = [part for part in parts if part is not None]
    return between.join(found) if len(found) == len(parts) else None


def column_of(error: BaseException, columns: Mapping[int, str]) -> str | None:
    """Return the column whose spelling raised an error, by the line of the compiled code; None for none."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _CODE:
            return columns.get(trace.tb_lineno)
        trace = trace.tb_next
    return None
