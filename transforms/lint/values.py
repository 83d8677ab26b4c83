"""Tell what kind of thing an expression makes, by what it calls."""

from __future__ import annotations

import ast

from tillstream.transforms.lint.source import Source

__all__ = ["MUTATORS", "handle", "is_container", "is_set"]

# Methods that change a list, dict, set or deque.
MUTATORS = frozenset(
    [
        "append",
        "appendleft",
        "extend",
        "extendleft",
        "insert",
        "add",
        "update",
        "discard",
        "remove",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "setdefault",
        "subtract",
        "difference_update",
        "intersection_update",
        "symmetric_difference_update",
    ]
)
_CONTAINERS = frozenset(
    [
        "builtins.dict",
        "builtins.list",
        "builtins.set",
        "builtins.bytearray",
        "collections.defaultdict",
        "collections.Counter",
        "collections.deque",
        "collections.OrderedDict",
    ]
)
_SET_METHODS = frozenset({"union", "intersection", "difference", "symmetric_difference", "copy"})
_SET_OPERATORS = (ast.Sub, ast.BitAnd, ast.BitOr, ast.BitXor)

# What a call makes that belongs to one process: by exact name, and by the start of a name.
_HANDLES = {
    "a file": "builtins.open io.open gzip.open tempfile.TemporaryFile tempfile.NamedTemporaryFile",
    "a lock": (
        "threading.Lock threading.RLock threading.Condition threading.Event threading.Semaphore "
        "threading.BoundedSemaphore threading.Barrier multiprocessing.Lock multiprocessing.RLock "
        "multiprocessing.Event multiprocessing.Semaphore asyncio.Lock asyncio.Event asyncio.Semaphore"
    ),
    "a thread or process": (
        "threading.Thread multiprocessing.Process multiprocessing.Pool subprocess.Popen "
        "concurrent.futures.ThreadPoolExecutor concurrent.futures.ProcessPoolExecutor"
    ),
    "a queue": "queue.Queue queue.SimpleQueue queue.LifoQueue queue.PriorityQueue multiprocessing.Queue",
    "a socket": "socket.socket socket.create_connection ssl.create_default_context",
    "a client": (
        "requests.Session requests.session httpx.Client httpx.AsyncClient aiohttp.ClientSession "
        "urllib3.PoolManager urllib3.HTTPConnectionPool urllib3.HTTPSConnectionPool "
        "http.client.HTTPConnection http.client.HTTPSConnection smtplib.SMTP smtplib.SMTP_SSL ftplib.FTP "
        "psycopg.connect psycopg.Connection.connect psycopg_pool.ConnectionPool psycopg2.connect "
        "sqlite3.connect pymysql.connect mysql.connector.connect oracledb.connect pyodbc.connect "
        "sqlalchemy.create_engine redis.Redis redis.StrictRedis redis.from_url pymongo.MongoClient "
        "boto3.client boto3.resource boto3.Session confluent_kafka.Producer confluent_kafka.Consumer "
        "kafka.KafkaProducer kafka.KafkaConsumer grpc.insecure_channel grpc.secure_channel "
        "google.cloud.storage.Client google.cloud.bigquery.Client google.cloud.pubsub_v1.PublisherClient "
        "paramiko.SSHClient elasticsearch.Elasticsearch"
    ),
}
_KIND_OF_HANDLE = {name: kind for kind, names in _HANDLES.items() for name in names.split()}


def handle(source: Source, node: ast.AST) -> str | None:
    """Return what kind of client, lock or other handle an expression makes; None where it makes none."""
    name = source.called(node)
    if name in _KIND_OF_HANDLE:
        return f"{_KIND_OF_HANDLE[name]} ({name.removeprefix('builtins.')})"
    opened = node.func if isinstance(node, ast.Call) else None
    if isinstance(opened, ast.Attribute) and opened.attr == "open":
        return "a file (Path.open)" if source.called(opened.value) == "pathlib.Path" else None
    return None


def is_container(source: Source, node: ast.AST) -> bool:
    """Tell whether an expression makes something that can be changed in place."""
    literals = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
    return isinstance(node, literals) or source.called(node) in _CONTAINERS


def _is_view(node: ast.expr) -> bool:
    """Tell whether it is keys() or items(), which operators make sets of."""
    called = node.func if isinstance(node, ast.Call) and not node.args else None
    return isinstance(called, ast.Attribute) and called.attr in ("keys", "items")


def is_set(source: Source, node: ast.AST, known: dict[str, ast.expr]) -> bool:
    """Tell whether an expression is surely a set whose order may differ from process to process.

    Args:
        source: of the expression.
        node: the expression.
        known: what names in its scope are bound to.
    """
    if isinstance(node, ast.Set):
        return not all(isinstance(each, ast.Constant) and isinstance(each.value, int) for each in node.elts)
    if isinstance(node, ast.SetComp):
        return True
    if isinstance(node, ast.Name) and node.id in known:
        others = {name: value for name, value in known.items() if name != node.id}
        return is_set(source, known[node.id], others)
    if isinstance(node, ast.BinOp) and isinstance(node.op, _SET_OPERATORS):
        return _is_view(node.left) or is_set(source, node.left, known)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in _SET_METHODS and is_set(source, node.func.value, known)
    return source.called(node) in ("builtins.set", "builtins.frozenset")
