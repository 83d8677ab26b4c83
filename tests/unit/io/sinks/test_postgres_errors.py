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
        (KeyError("x"), Cause.REFUSAL),
    ],
)
def test_an_error_has_its_cause(error: Exception, cause: Cause) -> None:
    """A bad row is set aside, an outage is waited for, a refusal is for a person."""
    assert cause_of(error) is cause


def test_a_paragraph_becomes_a_sentence() -> None:
    """Messages of the client library, which go over several lines, fit into one."""
    error = psycopg.OperationalError("server closed the connection\n\tunexpectedly.\n")
    assert describe(error) == "server closed the connection unexpectedly"
    assert describe(psycopg.OperationalError()) == "OperationalError"
