"""Errors are told apart by what cures them."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tillstream.io.sinks.postgres_errors import Cause, cause_of, describe


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (errors.NumericValueOutOfRange(), Cause.ROW),
        (errors.NotNullViolation(), Cause.ROW),
        (errors.CardinalityViolation(), Cause.ROW),
        (errors.ProgramLimitExceeded(), Cause.ROW),
        (errors.RaiseException(), Cause.ROW),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Cause.ROW),
        (psycopg.OperationalError("server closed the connection unexpectedly"), Cause.OUTAGE),
        (psycopg.InterfaceError("the connection is closed"), Cause.OUTAGE),
        (errors.AdminShutdown(), Cause.OUTAGE),
        (errors.CannotConnectNow(), Cause.OUTAGE),
        (errors.TooManyConnections(), Cause.OUTAGE),
        (errors.DiskFull(), Cause.OUTAGE),
        (errors.DeadlockDetected(), Cause.OUTAGE),
        (errors.SerializationFailure(), Cause.OUTAGE),
        (errors.LockNotAvailable(), Cause.OUTAGE),
        (errors.ReadOnlySqlTransaction(), Cause.OUTAGE),
        (errors.UndefinedTable(), Cause.REFUSAL),
        (errors.InsufficientPrivilege(), Cause.REFUSAL),
        (errors.InvalidPassword(), Cause.ENTRY),
        (errors.InvalidAuthorizationSpecification(), Cause.ENTRY),
        (errors.InvalidCatalogName(), Cause.ENTRY),
        (KeyError("x"), Cause.REFUSAL),
    ],
)
def test_an_error_has_its_cause(error: Exception, cause: Cause) -> None:
    """A bad row is set aside, an outage is waited for, a refusal is for a person."""
    assert cause_of(error) is cause


_AT = 'connection failed: connection to server at "db" (::1), port 5432 failed: '
_DOWN = _AT + "Connection refused\n\tIs the server running on that host and accepting TCP/IP connections?"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (_AT + 'FATAL:  password authentication failed for user "loader"', Cause.ENTRY),
        (_AT + "fe_sendauth: no password supplied", Cause.ENTRY),
        (_AT + 'FATAL:  role "loader" does not exist', Cause.ENTRY),
        (_AT + 'FATAL:  role "loader" is not permitted to log in', Cause.ENTRY),
        (_AT + 'FATAL:  database "nowhere" does not exist', Cause.ENTRY),
        (_AT + 'FATAL:  permission denied for database "warehouse"', Cause.ENTRY),
        (_AT + 'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "loader"', Cause.ENTRY),
        (_AT + 'FATAL:  pg_hba.conf rejects connection for host "10.0.0.1"', Cause.ENTRY),
        (f'{_DOWN}\n{_AT}FATAL:  database "nowhere" does not exist', Cause.ENTRY),
        (_DOWN, Cause.OUTAGE),
        (_AT + "FATAL:  the database system is starting up", Cause.OUTAGE),
        (_AT + "FATAL:  the database system is shutting down", Cause.OUTAGE),
        (_AT + "FATAL:  the database system is not yet accepting connections", Cause.OUTAGE),
        (_AT + "FATAL:  sorry, too many clients already", Cause.OUTAGE),
        (
            f'{_AT}FATAL:  the database system is starting up\n{_AT}FATAL:  database "n" does not exist',
            Cause.OUTAGE,
        ),
    ],
)
def test_a_connection_that_fails_has_its_cause(text: str, cause: Cause) -> None:
    """Who is not let in need not wait; a server that starts up or shuts down is waited for."""
    assert cause_of(psycopg.OperationalError(text)) is cause


def test_a_paragraph_becomes_a_sentence() -> None:
    """Messages of the client library, which go over several lines, fit into one."""
    error = psycopg.OperationalError("server closed the connection\n\tunexpectedly.\n")
    assert describe(error) == "server closed the connection unexpectedly"
    assert describe(psycopg.OperationalError()) == "OperationalError"
