"""Make and remove what a capture needs in its database: role, grants, publication, cap of the slot.

What is made bears a comment, so that nothing else is ever altered or dropped. The role may log in,
replicate, and read the captured tables; nothing more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tillstream.pipelines.errors import MissingToolError, UnavailableError, UserError
from tillstream.runners.capture.spec import Capture, Login

if TYPE_CHECKING:
    import psycopg

__all__ = ["MARK", "cap_slots", "drop", "drop_slot", "opened", "prepare", "set_password"]

MARK = "made by tillstream capture"
_ROLE = """
select rolcanlogin and rolreplication, shobj_description(oid, 'pg_authid') from pg_roles where rolname = %s
"""
_PUBLICATION = "select oid, obj_description(oid, 'pg_publication') from pg_publication where pubname = %s"
_PUBLISHED = "select schemaname || '.' || tablename from pg_publication_tables where pubname = %s"
# Not of what everybody may do.
_GRANTED = """
select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace,
       lateral aclexplode(c.relacl) a
where a.grantee = %s::regrole and a.privilege_type = 'SELECT'
"""
_USABLE = """
select n.nspname from pg_namespace n, lateral aclexplode(n.nspacl) a
where a.grantee = %s::regrole and a.privilege_type = 'USAGE'
"""


@contextmanager
def opened(login: Login, deadline_ms: int = 30_000) -> Iterator[psycopg.Connection[Any]]:
    """Connect in autocommit mode; errors come out in the words of a person.

    Args:
        login: how.
        deadline_ms: longest a statement may take, in milliseconds.

    Raises:
        UnavailableError: if the database does not answer, or the connection breaks.
        UserError: if the login or a right is refused.
    """
    try:
        import psycopg
    except ImportError as error:
        raise MissingToolError("found no psycopg: pip install 'tillstream[postgres]'") from error
    where = f"Postgres at {login.host}:{login.port}, database {login.database}"
    try:
        connection = psycopg.connect(**login.arguments(), autocommit=True)
    except psycopg.OperationalError as error:
        said = " ".join(str(error).split())
        if any(each in said for each in ("authentication failed", "no password", "does not exist")):
            raise UserError(
                f"{where} refuses {login.user}: {said}: check capture.admin_user, admin_password and database"
            ) from None
        raise UnavailableError(f"{where} does not answer: {said}: check capture.host and port") from None
    try:
        with connection:
            connection.execute(f"set statement_timeout = {deadline_ms}".encode())
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise UserError(
            f"{where}: {login.user} may not do what capture needs: {_first_line(error)}: use a superuser as "
            "capture.admin_user, or the tables' owner with CREATEROLE, REPLICATION and CREATE on the database"
        ) from error
    except psycopg.OperationalError as error:
        raise UnavailableError(f"{where} went away: {_first_line(error)}") from error


def prepare(connection: psycopg.Connection[Any], capture: Capture, password: str) -> list[str]:
    """Create or change role, grants and publication; returns what was done, each in a line.

    Args:
        connection: the administrator's.
        capture: what is captured.
        password: of the role, set where the role is new.

    Raises:
        UserError: if a role or publication of that name was made by somebody else.
    """
    with connection.transaction():
        return [
            *_role(connection, capture, password),
            *_grants(connection, capture),
            *_publish(connection, capture),
        ]


def set_password(connection: psycopg.Connection[Any], role: str, password: str) -> None:
    """Give a role another password; sessions of it go on.

    The server gets what it keeps, a SCRAM verifier (PostgreSQL documentation, "Password Authentication"): the
    password itself would stand in its log, in `pg_stat_activity`, and in what extensions keep of statements.
    """
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256")
    statement = sql.SQL("alter role {} password {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier.decode())))


def cap_slots(connection: psycopg.Connection[Any], max_bytes: int) -> str:
    """Cap what all slots of the server may keep; returns what was done.

    Raises:
        UserError: if only a superuser may, and this is none.
    """
    if not _is_super(connection):
        raise UserError(
            "capture.cap_server_slots: found admin_user to be no superuser, expected one, who alone may set "
            "max_slot_wal_keep_size: let somebody set it, or leave cap_server_slots out"
        )
    size = f"{max_bytes >> 20}MB"
    connection.execute(f"alter system set max_slot_wal_keep_size = '{size}'".encode())
    connection.execute("select pg_reload_conf()")
    return f"max_slot_wal_keep_size set to {size}, for all slots of the server"


def drop_slot(connection: psycopg.Connection[Any], slot: str) -> bool:
    """Drop a replication slot that nobody reads; tell whether there was one.

    Raises:
        psycopg.errors.ObjectInUse: if somebody reads it.
    """
    found = connection.execute(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", (slot,)
    )
    return found.rowcount > 0


def drop(connection: psycopg.Connection[Any], capture: Capture) -> list[str]:
    """Drop publication and role, as far as `prepare` made them; returns what was done, each in a line."""
    from psycopg import sql

    said = []
    publication = connection.execute(_PUBLICATION, (capture.publication,)).fetchone()
    if publication is not None and publication[1] != MARK:
        said.append(f"kept publication {capture.publication}: somebody else made it")
    elif publication is not None:
        connection.execute(sql.SQL("drop publication {}").format(sql.Identifier(capture.publication)))
        said.append(f"dropped publication {capture.publication}")
    role = connection.execute(_ROLE, (capture.role,)).fetchone()
    if role is not None and role[1] != MARK:
        said.append(f"kept role {capture.role}: somebody else made it")
    elif role is not None:
        name = sql.Identifier(capture.role)
        with connection.transaction():
            # It owns nothing: these are its grants.
            connection.execute(sql.SQL("drop owned by {}").format(name))
            connection.execute(sql.SQL("drop role {}").format(name))
        said.append(f"dropped role {capture.role}")
    return said


def _role(connection: psycopg.Connection[Any], capture: Capture, password: str) -> Iterator[str]:
    from psycopg import sql

    role = sql.Identifier(capture.role)
    found = connection.execute(_ROLE, (capture.role,)).fetchone()
    if found is None:
        connection.execute(sql.SQL("create role {} login replication").format(role))
        set_password(connection, capture.role, password)
        connection.execute(sql.SQL("comment on role {} is {}").format(role, sql.Literal(MARK)))
        yield f"created role {capture.role}"
    elif found[1] != MARK and not capture.role_name:
        raise UserError(
            f"client {capture.client}: found a role {capture.role} that somebody else made, expected "
            "none: name it as capture.role if it is meant"
        )
    elif not found[0]:
        connection.execute(sql.SQL("alter role {} login replication").format(role))
        yield f"gave role {capture.role} login and replication back"


def _grants(connection: psycopg.Connection[Any], capture: Capture) -> Iterator[str]:
    from psycopg import sql

    role = sql.Identifier(capture.role)
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("grant connect on database {} to {}").format(database, role))
    usable = {name for (name,) in connection.execute(_USABLE, (capture.role,))}
    schemas = {table.split(".")[0] for table in capture.tables}
    granted = {name for (name,) in connection.execute(_GRANTED, (capture.role,))}
    for schema in sorted(schemas - usable):
        connection.execute(sql.SQL("grant usage on schema {} to {}").format(sql.Identifier(schema), role))
    for table in sorted(set(capture.tables) - granted):
        connection.execute(sql.SQL("grant select on {} to {}").format(_table(table), role))
        yield f"role {capture.role} may read {table}"
    for table in sorted(granted - set(capture.tables)):
        connection.execute(sql.SQL("revoke select on {} from {}").format(_table(table), role))
        yield f"role {capture.role} may no longer read {table}"
    for schema in sorted(usable - schemas):
        connection.execute(sql.SQL("revoke usage on schema {} from {}").format(sql.Identifier(schema), role))


def _publish(connection: psycopg.Connection[Any], capture: Capture) -> Iterator[str]:
    from psycopg import sql

    name = sql.Identifier(capture.publication)
    tables = sql.SQL(", ").join(map(_table, capture.tables))
    found = connection.execute(_PUBLICATION, (capture.publication,)).fetchone()
    if found is None:
        # A partitioned table is captured as one, under its own name.
        statement = "create publication {} for table {} with (publish_via_partition_root = true)"
        connection.execute(sql.SQL(statement).format(name, tables))
        connection.execute(sql.SQL("comment on publication {} is {}").format(name, sql.Literal(MARK)))
        yield f"created publication {capture.publication} of {len(capture.tables)} tables"
    elif found[1] != MARK:
        raise UserError(
            f"client {capture.client}: found a publication {capture.publication} that somebody else made, "
            "expected none: drop it, or rename the client"
        )
    else:
        published = {table for (table,) in connection.execute(_PUBLISHED, (capture.publication,))}
        if published != set(capture.tables):
            connection.execute(sql.SQL("alter publication {} set table {}").format(name, tables))
            yield f"changed publication {capture.publication} to {', '.join(capture.tables)}"


def _table(name: str) -> Any:
    from psycopg import sql

    return sql.Identifier(*name.split("."))


def _is_super(connection: psycopg.Connection[Any]) -> bool:
    row = connection.execute("select rolsuper from pg_roles where rolname = current_user").fetchone()
    return bool(row and row[0])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
