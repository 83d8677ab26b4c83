"""Each rule finds what it is for, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tillstream.transforms.lint.rules import RULES
from tillstream.transforms.lint.targets import files_of, lint

from .catalogue import CATALOGUE

ROOT = Path(__file__).parents[4]
# Spelt so that the checks of the tests themselves do not find them.
SLEEP = "time.{}(1)".format("sleep")
BARE = "# {}".format("noqa")

# What stands for ... in a DoFn, by the rule that must find it.
IN_PROCESS = [
    ("TS003", "import time", "yield time.time()"),
    ("TS003", "from time import time_ns as now", "yield now()"),
    ("TS003", "import datetime as dt", "yield dt.datetime.now(dt.timezone.utc)"),
    ("TS003", "from datetime import date, datetime", "yield datetime.utcnow()"),
    ("TS003", "from datetime import date", "yield date.today()"),
    ("TS003", "import time", "yield time.gmtime()"),
    ("TS004", "import random", "yield random.random()"),
    ("TS004", "from random import choice", "yield choice([1, 2])"),
    ("TS004", "import uuid", "yield str(uuid.uuid4())"),
    ("TS004", "import secrets", "yield secrets.token_hex()"),
    ("TS004", "import os", "yield os.urandom(8)"),
    ("TS004", "import numpy as np", "yield np.random.rand()"),
    ("TS004", "import random", "yield random.Random().random()"),
    ("TS005", "", "yield from {each for each in event.after}"),
    ("TS005", "", "for each in set(event.after): yield each"),
    ("TS005", "", "yield list({'a', 'b'})"),
    ("TS005", "", "names = set(event.after) - {'x'}\n        yield ','.join(names)"),
    ("TS005", "", "yield [each for each in frozenset(event.after)]"),
    ("TS005", "", "yield next(iter(set(event.after)))"),
    ("TS005", "KINDS = {'a', 'b'}", "yield tuple(KINDS)"),
    ("TS005", "", "yield from event.after.keys() - {1}"),
    ("TS005", "", "yield hash(event.key['sku']) % 4"),
    ("TS005", "", "yield id(event)"),
    ("TS007", "", "self.count += 1\n        yield self.count"),
    ("TS007", "", "self.last = event.after"),
    ("TS007", "", "self.seen[event.offset] = True"),
    ("TS007", "", "self.first, other = event.after, 1"),
    ("TS007", "", "Things.count = event.offset"),
    ("TS007", "", "type(self).count += 1"),
    ("TS007", "", "self.__class__.count = self.__class__.count + 1"),
    ("TS007", "", "setattr(self, 'last', event)"),
    ("TS007", "", "setattr(type(self), event.table, event)"),
    ("TS007", "", "self.__dict__['last'] = event"),
    ("TS008", "COUNT = 0", "global COUNT\n        COUNT += 1"),
    ("TS008", "SEEN = set()", "SEEN.add(event.offset)"),
    ("TS008", "from collections import defaultdict\nROWS = defaultdict(list)", "ROWS[1].append(event)"),
    ("TS008", "CACHE: dict[int, int] = {}", "CACHE[event.offset] = 1"),
    ("TS009", "import requests", "requests.get('http://far')"),
    ("TS009", "import requests", "requests.post('http://far', timeout=None)"),
    ("TS009", "from urllib.request import urlopen", "urlopen('http://far')"),
    ("TS009", "import httpx", "httpx.get('http://far', timeout=None)"),
    ("TS009", "import socket", "socket.create_connection(('far', 1))"),
    ("TS009", "import psycopg", "psycopg.connect('host=far')"),
    ("TS009", "import subprocess", "subprocess.run(['ls'], check=True)"),
    ("TS009", "import time", SLEEP),
    ("TS009", "import queue", "waiting = queue.Queue()\n        waiting.get()"),
    ("TS009", "import threading", "other = threading.Thread()\n        other.join()"),
    ("TS009", "import requests", "with_it = requests.Session()\n        with_it.get('http://far')"),
    ("TS009", "", "yield self.pool.submit(len, 'x').result()"),
    ("TS010", "", "try:\n            yield 1\n        except:\n            pass"),
    ("TS010", "", "try:\n            yield 1\n        except BaseException:\n            pass"),
    (
        "TS010",
        "",
        "try:\n            yield 1\n        except (ValueError, BaseException) as e:\n            self",
    ),
    ("TS011", "", "print(event)"),
]
DOFN = """
import apache_beam as beam
from tillstream.transforms.api import KeyedState, Lookup, transform
{imports}

@transform("acme.things@1.0.0")
class Things(beam.DoFn):
    def process(self, event, seen=KeyedState()):
        {body}
"""

WHOLE = re.findall(r"^# (TS\d+)\n(.*?)(?=^# |\Z)", CATALOGUE, re.MULTILINE | re.DOTALL)
HEAD = "import apache_beam as beam\nimport requests\nfrom threading import Lock\n"

CLEAN = [
    "yield event.upsert({**event.after, 'at': event.source_time_us})",
    "yield from sorted(set(event.after))",
    "yield len({each for each in event.after}), sum(each for each in {1.5, 2.5}), 'x' in {'x', 'y'}",
    "for each in {1, 2}: yield each",
    "yield from sorted(event.after.keys() - {1})\n        yield from event.after.keys()",
    "LOCK = event.after\n        with LOCK: yield LOCK.get('x')",
    "yield uuid.uuid5(uuid.NAMESPACE_OID, str(event.key))",
    "yield random.Random(event.offset).random()",
    "seen.set(seen.get(0) + 1)",
    "rows = {}\n        rows[1] = 2\n        rows.update(a=1)\n        yield rows",
    "total = self.rates.get(1) or RATES.get('EUR')\n        yield ' '.join(event.after), total",
    "if self.table is None:\n            self.table = load()\n        yield self.table",
    "if self.shared is None:\n            self.shared = load()\n        yield self.shared",
    "setattr(event, 'last', 1)\n        other.count = 2\n        type(event).count = 3",
    "self.counter.update(1)",
    "self.buffer.append(event)",
    "self.rows = [*self.rows, event]",
    "requests.get('http://far', timeout=2)",
    "psycopg.connect('host=far connect_timeout=2')",
    "psycopg.connect(self.dsn)",
    "httpx.get('http://far')",
    "began = time.monotonic()\n        yield time.gmtime(event.source_time_us // 1_000_000), began",
    "try:\n            yield 1\n        except Exception:\n            raise",
    "try:\n            yield 1\n        except BaseException:\n            raise ValueError('x') from None",
    "time = event.after\n        yield time.time()",
    "print = self.show\n        print(event)",
    "yield dt.datetime.fromtimestamp(0, dt.timezone.utc)",
]
CLEAN_HEAD = """
import datetime as dt
import httpx, os, psycopg, random, requests, threading, time, uuid
import apache_beam as beam
from apache_beam.metrics import Metrics
from tillstream.transforms.api import KeyedState

RATES = {"EUR": 1}
LOCK = threading.Lock()

class Things(beam.DoFn):
    NAMES = {"EUR": "euro"}
    shared = None
    STATE = []  # noqa: TS006  (what a subclass fills)

    def __init__(self, dsn="x"):
        self.table = None
        self.dsn = dsn
        self.counter = Metrics.distribution("a", "b")

    def setup(self):
        self.client = requests.Session()
        self.started = time.time()

        with LOCK:
            self.ready = True

    def start_bundle(self):
        self.buffer = []
        self._forget()

    def _forget(self):
        self.rows = []

    def process(self, event, seen=KeyedState()):
        BODY

    def finish_bundle(self):
        self.buffer.clear()

class Plain:
    def __init__(self):
        self.lock = threading.Lock()
        self.n = 0

    def process(self, event):
        self.n += 1
        print(time.time(), list({"a", "b"}))

def around(path):
    class Inner(beam.DoFn):
        def process(self, event):
            with open(event) as handle:
                yield handle.read()
    handle = open(path)
    return Inner, "Read" >> beam.Map(lambda handle: handle.read())

def build(p, kind):
    union = int | str
    wanted = kind | set(range(3))
    return p.apply("Read" >> beam.Create([1])) | "Things" >> beam.ParDo(Things()).with_outputs("x", main="y")
"""


def codes(tmp_path: Path, text: str) -> list[str]:
    """Return what is found in a file of this text."""
    path = tmp_path / "things.py"
    path.write_text(text, encoding="utf-8")
    return [finding.code for finding in lint([path])]


@pytest.mark.parametrize(("code", "imports", "body"), IN_PROCESS)
def test_what_hurts_in_process_is_found(tmp_path: Path, code: str, imports: str, body: str) -> None:
    """One line in process, one finding."""
    assert codes(tmp_path, DOFN.format(imports=imports, body=body)) == [code]


@pytest.mark.parametrize(("code", "text"), WHOLE)
def test_what_hurts_elsewhere_is_found(tmp_path: Path, code: str, text: str) -> None:
    """So it is in pipelines, in __init__, in the class and in the functions that process calls."""
    assert set(codes(tmp_path, HEAD + text)) == {code}


@pytest.mark.parametrize("body", CLEAN)
def test_what_is_right_is_left_alone(tmp_path: Path, body: str) -> None:
    """Good code beside each rule is not found."""
    assert codes(tmp_path, CLEAN_HEAD.replace("BODY", body)) == []


def test_every_rule_has_its_snippets() -> None:
    """No rule goes untested, and codes are in order."""
    assert len(WHOLE) > 20
    assert {code for code, *_ in [*IN_PROCESS, *WHOLE]} == {rule.code for rule in RULES}
    assert [rule.code for rule in RULES] == sorted({rule.code for rule in RULES})


def test_what_is_shipped_is_clean() -> None:
    """The transforms that come with tillstream, and the template, keep the rules."""
    files = files_of([str(ROOT / "transforms" / "clients"), str(ROOT / "pipelines")])
    assert len(files) > 3
    assert lint(files) == []


def test_a_finding_says_where_what_why_and_what_to_do(tmp_path: Path) -> None:
    """A message can be acted on without the docs."""
    path = tmp_path / "things.py"
    path.write_text(DOFN.format(imports="import time", body="yield time.time()"), encoding="utf-8")
    (found,) = lint([path])
    assert str(found) == (
        f"{path}:9:15: TS003 found the wall clock, time.time(): a replay after a failure, and a rerun of old "
        "data, make other rows of the same event; use the event's own time, event.source_time_us"
    )


@pytest.mark.parametrize(
    ("comment", "is_found"),
    [("# noqa: TS003", False), ("# noqa: E501, TS003", False), (BARE, False), ("# noqa: TS004", True)],
)
def test_a_line_may_be_excused(tmp_path: Path, comment: str, is_found: bool) -> None:  # noqa: FBT001
    """A noqa sets the rules aside that it names, and a bare one all."""
    text = DOFN.format(imports="import time", body=f"yield time.time()  {comment}")
    assert bool(codes(tmp_path, text)) is is_found


def test_labels_may_be_given_to_apply(tmp_path: Path) -> None:
    """A label in its place or by name is one, and apply of others, pandas' for one, asks for none."""
    labelled = "p.apply(beam.Map(len), x, 'L'), p.apply(beam.Map(len), label='L'), p.apply(len)"
    text = f"def build(p, x):\n    {labelled}\n"
    assert codes(tmp_path, HEAD + text) == []


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    """Files that Windows' editors wrote are read as Python reads them."""
    assert codes(tmp_path, "\ufeff" + HEAD + "class A(beam.DoFn):\n    seen = set()\n") == ["TS006"]


def test_the_page_of_the_rules_is_up_to_date() -> None:
    """docs/lint.md has each rule with its words."""
    page = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8")
    rows = [row for row in page.splitlines() if row.startswith("| TS0")]
    assert rows == [f"| {rule.code} | {rule.about} | {rule.why} | {rule.instead} |" for rule in RULES]
