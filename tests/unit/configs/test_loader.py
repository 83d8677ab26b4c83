"""Loading a config: what passes, and how each mistake is reported."""

from __future__ import annotations

import datetime as dt
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tillstream.configs import ClientConfig, PostgresSink, load
from tillstream.configs.crosschecks import Known, cross_check
from tillstream.configs.loader import default_environment
from tillstream.pipelines.errors import ConfigError
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.state import State

GOOD = """\
client: acme
source:
  kafka:
    bootstrap_servers: ${KAFKA:-127.0.0.1:9092}
entities:
  orders:
    topic: acme.public.orders
    key: [order_id]
    contract:
      order_id: int64
      total: decimal(12,2)
    sinks: [warehouse]
sinks:
  warehouse:
    type: postgres
    host: 127.0.0.1
    port: ${PORT:-5432}
    database: shop
    user: writer
    password: ${PASSWORD}
"""

Load = Callable[..., ClientConfig]


@pytest.fixture
def load_text(tmp_path: Path) -> Load:
    """Load a config from its text."""

    def load_it(text: str, environment: Mapping[str, str] | None = None) -> ClientConfig:
        path = tmp_path / "c.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, environment or {})

    return load_it


def problems_of(load_text: Load, text: str, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return the problems of a config, without its folder."""
    with pytest.raises(ConfigError) as caught:
        load_text(text, environment)
    return [line[line.index("c.yaml:") :] for line in str(caught.value).splitlines()]


def changed(old: str, new: str) -> str:
    """Return the good config with one place changed."""
    assert GOOD.count(old) == 1
    return GOOD.replace(old, new)


def test_defaults(load_text: Load) -> None:
    """A short config is filled up with defaults, and references with their own."""
    config = load_text(GOOD)
    assert config.kafka.bootstrap_servers == "127.0.0.1:9092"
    assert config.kafka.start == "earliest"
    assert config.group_id == "tillstream-acme"
    assert config.dead_letter_sink == "warehouse"
    assert config.flink.rest_url == "http://127.0.0.1:8081"
    assert (config.flink.parallelism, config.flink.shards, config.flink.max_parallelism) == (1, 16, 128)


def test_references(load_text: Load) -> None:
    """References take the environment's value, in numbers too; an empty one counts as unset."""
    environment = {"KAFKA": "k:1", "PORT": "6543", "TILLSTREAM_FLINK": "http://f:1"}
    config = load_text(GOOD, environment)
    sink = config.sinks["warehouse"]
    assert isinstance(sink, PostgresSink)
    assert (config.kafka.bootstrap_servers, sink.port, config.flink.rest_url) == ("k:1", 6543, "http://f:1")
    assert load_text(GOOD, {"KAFKA": ""}).kafka.bootstrap_servers == "127.0.0.1:9092"


def test_secrets_are_not_interpolated(load_text: Load) -> None:
    """A password stays a reference, whatever the environment holds, in every printed form."""
    config = load_text(GOOD, {"PASSWORD": "hunter2"})
    for text in (repr(config), str(config), config.model_dump_json(), str(pickle.dumps(config))):
        assert "hunter2" not in text
    assert "${PASSWORD}" in config.model_dump_json()


def test_round_trips(load_text: Load) -> None:
    """A config survives pickling and its own JSON."""
    config = load_text(GOOD)
    assert pickle.loads(pickle.dumps(config)) == config  # noqa: S301
    assert ClientConfig.model_validate_json(config.model_dump_json(by_alias=True)) == config


def test_columns(load_text: Load) -> None:
    """Columns of the key are not nullable unless said, the others are; decimals are taken apart."""
    key, total = load_text(GOOD).entities["orders"].columns()
    assert (key.name, key.kind, key.nullable) == ("order_id", "int64", False)
    assert (total.kind, total.precision, total.scale, total.nullable) == ("decimal", 12, 2, True)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("latest", "latest"),
        ("{offsets: {acme.public.orders: {0: 12}}}", {"acme.public.orders": {0: 12}}),
        ("{timestamp: 2024-05-01T00:00:00Z}", 1714521600000),
        ("{timestamp: '2024-05-01T02:00:00+02:00'}", 1714521600000),
    ],
)
def test_start(load_text: Load, start: str, expected: object) -> None:
    """A start is a word, offsets by partition, or an instant."""
    found = load_text(changed("9092}\n", f"9092}}\n    start: {start}\n")).kafka.start
    assert (found if isinstance(found, str) else found.offsets or found.timestamp_ms) == expected


def test_latest_is_fixed_to_an_instant(load_text: Load) -> None:
    """`latest` becomes the launch's instant, so that restarts agree on it; other starts stay."""
    now = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)
    source = load_text(changed("9092}\n", "9092}\n    start: latest\n")).kafka.starting_at(now)
    assert not isinstance(source.start, str)
    assert source.start.timestamp == now
    assert load_text(GOOD).kafka.starting_at(now).start == "earliest"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[order_id]", "[ordr_id]", "8: entities.orders.key: found 'ordr_id', expected a column of the contract (did you mean 'order_id'?)"),  # noqa: E501
        ("[order_id]", "[order_id, order_id]", "8: entities.orders.key: found 'order_id' twice, expected each column once"),  # noqa: E501
        ("[order_id]", "[]", "8: entities.orders.key: found a list, expected at least 1 of them"),
        ("order_id: int64", "order_id: {type: int64, nullable: true}", "10: entities.orders.contract.order_id.nullable: found true, expected false: a key is never null"),  # noqa: E501
        ("[warehouse]", "[warehous]", "12: entities.orders.sinks: found 'warehous', expected a name under sinks: warehouse (did you mean 'warehouse'?)"),  # noqa: E501
        ("    database: shop\n", "", "14: sinks.warehouse.database: found nothing, expected a value: Name of the database."),  # noqa: E501
        ("client: acme", "client: ACME", "1: client: found 'ACME', expected a name of a-z, 0-9 and _, at most 31, the first a letter"),  # noqa: E501
        ("client: acme", "client: no", "1: client: found no, expected text: put it in quotes"),
        ("user: writer", "user: 7", "19: sinks.warehouse.user: found 7, expected text: put it in quotes"),
        ("type: postgres", "type: postgrs", "15: sinks.warehouse.type: found 'postgrs', expected 'postgres', 'files', 'gcs', 'kafka', 'http' (did you mean 'postgres'?)"),  # noqa: E501
        ("    type: postgres\n", "", "14: sinks.warehouse.type: found nothing, expected 'postgres' or 'files'"),  # noqa: E501
        ("${PORT:-5432}", "${PORT}", "17: sinks.warehouse.port: found ${PORT}, which is not set: set it, or write ${PORT:-default}"),  # noqa: E501
        ("${PORT:-5432}", "${1}", "17: sinks.warehouse.port: found '${' without a name, expected ${NAME} or ${NAME:-default}"),  # noqa: E501
        ("${PORT:-5432}", "70000", "17: sinks.warehouse.port: found 70000, expected at most 65535"),
        ("${PORT:-5432}", "ten", "17: sinks.warehouse.port: found 'ten', expected a whole number"),
        ("  orders:\n", "  Orders:\n", "6: entities.Orders: found 'Orders', expected a name of a-z, 0-9 and _, at most 63, the first a letter"),  # noqa: E501
        ("  orders:\n", "  tillstream_dead_letters:\n", "6: entities.tillstream_dead_letters: found 'tillstream_dead_letters', expected a name that does not begin with tillstream_: dead letters and ledgers are written under such names"),  # noqa: E501
        ("user: writer", "user: writer\n    user: other", "20: sinks.warehouse.user: found a second time, first on line 19, expected once"),  # noqa: E501
        ("9092}\n", "9092}\n    topics: ['^other']\n", "8: entities.orders.topic: found 'acme.public.orders', expected one that source.kafka.topics reads"),  # noqa: E501
        ("9092}\n", "9092}\n    topics: ['^(']\n", "5: source.kafka.topics: found '^(', expected a regular expression after ^: missing ), unterminated subpattern at position 1"),  # noqa: E501
        ("9092}\n", "9092}\n    start: soon\n", "5: source.kafka.start: found 'soon', expected earliest, latest, {timestamp: ...} or {offsets: ...}"),  # noqa: E501
        ("9092}\n", "9092}\n    start: earlist\n", "5: source.kafka.start: found 'earlist', expected earliest, latest, {timestamp: ...} or {offsets: ...} (did you mean 'earliest'?)"),  # noqa: E501
        ("9092}\n", "9092}\n    start: [earliest]\n", "5: source.kafka.start: found a list, expected earliest, latest, {timestamp: ...} or {offsets: ...}"),  # noqa: E501
        ("9092}\n", "9092}\n    rate_limit_per_s: true\n", "5: source.kafka.rate_limit_per_s: found true, expected a whole number"),  # noqa: E501
        ("${PORT:-5432}", "yes", "17: sinks.warehouse.port: found yes, expected a whole number"),
        ("order_id: int64", "order_id:", "10: entities.orders.contract.order_id: found nothing, expected a type, or a mapping of fields"),  # noqa: E501
        ("order_id: int64", "order_id: decimals", "10: entities.orders.contract.order_id: found 'decimals', expected one of bool, int16, int32, int64, float32, float64, decimal, decimal(p,s), string, bytes, date, time, timestamp, timestamptz, timetz, interval, uuid, json, array(type) (did you mean 'decimal'?)"),  # noqa: E501
        ("client: acme", "---\n---", "2: found a second document, expected one a file"),
        ("9092}\n", "9092}\n    start: {}\n", "5: source.kafka.start: found neither, expected exactly one of 'timestamp' and 'offsets'"),  # noqa: E501
        ("9092}\n", "9092}\n    start: {timestamp: 2024-05-01}\n", "5: source.kafka.start.timestamp: found 2024-05-01, expected a time with its zone, such as 2024-05-01T00:00:00Z"),  # noqa: E501
        ("9092}\n", "9092}\n    security_protocol: SASL_SSL\n", "3: source.kafka: found security_protocol SASL_SSL, expected sasl_mechanism, sasl_username and sasl_password beside it"),  # noqa: E501
        ("9092}\n", "9092}\n  files: {paths: [x]}\n", "2: source: found both, expected exactly one of 'kafka' and 'files'"),  # noqa: E501
        ("sinks: [warehouse]\n", "sinks: [warehouse]\nflink: {parallelism: 17}\n", "13: flink.shards: found 16, expected at least flink.parallelism, 17"),  # noqa: E501
        ("sinks: [warehouse]\n", "sinks: [warehouse]\nflink: {shards: 256}\n", "13: flink.max_parallelism: found 128, expected at least flink.shards, 256"),  # noqa: E501
        ("total: decimal", "_total: decimal", "11: entities.orders.contract._total: found '_total', expected a name of letters, digits and _, at most 63, the first a letter: columns that start with _ are tillstream's own"),  # noqa: E501
        ("127.0.0.1:9092", "127.0.0.1", "4: source.kafka.bootstrap_servers: found '${KAFKA:-127.0.0.1}', expected host:port, several with commas"),  # noqa: E501
        ("    sinks: [w", "    transform: Price@1\n    sinks: [w", "12: entities.orders.transform: found 'Price@1', expected client.name@1.2.3 in lower case, its numbers without leading zeros"),  # noqa: E501
        ("sinks: [warehouse]\n", "sinks: [warehouse]\ndead_letters: {sink: nowhere}\n", "13: dead_letters.sink: found 'nowhere', expected a name under sinks: warehouse"),  # noqa: E501
        ("client: acme", "client: [acme", "2: found a mistake while parsing a flow sequence: expected ',' or ']', but got ':', expected YAML"),  # noqa: E501
        ("client: acme", "client: !!python/name:os.system x", "1: found could not determine a constructor for the tag 'tag:yaml.org,2002:python/name:os.system', expected YAML"),  # noqa: E501
        ("client: acme", "client: !!binary aGk=", "1: found a binary value, expected YAML"),
        ("client: acme", "client: &a [*a]", "1: found aliases that repeat without end, expected YAML"),
        ("client: acme", "? [a]\n: b", "1: found a key that is not a name, expected YAML"),
    ],
)  # fmt: skip
def test_one_problem(load_text: Load, old: str, new: str, problem: str) -> None:
    """Each mistake is one line: file, line, field, what was found, what was expected."""
    assert problems_of(load_text, changed(old, new)) == [f"c.yaml:{problem}"]


def test_entities_share_no_topic(load_text: Load) -> None:
    """Two entities may not read one topic: the second is told of the first."""
    other = "  items:\n    topic: acme.public.orders\n    key: [id]\n    sinks: [warehouse]\n"
    problem = problems_of(load_text, changed("sinks:\n  w", other + "sinks:\n  w"))[-1]
    assert problem.startswith(
        "c.yaml:14: entities.items.topic: found 'acme.public.orders', which entity 'orders'"
    )


def test_a_contract_is_needed_by_some_sinks(load_text: Load) -> None:
    """Postgres and Parquet need the columns; JSON lines take rows as they are."""
    bare = GOOD.replace("    contract:\n      order_id: int64\n      total: decimal(12,2)\n", "")
    needed = (
        "c.yaml:6: entities.orders.contract: found nothing, expected the columns that sink 'warehouse' writes"
    )
    assert problems_of(load_text, bare) == [needed]
    head = bare[: bare.index("    type: postgres")]
    for form in ("parquet", "avro"):
        assert problems_of(load_text, head + f"    {{type: files, path: x, format: {form}}}\n") == [needed]
    assert load_text(head + "    {type: files, path: x}\n").entities["orders"].columns() == ()


def test_unknown_fields_name_the_near_one(load_text: Load) -> None:
    """A misspelt field is told the known ones and the nearest, at any depth."""
    (problem,) = problems_of(load_text, changed("user: writer", "user: writer\n    sslmod: require"))
    assert problem.startswith(
        "c.yaml:20: sinks.warehouse.sslmod: found an unknown field, expected one of type, host"
    )
    assert problem.endswith("(did you mean 'sslmode'?)")
    (problem,) = problems_of(load_text, GOOD + "clent: x\n")
    assert problem.endswith("(did you mean 'client'?)")


def test_unknown_types_name_the_near_one(load_text: Load) -> None:
    """A misspelt column type is told the nearest; a cut decimal is told to use quotes or its bounds."""
    (problem,) = problems_of(load_text, changed("order_id: int64", "order_id: int46"))
    assert problem.startswith(
        "c.yaml:10: entities.orders.contract.order_id: found 'int46', expected one of bool"
    )
    assert problem.endswith("(did you mean 'int64'?)")
    (problem,) = problems_of(load_text, changed("decimal(12,2)", "decimal(2,12)"))
    assert "total: found 'decimal(2,12)', expected decimal(p,s) with" in problem


@pytest.mark.parametrize(
    "field", ["password: hunter2", "pasword: hunter2", "password: [hunter2]", "password: 'x${hunter2'"]
)
def test_secrets_are_not_printed(load_text: Load, field: str) -> None:
    """A secret written into the file is refused without repeating it, under a misspelt name too."""
    problems = problems_of(load_text, changed("password: ${PASSWORD}", field))
    assert len(problems) == 1
    assert "hunter2" not in problems[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("me:hunter2@host", "***@host"),
        ("me:hun/ter2@host", "***@host"),
        ("kafka://hunter2@host", "***@host"),
    ],
)
def test_logins_in_addresses_are_not_printed(load_text: Load, value: str, shown: str) -> None:
    """A login in an address is cut out of the problem."""
    (problem,) = problems_of(load_text, changed("${KAFKA:-127.0.0.1:9092}", value))
    assert f"found {shown!r}" in problem
    assert "ter2" not in problem


def test_all_problems_at_once(load_text: Load) -> None:
    """Mistakes of fields, between fields, in references and in the YAML come together, by line."""
    text = (
        GOOD.replace("[order_id]", "[x]")
        .replace("${PORT:-5432}", "${PORT}")
        .replace("client: acme", "client: 5")
        + "sinks: {}\n"
    )
    lines = [problem.split(":")[1] for problem in problems_of(load_text, text)]
    assert lines == ["1", "8", "17", "21"]


def test_unknown_transforms(load_text: Load, tmp_path: Path) -> None:
    """A transform that does not exist is reported beside the rest, with the one that was perhaps meant."""
    text = changed("    sinks: [w", "    transform: acme.total@1.0.1\n    sinks: [w")
    assert load_text(text).entities["orders"].transform == "acme.total@1.0.1"
    with pytest.raises(ConfigError) as caught:
        load_text(text.replace("PORT:-5432", "PORT"))
    with pytest.raises(ConfigError) as both:
        load(
            tmp_path / "c.yaml",
            {},
            lambda *_: Known(["acme.total@1.0.0", "acme.page@2.0.0"], ["package x: gone"]),
        )
    (unset,) = str(caught.value).splitlines()
    assert str(both.value).splitlines() == [
        (
            f"{tmp_path}/c.yaml:12: entities.orders.transform: found 'acme.total@1.0.1', "
            "expected one of acme.total@1.0.0, acme.page@2.0.0 (did you mean 'acme.total@1.0.0'?); "
            "package x: gone"
        ),
        unset,
    ]


def test_transforms_are_looked_up_where_there_are_some(tmp_path: Path) -> None:
    """Without an entity that has a transform nobody asks which there are."""
    (tmp_path / "c.yaml").write_text(GOOD, encoding="utf-8")
    load(tmp_path / "c.yaml", {}, lambda *_: pytest.fail("asked"))


def test_a_sink_is_not_asked_for_more_than_it_can_give() -> None:
    """A sink that cannot give exactly-once is refused with the reason, unless the client asks for less."""
    sinks = {"api": {"type": "http"}, "warehouse": {"type": "postgres"}}
    numbers = {"parallelism": 1, "max_parallelism": 128, "shards": 16}
    (problem,) = cross_check({"sinks": sinks}, numbers)
    assert problem.field == "sinks.api.type"
    assert "cannot give delivery.guarantee exactly-once: a request whose answer is lost" in problem.text
    assert not list(cross_check({"sinks": sinks, "delivery": {"guarantee": "at-least-once"}}, numbers))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- list", "a: " + "[" * 5000, "\x00"])
def test_not_a_config(load_text: Load, text: str) -> None:
    """Whatever stands in the file, the answer is a ConfigError."""
    assert problems_of(load_text, text)


def test_alias_bombs_are_refused(load_text: Load) -> None:
    """A few lines of aliases that stand for a billion values are refused, soon."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "aliases that repeat without end" in problems_of(load_text, "\n".join(lines))[0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are config errors that name the file."""
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xff")
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "bytes.yaml"):
        with pytest.raises(ConfigError, match=f"^{path}: found"):
            load(path, {})


def test_the_stack_lends_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a local stack was started its environment fills the gaps of the process's own."""
    monkeypatch.setenv("TILLSTREAM_DIR", str(tmp_path))
    monkeypatch.setenv("MINE", "process")
    assert "STACKS" not in default_environment()
    State(environment={"MINE": "stack", "STACKS": "stack"}).save(Layout(tmp_path))
    found = default_environment()
    assert (found["MINE"], found["STACKS"]) == ("process", "stack")
    (tmp_path / "stack.json").write_text("{half", encoding="utf-8")
    assert "STACKS" not in default_environment()
