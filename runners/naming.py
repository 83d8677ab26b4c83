"""Put a client's name before what its processes log: all clients of a TaskManager share one log."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["mark_of", "name_lines"]


def mark_of(client: str) -> str:
    """Return what a client's lines begin with."""
    return f"[{client}]"


def name_lines(client: str) -> None:
    """Let everything that this process logs from now on begin with a client's name."""
    make = logging.getLogRecordFactory()
    # A name of a client has no per cent sign, so what is filled in stays as it is.
    mark = mark_of(client)

    def named(*arguments: Any, **keywords: Any) -> logging.LogRecord:
        record = make(*arguments, **keywords)
        record.msg = f"{mark} {record.msg}"
        return record

    logging.setLogRecordFactory(named)
    # It tells at each start which options it does not know, those of the runner: kilobytes, and no news.
    logging.getLogger("apache_beam.options.pipeline_options").setLevel(logging.ERROR)
