"""A new transform's name is checked, and its version is a free one."""

from __future__ import annotations

import pytest

from tillstream.pipelines.errors import UserError
from tillstream.transforms.scaffold.names import next_version, parse_name


def test_other_names_follow() -> None:
    """Package, module and class are called after client and transform."""
    names = parse_name("acme/big_orders")
    assert (names.package, names.module, names.class_name) == (
        "acme_transforms",
        "acme_transforms.big_orders",
        "BigOrders",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("acme", "expected client/transform"),
        ("acme/", "expected client/transform"),
        ("a/b/c", "expected client/transform"),
        ("Acme/big", "client: found 'Acme', expected a name of a-z"),
        ("acme/Big-Orders", "transform: found 'Big-Orders', expected a name of a-z"),
        ("acme/../x", "expected client/transform"),
        ("acme/class", "no word of Python"),
        ("acme/none", "expected a name whose class is not None"),
        ("acme/change_event", "expected a name whose class is not ChangeEvent"),
        ("a" * 32 + "/big", "at most 31"),
        ("acme/" + "a" * 41, "found a name of 41 letters, expected at most 40 for 'acme'"),
    ],
)
def test_bad_names_are_told(text: str, message: str) -> None:
    """What cannot be a name is refused with what would be one."""
    with pytest.raises(UserError, match=message):
        parse_name(text)


@pytest.mark.parametrize(
    ("known", "version"),
    [
        ([], "1.0.0"),
        (["acme.big_orders_too@3.0.0", "globex.big_orders@2.0.0"], "1.0.0"),
        (["acme.big_orders@1.4.2"], "2.0.0"),
        (["acme.big_orders@2.0.0", "acme.big_orders@10.1.0"], "11.0.0"),
    ],
)
def test_a_known_name_gets_its_next_version(known: list[str], version: str) -> None:
    """Versions live side by side, so a name that is taken is no hindrance."""
    assert next_version(parse_name("acme/big_orders"), known) == version
