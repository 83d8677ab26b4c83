"""Read what Java's DataOutputStream wrote: big-endian numbers, and texts with their length before them."""

from __future__ import annotations

import struct

__all__ = ["Damaged", "JavaReader"]

_LENGTH = struct.Struct(">H")
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_BYTE = struct.Struct(">b")


class Damaged(ValueError):  # noqa: N818  (says what it is of the bytes)
    """Say at which byte what was read stops making sense, and why."""


class JavaReader:
    """Read one value after the other (java.io.DataInput).

    Args:
        content: all there is.
        place: of the first byte to read.
    """

    def __init__(self, content: bytes, place: int = 0) -> None:
        self._content = content
        self.place = place

    def read_byte(self) -> int:
        """Return a signed byte."""
        return int(self._number(_BYTE))

    def read_int(self) -> int:
        """Return a signed number of 32 bits."""
        return int(self._number(_INT))

    def read_long(self) -> int:
        """Return a signed number of 64 bits."""
        return int(self._number(_LONG))

    def read_text(self) -> str:
        """Return a text; what Java spells in a way of its own (nulls, the rarest signs) is not told apart."""
        length = self._number(_LENGTH)
        return self.read_bytes(length).decode("utf-8", errors="replace")

    def read_bytes(self, length: int) -> bytes:
        """Return so many bytes."""
        end = self.place + length
        if length < 0 or end > len(self._content):
            raise Damaged(
                f"found {len(self._content)} bytes, expected {length} more behind byte {self.place}"
            )
        found = self._content[self.place : end]
        self.place = end
        return found

    def read_count(self, size: int) -> int:
        """Return a number of things that follow, each of at least so many bytes."""
        found = self.read_int()
        if not 0 <= found * size <= len(self._content) - self.place:
            raise Damaged(f"found a count of {found} at byte {self.place - 4}, expected what the file holds")
        return found

    def _number(self, form: struct.Struct) -> int:
        (found,) = form.unpack(self.read_bytes(form.size))
        return int(found)
