"""Refer to secrets without ever holding them."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tillstream.configs.base import absolute, context_of, interpolate
from tillstream.pipelines.errors import UserError

__all__ = ["SECRETS_DIR_VARIABLE", "SecretRef"]

SECRETS_DIR_VARIABLE = "TILLSTREAM_SECRETS_DIR"
_FILE = "file:"
_PATTERN = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}|file:(.+)")


class SecretRef:
    """Name where a secret lies; its value is looked up only where and when it is used.

    Args:
        reference: `${NAME}` for an environment variable of the worker, else a file of that name in the
            worker's secrets folder for the client; or `file:/path`.

    Raises:
        ValueError: for anything else. The text is not repeated, because it may be the secret itself.
    """

    __slots__ = ("reference",)

    def __init__(self, reference: str) -> None:
        if not _PATTERN.fullmatch(reference):
            raise ValueError("expected a reference, ${NAME} or file:/path, never the secret itself")
        self.reference = reference

    def resolve(self, client: str) -> str:
        """Return the secret's value.

        Args:
            client: whose secret it is; the folder in the secrets folder.

        Raises:
            UserError: if there is none, naming where it was looked for.
        """
        match = _PATTERN.fullmatch(self.reference)
        name, path = match.groups() if match else (None, None)
        if path is not None:
            return _read(Path(path), self.reference)
        value = os.environ.get(str(name))
        if value is not None:
            return value
        folder = os.environ.get(SECRETS_DIR_VARIABLE)
        if folder is None:
            raise UserError(
                f"secret {self.reference}: found no such environment variable where the job runs, and "
                f"{SECRETS_DIR_VARIABLE} names no folder to look for it in"
            )
        return _read(Path(folder, client, str(name)), self.reference)

    def __repr__(self) -> str:
        return f"SecretRef({self.reference!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretRef) and other.reference == self.reference

    def __hash__(self) -> int:
        return hash(self.reference)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Validate from a reference's text, and serialise to it."""
        return core_schema.with_info_plain_validator_function(
            cls._validate,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda ref: ref.reference),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Describe the text form."""
        return {"type": "string", "format": "secret-reference", "pattern": f"^({_PATTERN.pattern})$"}

    @classmethod
    def _validate(cls, value: Any, info: ValidationInfo) -> "SecretRef":
        if isinstance(value, cls):
            return value
        if not isinstance(value, str) or not _PATTERN.fullmatch(value):
            # The text is left out: it may be the secret itself.
            raise PydanticCustomError(
                "literal_secret",
                "found a value that is no reference (not shown), expected ${NAME} or file:PATH",
            )
        if not value.startswith(_FILE):
            return cls(value)
        path = interpolate(value[len(_FILE) :], context_of(info).environment)
        return cls(_FILE + absolute(path, info))


def _read(path: Path, reference: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise UserError(f"secret {reference}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without its cause, which shows the bytes.
        raise UserError(f"secret {reference}: found bytes in {path}, expected UTF-8 text") from None
