"""Take personal data out of values: by hash, token, cut or nothing at all."""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from tillstream.configs import ClientConfig
from tillstream.configs.trust import Mask
from tillstream.pipelines.errors import UserError

__all__ = [
    "Masker",
    "Named",
    "classes_masked",
    "has_masks",
    "mask_names",
    "masker_of",
    "salt_of",
    "strictest",
]

# A mask, and the PII class whose tokens it shares; empty without one.
Named: TypeAlias = tuple[Mask, str]

_REMEMBERED_MAX = 65_536
_SALT_BYTES_MIN = 16
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_PAIRS = [first + second for first in _BASE32 for second in _BASE32]
_BLOCK_BYTES = 64
_STRICTEST = ("redact", "hash", "tokenise", "truncate")
_encode = msgspec.json.Encoder().encode
_SHARED: weakref.WeakValueDictionary[Any, Masker] = weakref.WeakValueDictionary()
_SHARED_LOCK = threading.Lock()


class Masker(dict[Any, Any]):
    """Map values to what takes their place, remembering a bounded number of them.

    Changes name the same few customers again and again, and a look-up costs a twentieth of a hash.

    Args:
        mask: what to do.
        pii: PII class whose tokens it shares.
        salt: the client's.
    """

    __slots__ = ("__weakref__", "_inner", "_kind", "_mask", "_outer", "_prefix")

    def __init__(self, mask: Mask, pii: str, salt: bytes) -> None:
        super().__init__()
        self._mask = mask
        self._kind = mask.mask
        # Tokens have a space of their own, so that none is the beginning of a hash.
        self._prefix = b"" if mask.mask == "hash" else b"token\0%b\0" % pii.encode()
        # HMAC (RFC 2104) with the salted blocks hashed once: half the time of hmac.digest.
        key = hashlib.sha256(salt).digest() if len(salt) > _BLOCK_BYTES else salt
        key = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(each ^ 0x36 for each in key))
        self._outer = hashlib.sha256(bytes(each ^ 0x5C for each in key))

    def __missing__(self, value: Any) -> Any:
        """Compute what is not remembered."""
        found = self.compute(value)
        if len(self) >= _REMEMBERED_MAX:
            self.clear()
        self[value] = found
        return found

    def apply(self, value: Any) -> Any:
        """Return what takes a value's place: of any JSON value, also one that cannot be remembered."""
        # True is 1 to a dict.
        return self[value] if isinstance(value, str) else self.compute(value)

    def compute(self, value: Any) -> Any:
        """Return what takes a value's place; null stays null."""
        if value is None or self._kind == "redact":
            return None if value is None else self._mask.text
        if self._kind == "truncate":
            return value[: self._mask.characters] if isinstance(value, str) else None
        digest = self.digest(
            self._prefix
            + (value.encode("utf-8", "surrogatepass") if isinstance(value, str) else _text(value))
        )
        if self._kind == "hash":
            return digest.hex()
        return _token(digest)

    def digest(self, data: bytes) -> bytes:
        """Return HMAC-SHA256 of some bytes with the client's salt."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(data)
        outer.update(inner.digest())
        return outer.digest()


def _token(digest: bytes) -> str:
    """Return the first 80 bits in base32 (RFC 4648) and lower case; base64.b32encode takes longer."""
    high, low = int.from_bytes(digest[:5], "big"), int.from_bytes(digest[5:10], "big")
    return (
        _PAIRS[high >> 30]
        + _PAIRS[high >> 20 & 1023]
        + _PAIRS[high >> 10 & 1023]
        + _PAIRS[high & 1023]
        + _PAIRS[low >> 30]
        + _PAIRS[low >> 20 & 1023]
        + _PAIRS[low >> 10 & 1023]
        + _PAIRS[low & 1023]
    )


def _text(value: Any) -> bytes:
    try:
        return _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return repr(value).encode("utf-8", "surrogatepass")


def masker_of(named: Named, salt: bytes) -> Masker:
    """Return the process's masker of that kind, so that all stages share what it remembers."""
    mask, pii = named
    key = (mask.mask, mask.characters, mask.text, pii, salt)
    with _SHARED_LOCK:
        masker = _SHARED.get(key)
        if masker is None:
            masker = _SHARED[key] = Masker(mask, pii, salt)
        return masker


def mask_names(config: ClientConfig, entity: str) -> Mapping[str, Named]:
    """Return the masks of an entity's columns, by name; a column's own goes before that of its class."""
    about = config.entities[entity]
    classes = {column.name: column.pii or "" for column in about.columns()}
    found = classes_masked(config, classes)
    for name, mask in about.masks.items():
        found[name] = (mask, classes.get(name, ""))
    return found


def classes_masked(config: ClientConfig, classes: Mapping[str, str]) -> dict[str, Named]:
    """Return the masks that PII classes give columns, by name."""
    by_class = config.privacy.by_class
    return {name: (by_class[pii], pii) for name, pii in classes.items() if pii in by_class}


def has_masks(config: ClientConfig) -> bool:
    """Tell whether a client masks anything."""
    return bool(config.privacy.by_class) or any(entity.masks for entity in config.entities.values())


def strictest(first: Named, second: Named) -> Named:
    """Return which of two masks reveals less."""
    return min(first, second, key=lambda named: _STRICTEST.index(named[0].mask))


def salt_of(config: ClientConfig) -> bytes:
    """Read the client's salt.

    Raises:
        UserError: if there is none where the job runs, or one that can be guessed.
    """
    salt = config.privacy.salt
    if salt is None:
        raise UserError(
            f"client {config.client!r}: privacy.salt: found nothing, expected the salt of its masks"
        )
    found = salt.resolve(config.client).encode()
    if len(found) < _SALT_BYTES_MIN:
        raise UserError(
            f"secret {salt.reference}: found {len(found)} bytes, expected a salt of at least "
            f"{_SALT_BYTES_MIN}"
        )
    return found
