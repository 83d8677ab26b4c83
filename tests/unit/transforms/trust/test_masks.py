"""One value has one mask, everywhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tillstream.configs.trust import Mask
from tillstream.transforms.trust import masks
from tillstream.transforms.trust.masks import Masker, masker_of, strictest

SALT = b"0123456789abcdef"


def mask(kind: str, **more: Any) -> Mask:
    """Return a mask."""
    return Mask.model_validate({"mask": kind, **more})


@given(st.text(st.characters(codec="utf-8")), st.binary(min_size=16, max_size=100))
def test_a_hash_is_hmac_sha256(value: str, salt: bytes) -> None:
    """It is the standard's, so that others can compute it who have the salt."""
    expected = hmac.new(salt, value.encode(), hashlib.sha256).hexdigest()
    assert Masker(mask("hash"), "", salt)[value] == expected


def test_tokens_are_shared_within_a_class() -> None:
    """The same value has one token in a class, another in another class, and with another salt."""
    tokens = {
        Masker(mask("tokenise"), pii, salt)["ada@example.com"]
        for pii, salt in (("email", SALT), ("email", SALT), ("login", SALT), ("email", SALT[::-1]))
    }
    assert len(tokens) == 3
    assert all(len(token) == 16 and token.isalnum() and token.islower() for token in tokens)


@given(st.text(st.characters(codec="utf-8")))
def test_a_token_is_base32_of_another_hash(value: str) -> None:
    """Others who have the salt can compute it, and it is no beginning of the value's hash."""
    expected = hmac.new(SALT, b"token\0email\0" + value.encode(), hashlib.sha256).digest()
    token = Masker(mask("tokenise"), "email", SALT)[value]
    assert token == base64.b32encode(expected)[:16].decode().lower()
    hashed = Masker(mask("hash"), "email", SALT)[value]
    assert base64.b32encode(bytes.fromhex(hashed))[:16].decode().lower() != token


def test_processes_share_what_they_remember() -> None:
    """Stages that mask alike have one memory."""
    first, second = (masker_of((mask("hash"), "email"), SALT) for _ in range(2))
    assert first is second
    assert first is not masker_of((mask("hash"), "name"), SALT)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values come, a masker remembers a bounded number, and stays right."""
    monkeypatch.setattr(masks, "_REMEMBERED_MAX", 10)
    masker = Masker(mask("hash"), "", SALT)
    first = masker["0"]
    for value in range(100):
        assert masker[str(value)] == masker.compute(str(value))
        assert len(masker) <= 10
    assert masker["0"] == first


def test_lone_surrogates_are_masked_too() -> None:
    """Text that is no Unicode raises nothing."""
    assert len(Masker(mask("hash"), "", SALT)["\ud800"]) == 64


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [("hash", "redact", "redact"), ("truncate", "tokenise", "tokenise"), ("tokenise", "hash", "hash")],
)
def test_of_two_masks_the_stricter_one_holds(first: str, second: str, expected: str) -> None:
    """A letter that belongs to two entities reveals what both allow."""
    found = strictest((mask(first), ""), (mask(second), ""))
    assert found[0].mask == expected
