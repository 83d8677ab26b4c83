"""Capture tables of the local stack's source database, as `tillstream capture create` does anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tillstream.runners.capture.manage import create
from tillstream.runners.capture.spec import Capture, Login, Place
from tillstream.runners.local.secret_files import read_password

if TYPE_CHECKING:
    from tillstream.runners.local.stack import LocalStack

__all__ = ["Capture", "place_in", "register_debezium"]


def register_debezium(
    stack: LocalStack,
    client: str = "acme",
    topic_prefix: str = "acme",
    tables: Sequence[str] = (),
    *,
    partitions: int = 1,
    schemas: bool = False,
    transactions: bool = False,
    deadline_s: float = 60.0,
) -> Capture:
    """Capture tables, from a snapshot on; done again, it changes only what is different.

    The tables must exist. The role `tillstream_<client>` may replicate and read these tables, nothing else.

    Args:
        stack: a running one.
        client: gives connector, slot, publication and role their names.
        topic_prefix: what the topics' names start with.
        tables: each as `schema.table`.
        partitions: of topics that do not exist.
        schemas: as of `Capture`.
        transactions: as of `Capture`.
        deadline_s: how long the connector may take to run, in seconds.

    Raises:
        StackError: if the connector fails, or does not run in time.
        UnavailableError: if a part of the stack does not answer.
        UserError: for a name that has not the right form, or a table that cannot be captured.
    """
    capture = Capture(
        client, topic_prefix, tuple(tables), partitions, schemas=schemas, transactions=transactions
    )
    create(capture, place_in(stack, client), lambda _: None, deadline_s)
    return capture


def place_in(stack: LocalStack, client: str) -> Place:
    """Return where a client's capture is in a stack: what the config of a shipped client comes to there."""
    source, folder = stack.addresses.source, stack.layout.secrets
    name = f"capture_{client}_password"
    return Place(
        Login(source.host, source.port, source.database, source.user, read_password(source.password_file)),
        stack.addresses.connect,
        None,
        {"bootstrap.servers": stack.addresses.kafka},
        stack.addresses.kafka,
        folder / name,
        f"${{directory:{folder}:{name}}}",
    )
