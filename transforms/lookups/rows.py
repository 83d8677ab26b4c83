"""Read looked-up rows as transforms get them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tillstream.configs import ClientConfig, Column
from tillstream.pipelines.errors import RecordError
from tillstream.transforms.contracts.compiled import CompiledContract
from tillstream.transforms.contracts.models import columns_of_model
from tillstream.transforms.flows import registry_of

__all__ = ["row_reader"]

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
    model = config.entities[entity]
    columns: tuple[Column, ...] = ()
    if model.transform is None:
        columns = model.columns()
    else:
        read = registry_of(config).info(model.transform).input
        columns = () if read is None else columns_of_model(read)
    return CompiledContract(entity, columns, ()).typed if columns else _decode


def _decode(row: bytes) -> dict[str, Any]:
    try:
        return _decode_json(row)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise RecordError("malformed", f"found {error}, expected a row") from error
