"""Refer to secrets without ever holding one: where a password is, not what it is."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tillstream.configs.base import context_of, interpolate
from tillstream.pipelines.errors import UserError

__all__ = ["SECRETS_DIR_VARIABLE", "SecretRef"]

SECRETS_DIR_VARIABLE = "TILLSTREAM_SECRETS_DIR"

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_FILE_PREFIX = "file:"


class SecretRef:
    """Say where a secret is; the value is read by the process that uses it, when it uses it.

    It is written `${NAME}` (an environment variable, or else the file `<client>/NAME` in the folder that
    TILLSTREAM_SECRETS_DIR names) or `file:PATH`. Only the reference is ever pickled, printed or dumped.

    Args:
        reference: `${NAME}` or `file:` and an absolute path.
    """

    __slots__ = ("reference",)

    def __init__(self, reference: str) -> None:
        if not (_VARIABLE.fullmatch(reference) or reference.startswith(_FILE_PREFIX)):
            # The text itself is left out: it may be the secret.
            raise ValueError("expected ${NAME} or file:PATH, not the secret itself")
        self.reference = reference

    def resolve(self, client: str) -> str:
        """Read the secret; one line end after it in a file is not part of it.

        Args:
            client: whose secret it is.

        Raises:
            UserError: if it is in none of the places where it may be; names them.
        """
        variable = _VARIABLE.fullmatch(self.reference)
        if variable is None:
            return self._read(Path(self.reference[len(_FILE_PREFIX) :]))
        name = variable[1]
        value = os.environ.get(name)
        if value:
            return value
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if not folder:
            raise UserError(
                f"client {client}: secret {name}: found neither an environment variable of this name nor "
                f"{SECRETS_DIR_VARIABLE}, the folder where {client}/{name} could be: set one of them"
            )
        path = Path(folder, client, name)
        if not path.is_file():
            raise UserError(
                f"client {client}: secret {name}: found neither an environment variable of this name nor "
                f"the file {path}: provide one of them"
            )
        return self._read(path)

    @staticmethod
    def _read(path: Path) -> str:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UserError(
                f"secret file {path}: {reason}: expected a readable file with the secret"
            ) from None
        return text.removesuffix("\n").removesuffix("\r")

    def __repr__(self) -> str:
        return f"SecretRef({self.reference!r})"

    def __str__(self) -> str:
        return self.reference

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretRef) and self.reference == other.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate the written form, and dump it unchanged."""
        return core_schema.with_info_plain_validator_function(
            cls._validate, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Show editors the two written forms."""
        return {"type": "string", "pattern": r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|file:.+)$"}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> "SecretRef":
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            if _VARIABLE.fullmatch(value):
                return cls(value)
            if value.startswith(_FILE_PREFIX):
                context = context_of(info)
                path = interpolate(value[len(_FILE_PREFIX) :], context.environment)
                if path:
                    absolute = os.path.normpath(context.folder.absolute() / Path(path).expanduser())
                    return cls(_FILE_PREFIX + absolute)
        raise PydanticCustomError(
            "literal_secret",
            "found something else (not shown), expected a reference to the secret: ${{NAME}} or file:PATH",
        )
