"""Read what Debezium's MongoDB connector writes: documents as texts of extended JSON.

`before` and `after` are texts, and so is the `id` of a message's key, which is the document's `_id`. Since no
column of a contract begins with an underscore, that is the column `id`, as the connector calls it in keys; a
field `id` that the document has beside it is the column `id_`. Values
that JSON has no form for are objects with a name that begins with a dollar sign; they become what rows spell
them as. Objects and arrays inside of a document stay what they are, for columns of JSON.

Source: Debezium 3 documentation, "Debezium connector for MongoDB", sections "Change event keys", "Change
event values" and the property `capture.mode`; MongoDB, "MongoDB Extended JSON (v2)", canonical and relaxed,
and the older form of binary values.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tillstream.pipelines.errors import RecordError

__all__ = ["document_of", "key_of", "plain"]

_NULL = b"null"
_COLUMNS = {"_id": "id", "id": "id_"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_decode = msgspec.json.Decoder().decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode
_UNREADABLE = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
)


def document_of(text: bytes) -> bytes:
    """Return the row of a document, `before` or `after` as it stands in an envelope; null stays.

    Raises:
        RecordError: `malformed` where it is no document.
    """
    if text == _NULL:
        return text
    try:
        document = _decode(_decode_text(text) if text.startswith(b'"') else text)
        if not isinstance(document, dict):
            raise TypeError("no document")
        return _encode({_COLUMNS.get(name, name): plain(value) for name, value in document.items()})
    except _UNREADABLE as error:
        raise RecordError("malformed", f"found {error!r:.200}, expected a document of MongoDB") from error


def key_of(key: bytes | None) -> bytes | None:
    """Return a message's key as one of the column `id`.

    Raises:
        RecordError: `malformed` where it is none of MongoDB's.
    """
    if key is None:
        return None
    try:
        found = _decode(key)
        if "payload" in found:
            found = found["payload"]
        return _encode({"id": plain(_decode(found["id"]))})
    except _UNREADABLE as error:
        raise RecordError(
            "malformed", f"found {error!r:.200} in the message's key, expected the id of a document"
        ) from error


def plain(value: Any) -> Any:
    """Return a value of extended JSON as rows spell it.

    Raises:
        ValueError, TypeError, LookupError, OverflowError: for one that its own name belies.
    """
    if isinstance(value, list):
        return [plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    name = next(iter(value), "")
    spell = _SPELLINGS.get(name)
    if spell is None or len(value) > (_PARTS.get(name, 1)):
        return {key: plain(each) for key, each in value.items()}
    return spell(value)


def _date(value: Mapping[str, Any]) -> str:
    found = plain(value["$date"])
    if isinstance(found, str):
        return found
    if type(found) is not int:
        raise TypeError("no date")
    # Not fromtimestamp, which goes by floats.
    return (_EPOCH + dt.timedelta(milliseconds=found)).isoformat().replace("+00:00", "Z")


def _binary(value: Mapping[str, Any]) -> str:
    found = value["$binary"]
    text = found["base64"] if isinstance(found, dict) else found
    base64.b64decode(text, validate=True)
    return str(text)


def _double(value: Mapping[str, Any]) -> float | str:
    text = value["$numberDouble"]
    return str(text) if text in ("NaN", "Infinity", "-Infinity") else float(text)


def _integer(name: str) -> Callable[[Mapping[str, Any]], int]:
    return lambda value: int(value[name])


def _text(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda value: str(value[name])


_SPELLINGS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "$oid": _text("$oid"),
    "$uuid": _text("$uuid"),
    "$symbol": _text("$symbol"),
    "$numberInt": _integer("$numberInt"),
    "$numberLong": _integer("$numberLong"),
    "$numberDouble": _double,
    "$numberDecimal": _text("$numberDecimal"),
    "$date": _date,
    "$binary": _binary,
    "$undefined": lambda _: None,
}
# The older form of a binary value has its type beside it.
_PARTS = {"$binary": 2}
