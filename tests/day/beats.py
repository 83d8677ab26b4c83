"""Watch how old the newest row is that a client's warehouse shows."""

from __future__ import annotations

import threading
import time

import psycopg
from psycopg import sql

from tests.day.traffic import BEAT, TABLE
from tillstream.runners.local.stack import LocalStack
from tillstream.runners.verify.rig import await_

__all__ = ["Beats"]

_TICK_S = 0.1


class Beats:
    """Look all the time, until closed; a warehouse that does not answer shows what it showed last.

    Args:
        stack: whose warehouse it looks at.
        client: whose rows.
    """

    def __init__(self, stack: LocalStack, client: str) -> None:
        self._stack = stack
        self._client = client
        self._over = threading.Event()
        self._newest_s: float | None = None
        self._ages: list[float] = []
        self._thread = threading.Thread(target=self._run, name=f"beats-{client}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(30)

    def await_fresh(self, age_s_max: float, deadline_s: float) -> None:
        """Wait until the newest row is at most so old, and was committed after this was called.

        Raises:
            StackError: if it is not in time.
        """
        called_s = time.time()

        def is_fresh() -> bool:
            newest_s = self._newest_s
            return newest_s is not None and newest_s >= max(called_s, time.time() - age_s_max)

        await_(is_fresh, f"a row of {self._client} at most {age_s_max:.0f} s old", deadline_s)

    def worst_s(self) -> float:
        """Return the greatest age since the last call, seconds; 0 where nobody looked."""
        ages, self._ages = self._ages, []
        return max(ages, default=0.0)

    def _run(self) -> None:
        while not self._over.wait(_TICK_S):
            try:
                with psycopg.connect(
                    self._stack.addresses.warehouse.dsn(), autocommit=True, connect_timeout=2
                ) as connection:
                    while not self._over.wait(_TICK_S):
                        self._look(connection)
            except psycopg.Error:
                self._note()  # no table yet, or the warehouse is away

    def _look(self, connection: psycopg.Connection) -> None:
        statement = sql.SQL("select extract(epoch from beat) from {} where id = {}")
        found = connection.execute(
            statement.format(sql.Identifier(self._client, TABLE), sql.Literal(BEAT))
        ).fetchone()
        if found is not None:
            self._newest_s = float(found[0])
        self._note()

    def _note(self) -> None:
        if self._newest_s is not None:
            self._ages.append(time.time() - self._newest_s)
