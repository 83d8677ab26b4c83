"""Ask a part of the stack over HTTP."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

__all__ = ["request"]

_TIMEOUT_S = 5.0


def request(method: str, url: str, body: Any = None, *, timeout_s: float = _TIMEOUT_S) -> tuple[int, Any]:
    """Return status and decoded JSON of an answer; a proxy of the environment is never asked.

    Args:
        method: of HTTP.
        url: on this machine.
        body: sent as JSON unless it is None.
        timeout_s: for connecting and for each read, in seconds.

    Raises:
        OSError: if nobody answers, or answers with anything but HTTP and JSON.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    try:
        connection.request(method, parts.path or "/", content, headers)
        answer = connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None
    except (http.client.HTTPException, ValueError) as error:
        raise OSError(f"{url} gave an answer that is no JSON: {error}") from error
    finally:
        connection.close()
