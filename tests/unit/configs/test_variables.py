"""The variables of a config are known by name, and stay open until a launch says what they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.configs.loader import load_text
from tillstream.configs.variables import (
    Variable,
    at_build,
    at_launch,
    check_given,
    check_open,
    missing,
    variables_of,
)
from tillstream.pipelines.errors import UserError

TEXT = """
client: shop
source:
  kafka:
    bootstrap_servers: ${BROKER}:${PORT:-9092}
    security_protocol: SASL_SSL
    sasl_mechanism: PLAIN
    sasl_username: reader
    sasl_password: ${PASSWORD}
    ssl_ca_file: ${CERTIFICATES:-certs}/ca.pem
entities:
  orders: {topic: "shop.${AREA:-public}.orders", key: [id], sinks: [lake]}
sinks:
  lake: {type: files, path: out}
privacy:
  salt: file:${SECRETS:-/run/secrets}/salt
"""
ENVIRONMENT = {"BROKER": "ci", "PORT": "1", "AREA": "emea", "PASSWORD": "never looked at"}
FLINK = "TILLSTREAM_FLINK"


def variables(**given: str) -> dict[str, Variable]:
    """Return those of the config, built where the environment says what ENVIRONMENT says."""
    config = load_text(TEXT, "shop.yaml", {**ENVIRONMENT, **given})
    return variables_of(TEXT, config, given, ENVIRONMENT)


def test_all_variables_are_known() -> None:
    """Also those of the models' own defaults; each with its places, and whether a launch may set it."""
    broker = "/source/kafka/bootstrap_servers"
    assert variables() == {
        "AREA": Variable(("/entities/orders/topic",), "public", "emea", is_open=False),
        "BROKER": Variable((broker,)),
        "CERTIFICATES": Variable(("/source/kafka/ssl_ca_file",), "certs"),
        "PASSWORD": Variable(("/source/kafka/sasl_password",), is_secret=True),
        "PORT": Variable((broker,), "9092"),
        "SECRETS": Variable(("/privacy/salt",), "/run/secrets"),
        FLINK: Variable(("/flink/rest_url",), "http://127.0.0.1:8081"),
    }
    assert variables(PORT="7")["PORT"].value == "7"


def test_a_build_heeds_the_environment_only_where_it_must() -> None:
    """So that a template has the same bytes wherever it is built."""
    found = variables()
    assert at_build(found, {}, {**ENVIRONMENT, FLINK: "http://ci:1"}) == {"BROKER": "ci", "AREA": "emea"}
    assert at_build(found, {"PORT": "7"}, ENVIRONMENT)["PORT"] == "7"


def test_a_launch_heeds_what_it_is_given_first() -> None:
    """Then the environment, then what the build was given; what shaped the job stays."""
    built = variables(PORT="7")
    here = {"PORT": "8", "AREA": "apac", "PASSWORD": "secret"}
    assert at_launch(built, {}, {}) == {"AREA": "emea", "PORT": "7"}
    assert at_launch(built, {}, here) == {"AREA": "emea", "PORT": "8"}
    assert at_launch(built, {"PORT": "9"}, here) == {"AREA": "emea", "PORT": "9"}


def test_all_that_are_missing_are_named() -> None:
    """What only the builder's environment said is not guessed at; defaults and secrets are not asked for."""
    built = variables()
    assert missing(built, at_launch(built, {}, {})) == ["BROKER"]
    assert missing(built, at_launch(built, {"BROKER": "b"}, {})) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("BROKERS", "--set BROKERS: found no such variable in a.jar, expected one of: AREA, BROKER, CERTIF"),
        ("PASSWORD", r"found a value \(not shown\) for a secret, .*at /source/kafka/sasl_password"),
    ],
)
def test_what_would_be_lost_is_refused(name: str, message: str) -> None:
    """A name that nothing refers to, and one that only the job's own machine may know; never shown."""
    with pytest.raises(UserError, match=message) as raised:
        check_given({name: "hunter2"}, variables(), "a.jar")
    assert "hunter2" not in str(raised.value)


def test_what_shaped_the_job_is_not_changed() -> None:
    """The same value is no change."""
    check_open({"AREA": "emea", "BROKER": "any"}, variables())
    with pytest.raises(UserError, match=r"--set AREA: found 'apac', expected 'emea'.*build another template"):
        check_open({"AREA": "apac"}, variables())


def test_paths_stay_as_they_are_written() -> None:
    """So that a template does not know where it was built."""
    text = TEXT.replace("path: out", "path: ~/out")
    found = load_text(text, Path("/somewhere/shop.yaml"), ENVIRONMENT, as_written=True).plain()
    assert found["source"]["kafka"]["ssl_ca_file"] == "certs/ca.pem"
    assert found["sinks"]["lake"]["path"] == "~/out"
    assert load_text(TEXT, Path("/x/shop.yaml"), ENVIRONMENT).plain()["sinks"]["lake"]["path"] == "/x/out"
