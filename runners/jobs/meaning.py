"""Write down what a config alone does not say of a client's tables and totals, for plans of later builds."""

from __future__ import annotations

from typing import Any

from tillstream.configs import ClientConfig
from tillstream.transforms.aggregates.groups import signature_of
from tillstream.transforms.aggregates.router import name_of
from tillstream.transforms.flows import flows_of, registry_of
from tillstream.transforms.lifecycle import naming
from tillstream.transforms.resolving import resolve

__all__ = ["contracts_of_transforms", "totals_of"]


def contracts_of_transforms(config: ClientConfig) -> dict[str, Any]:
    """Return the contracts that transforms bring for entities without one, as configs spell them."""
    resolved = resolve(config)
    found = {}
    for name, entity in config.entities.items():
        contract = resolved.entities[name].contract
        if entity.contract is None and contract is not None:
            found[name] = {
                column: model.model_dump(mode="json", by_alias=True, exclude_defaults=True)
                for column, model in contract.items()
            }
    return found


def totals_of(config: ClientConfig) -> dict[str, int]:
    """Return what each aggregate adds up, as a number, by the name that its state goes by."""
    found = {}
    for flows in flows_of(config, registry_of(config)).values():
        for flow in flows:
            if flow.kind == "aggregate" and flow.transform is not None:
                with naming(flow, "its constructor"):
                    combine = flow.transform().combine
                found[name_of(flow)] = signature_of(dict(sorted(combine.items())))
    return found
