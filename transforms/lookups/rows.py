"""Read looked-up rows as transforms get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tillstream.configs import ClientConfig, Column
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.contracts.unavailable import ANYTHING, Unavailable
from tillstream.transforms.flows import registry_of

__all__ = ["row_reader", "unavailable_in"]

_decode_json = msgspec.json.Decoder(dict[str, Any]).decode


def row_reader(config: ClientConfig, entity: str) -> Callable[[bytes], dict[str, Any]]:
    """Return what reads a looked-up row as it came from the source, with Python's types where it can.

    The types are those of the entity's contract. Where the entity has a transform, its contract is that of
    the rows which the transform makes; then the transform's input model tells them.

    Args:
        config: the client's.
        entity: the looked-up one.

    Returns:
        A function that raises RecordError where a row breaks that contract, or is none.
    """
    columns = _columns_of(config, entity)
    return CompiledContract(entity, columns, ()).typed if columns else _decode


def unavailable_in(config: ClientConfig, entity: str) -> Unavailable:
    """Return what settles the columns of a looked-up row that the source did not send."""
    columns = _columns_of(config, entity)
    return Unavailable({column.name: column.kind for column in columns}) if columns else ANYTHING


def _columns_of(config: ClientConfig, entity: str) -> tuple[Column, ...]:
    model = config.entities[entity]
    if model.transform is None:
        return model.columns()
    read = registry_of(config).info(model.transform).input
    return () if read is None else columns_of_model(read)


def _decode(row: bytes) -> dict[str, Any]:
    try:
        return _decode_json(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected a row") from error
