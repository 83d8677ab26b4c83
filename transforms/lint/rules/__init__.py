"""Hold the rules, one file each."""

from tillstream.transforms.lint.rule import Rule
from tillstream.transforms.lint.rules import (
    blocking,
    bundles,
    chance,
    clock,
    defaults,
    exceptions,
    globals_,
    handles,
    labels,
    memory,
    order,
    printing,
)

__all__ = ["RULES"]

_MODULES = (
    labels,
    handles,
    clock,
    chance,
    order,
    defaults,
    memory,
    globals_,
    blocking,
    exceptions,
    printing,
    bundles,
)
RULES: tuple[Rule, ...] = tuple(module.RULE for module in _MODULES)
