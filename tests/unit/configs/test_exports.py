"""The package's public names."""

from __future__ import annotations

from tillstream import configs


def test_names_are_sorted_and_exist() -> None:
    """`__all__` is sorted (constants, classes, functions), without doubles, and every name is there."""
    names = configs.__all__
    assert list(names) == sorted(set(names), key=lambda name: (not name.isupper(), name))
    assert all(hasattr(configs, name) for name in names)
