"""Code that hurts in classes, pipelines and what process calls."""

__all__ = ["CATALOGUE"]

# Blocks of code, each after the code of the rule that must find something in it, and no other.
CATALOGUE = """
# TS001
def build(p):
    p | beam.Map(len)
# TS001
def build(p):
    p | beam.ParDo(Things()).with_outputs('x', main='y')
# TS001
def build(p):
    'Read' >> p | beam.io.ReadFromText('x')
# TS001
def build(p):
    p.apply(beam.Map(str))
# TS001
class Mine(beam.PTransform):
    pass
def build(p):
    p | Mine()
# TS002
class A(beam.DoFn):
    def __init__(self):
        self.it = requests.Session()
# TS002
class A(beam.DoFn):
    def __init__(self):
        self.it: object = open('x')
# TS002
class A(beam.DoFn):
    def __init__(self):
        it = Lock()
        self.it = it
# TS002
class A(beam.DoFn):
    it = Lock()
# TS002
def f(p):
    it = requests.Session()
    p | 'L' >> beam.Map(lambda x: it.get(x, timeout=1))
# TS002
def f(p):
    with open('x') as it:
        p | 'L' >> beam.Map(lambda x: it.read(x))
# TS002
class A(beam.DoFn):
    pass
def f(p):
    p | 'L' >> beam.ParDo(A(Lock()))
# TS002
LOCK = Lock()
class A(beam.DoFn):
    def process(self, x):
        with LOCK:
            yield x
# TS002
IT: requests.Session = requests.Session()
def g(x):
    return IT.get(x, timeout=1)
def f(p):
    p | 'L' >> beam.Map(g)
# TS003
import time
def f(p):
    p | 'L' >> beam.Map(lambda x: (time.time(), x))
# TS003
import time
def g(x):
    return time.time()
def f(p):
    p | 'L' >> beam.Map(g)
# TS003
import time
class A(beam.DoFn):
    def process(self, x):
        yield self._of(x)
    def _of(self, x):
        return time.time()
# TS004
import random
class A(beam.DoFn):
    def setup(self):
        self.dice = random.Random(7)
    def process(self, x):
        yield self.dice.random()
# TS005
class A(beam.DoFn):
    NAMES = {'a', 'b'}
    def process(self, x):
        yield from self.NAMES
# TS006
class A(beam.DoFn):
    seen = set()
# TS006
class A(beam.DoFn):
    rows: dict[int, int] = {1: 2}
    def process(self, x):
        A.rows[x] = 1
# TS006
class A(beam.DoFn):
    def process(self, x, seen=[]):
        yield x
# TS007
class A(beam.DoFn):
    def setup(self):
        self.seen = set()
    def process(self, x):
        self.seen.add(x)
# TS006
class A(beam.DoFn):
    rows = {1: 2}
    def process(self, x):
        type(self).rows.update(x)
# TS007
class A(beam.DoFn):
    n = 0
    def process(self, x):
        self.n += 1
# TS007
class A(beam.DoFn):
    last: object = None
    def process(self, x):
        self.last = x
# TS007
class A(beam.DoFn):
    rows = {1: 2}
    def process(self, x):
        self.rows = {**self.rows, x: 1}
# TS007
class A(beam.DoFn):
    def __init__(self):
        self.n = 0
    def process(self, x):
        self._count()
    def _count(self):
        self.n += 1
# TS009
class A(beam.DoFn):
    def setup(self):
        self.it = requests.Session()
    def process(self, x):
        yield self.it.get(x)
# TS009
IT = requests.Session()  # noqa: TS002
class A(beam.DoFn):
    def process(self, x):
        yield IT.get(x)
# TS009
LOCK = Lock()  # noqa: TS002
class A(beam.DoFn):
    def process(self, x):
        LOCK.acquire()
# TS012
class A(beam.DoFn):
    def finish_bundle(self):
        yield 1
# TS012
class A(beam.DoFn):
    def start_bundle(self):
        yield from ()
"""
