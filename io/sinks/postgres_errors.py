"""Tell a Postgres error that retrying cures from one that a row causes and one that a person must mend."""

from __future__ import annotations

import re
from enum import Enum

import psycopg

__all__ = ["Cause", "cause_of", "describe"]

# Classes of SQLSTATE (PostgreSQL, appendix A): data exception, integrity constraint, cardinality,
# program limit (a key too long for its index), with check option, raised by a trigger.
_ROW_CLASSES = frozenset({"22", "23", "21", "54", "44", "P0"})
# Connection, transaction state (read-only after a fail-over), roll-back (deadlock, serialization),
# resources, object in use (lock timeout), operator intervention, system error, internal error.
_OUTAGE_CLASSES = frozenset({"08", "25", "40", "53", "55", "57", "58", "XX"})


# Invalid authorization, and database that does not exist.
_ENTRY_CLASSES = frozenset({"28", "3D"})
# While connecting, libpq keeps the SQLSTATE to itself: only the text tells, in English by default. Where a
# server says it in another language, the error counts as an outage, and is said after the retries.
# Texts: PostgreSQL, libpq/auth.c, utils/init/miscinit.c and postinit.c, and libpq's fe-auth.c.
_SAID = re.compile(r"(?:FATAL:|fe_sendauth:)\s+(.*)")
_NO_ENTRY = re.compile(
    r"(?:.* )?authentication failed for user |no pg_hba\.conf entry |pg_hba\.conf rejects "
    r'|role ".*" (?:does not exist|is not permitted to log in)'
    r'|database ".*" does not exist|permission denied for database |no password supplied'
)


class Cause(Enum):
    """Name what an error comes from."""

    ROW = "row"
    OUTAGE = "outage"
    ENTRY = "entry"
    REFUSAL = "refusal"


def cause_of(error: BaseException) -> Cause:
    """Return what an error comes from; errors of encoding a row count as the row's."""
    if not isinstance(error, psycopg.Error):
        return Cause.ROW if isinstance(error, (ValueError, TypeError, OverflowError)) else Cause.REFUSAL
    if error.sqlstate is None:
        if _is_entry_refused(str(error)):
            return Cause.ENTRY
        outage = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Cause.OUTAGE if outage else Cause.REFUSAL
    group = error.sqlstate[:2]
    if group in _ROW_CLASSES:
        return Cause.ROW
    if group in _ENTRY_CLASSES:
        return Cause.ENTRY
    return Cause.OUTAGE if group in _OUTAGE_CLASSES else Cause.REFUSAL


def _is_entry_refused(text: str) -> bool:
    # Of several hosts one may say that it is starting up: that one is worth waiting for.
    said = _SAID.findall(text)
    return bool(said) and all(map(_NO_ENTRY.match, said))


def describe(error: BaseException) -> str:
    """Return the server's own sentence, without its DETAIL, which may quote whole rows."""
    if isinstance(error, psycopg.Error):
        diag = error.diag
        if diag.message_primary:
            column = f" (column {diag.column_name})" if diag.column_name else ""
            return f"{diag.message_primary}{column} [{error.sqlstate}]"
    # The client library writes paragraphs.
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
