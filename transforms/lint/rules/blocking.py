"""TS009: nothing waits for ever."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tillstream.transforms.lint.classes import DoFnClass, attribute, dofns, hot
from tillstream.transforms.lint.rule import Found, Rule
from tillstream.transforms.lint.source import Function, Source, body_of

__all__ = ["RULE"]

_VERBS = frozenset(["get", "post", "put", "patch", "delete", "head", "options", "request"])
# Position of the time-out among the arguments; None where it has to be named.
_TIMED: dict[str, int | None] = {
    **{f"requests.{verb}": None for verb in _VERBS},
    "urllib.request.urlopen": 2,
    "socket.create_connection": 1,
    **{f"subprocess.{name}": None for name in ("run", "call", "check_call", "check_output")},
}
_CONNECTS = frozenset({"psycopg.connect", "psycopg.Connection.connect", "psycopg2.connect"})
_SESSIONS = frozenset({"requests.Session", "requests.session", "urllib3.PoolManager"})
_QUEUES = frozenset(
    ["queue.Queue", "queue.SimpleQueue", "queue.LifoQueue", "queue.PriorityQueue", "multiprocessing.Queue"]
)
_WAITERS = {
    **{name: frozenset({"get", "put", "join"}) for name in _QUEUES},
    "threading.Thread": frozenset({"join"}),
    "threading.Event": frozenset({"wait"}),
    "threading.Lock": frozenset({"acquire"}),
    "threading.RLock": frozenset({"acquire"}),
    "threading.Semaphore": frozenset({"acquire"}),
    "subprocess.Popen": frozenset({"wait", "communicate"}),
}


def _check(source: Source) -> Iterator[Found]:
    functions: dict[int, tuple[Function, DoFnClass | None]] = {
        id(method): (method, each) for each in dofns(source) for method in each.methods.values()
    }
    functions |= {id(each.function): (each.function, each.owner) for each in hot(source)}
    sleeping = {id(each.function) for each in hot(source)}
    for function, owner in functions.values():
        local = _local(function)
        for node in body_of(function):
            if isinstance(node, ast.Call):
                what = _endless(source, node) or _waiting(source, node, local, owner)
                if what is None and id(function) in sleeping and source.name(node.func) == "time.sleep":
                    what = "time.sleep()"
                if what is not None:
                    yield node, f"found {what}"


def _endless(source: Source, call: ast.Call) -> str | None:
    name = source.name(call.func) or ""
    words = {each.arg for each in call.keywords}
    if None in words:  # **options may hold a time-out
        return None
    if name.startswith("httpx.") and _none(call, "timeout"):
        return f"{name}(timeout=None)"
    if name in _TIMED:
        place = _TIMED[name]
        is_timed = "timeout" in words or (place is not None and len(call.args) > place)
        return None if is_timed and not _none(call, "timeout") else f"{name}() without a timeout"
    if name in _CONNECTS and "connect_timeout" not in words:
        texts = [each.value for each in call.args if isinstance(each, ast.Constant)]
        unknown = len(texts) < len(call.args)
        if not unknown and not any("connect_timeout" in str(text) for text in texts):
            return f"{name}() without connect_timeout"
    return None


def _waiting(
    source: Source, call: ast.Call, local: dict[str, ast.expr], owner: DoFnClass | None
) -> str | None:
    if not isinstance(call.func, ast.Attribute):
        return None
    method, held = call.func.attr, call.func.value
    values = [local[held.id]] if isinstance(held, ast.Name) and held.id in local else [held]
    shared = source.of_module(held)
    if shared is not None:
        values = [shared]
    name = attribute(held)
    if name is not None and owner is not None:
        values = owner.values(name)
    makers = {source.called(value) for value in values}
    words = {each.arg for each in call.keywords}
    if makers & _SESSIONS and method in _VERBS and not words & {"timeout", None}:
        return f"{ast.unparse(call.func)}() without a timeout"
    if any(method in _WAITERS.get(maker or "", ()) for maker in makers) and not (
        words & {"timeout", "block", "blocking", None} or len(call.args) > (method == "put")
    ):
        return f"{ast.unparse(call.func)}() without a timeout"
    submitted = held.func if isinstance(held, ast.Call) else None
    is_future = isinstance(submitted, ast.Attribute) and submitted.attr == "submit"
    if method == "result" and is_future and not (words or call.args):
        return f"{ast.unparse(call.func)}() without a timeout"
    return None


def _none(call: ast.Call, word: str) -> bool:
    return any(
        each.arg == word and isinstance(each.value, ast.Constant) and each.value.value is None
        for each in call.keywords
    )


def _local(function: Function) -> dict[str, ast.expr]:
    return {
        target.id: node.value
        for node in body_of(function)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


RULE = Rule(
    code="TS009",
    about="a call that may block for ever, and time.sleep",
    why="while it waits no checkpoint completes and the whole job stands still",
    instead="do without, or give it a timeout; ask for a Lookup() in place of a service",
    check=_check,
)
