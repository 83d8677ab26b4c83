"""What is sent to the captured database."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

from psycopg.pq import PGconn
from psycopg.sql import Composed

from tillstream.runners.capture.source import set_password


class Connection:
    """Note the statements that a server would get."""

    def __init__(self) -> None:
        # Of nowhere: its library makes verifiers without a server.
        self.pgconn = PGconn.connect_start(b"host=/nowhere port=none")
        self.statements: list[str] = []

    def execute(self, statement: Composed) -> None:
        """Note one."""
        self.statements.append(statement.as_string(None))


def test_a_server_never_sees_the_password() -> None:
    """It gets a verifier of it: statements are logged, and shown to others."""
    connection: Any = Connection()
    set_password(connection, "tillstream_acme", "s3cret")
    (statement,) = connection.statements
    assert "s3cret" not in statement
    found = re.fullmatch(
        r"""alter role "tillstream_acme" password 'SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):([^']+)'""",
        statement,
    )
    assert found is not None
    rounds, salt, stored, _ = found.groups()
    salted = hashlib.pbkdf2_hmac("sha256", b"s3cret", base64.b64decode(salt), int(rounds))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert base64.b64decode(stored) == hashlib.sha256(client_key).digest()
