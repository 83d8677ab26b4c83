"""A job's processes see what their own config names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import SECRETS_DIR_VARIABLE, ClientConfig
from tillstream.configs.launching import LaunchParameters
from tillstream.runners.bounds import Bounds, bounds_of
from tillstream.runners.nursery.kept import keep

GIVEN = {
    "PATH": "/bin",
    "LC_ALL": "C",
    "PYTHONPATH": "/x",
    "TILLSTREAM_SECRETS_DIR": "/s",
    "ACME_PASSWORD": "ours",
    "GLOBEX_PASSWORD": "theirs",
    "PGPASSWORD": "anybody's",
    "GOOGLE_APPLICATION_CREDENTIALS": "/g",
    "REGION": "eu",
}


def config(sinks: dict[str, Any], **changes: Any) -> ClientConfig:
    """Return a client that writes to some sinks."""
    contract = {"id": "int64"}
    orders = {"topic": "acme.public.orders", "key": ["id"], "contract": contract, "sinks": list(sinks)}
    return ClientConfig.model_validate(
        {
            "client": "acme",
            "source": {"kafka": {"bootstrap_servers": "k:9092"}},
            "entities": {"orders": orders},
            "sinks": sinks,
            **changes,
        }
    )


def postgres(password: str) -> dict[str, Any]:
    """Return a sink with a reference to its password."""
    return {"type": "postgres", "host": "h", "database": "d", "user": "u", "password": password}


def test_only_what_the_config_names_is_left_of_an_environment() -> None:
    """The system's variables, the config's secrets and what it asks for stay; others' secrets go."""
    client = config({"one": postgres("${ACME_PASSWORD}")}, limits={"environment": ["REGION"]})
    bounds = Bounds.decode(bounds_of(client, LaunchParameters(7, 1)).encode())
    expected = {"PATH", "LC_ALL", "PYTHONPATH", "TILLSTREAM_SECRETS_DIR", "ACME_PASSWORD", "REGION"}
    assert set(keep(bounds.variables, GIVEN)) == expected
    assert (bounds.client, bounds.launch) == ("acme", 7)


def test_googles_own_variables_stay_for_those_who_write_there() -> None:
    """A worker's account is for clients with a GCS sink."""
    bounds = bounds_of(config({"lake": {"type": "gcs", "bucket": "some-bucket"}}), None)
    kept = keep(bounds.variables, GIVEN)
    assert "GOOGLE_APPLICATION_CREDENTIALS" in kept
    assert "ACME_PASSWORD" not in kept


def test_a_value_never_travels() -> None:
    """What is handed to the cluster holds names and paths alone."""
    client = config({"one": postgres("${ACME_PASSWORD}"), "two": postgres("file:/run/pw")})
    bounds = bounds_of(client, LaunchParameters(7, 1))
    assert (bounds.variables, bounds.files) == (("ACME_PASSWORD",), ("/run/pw",))


def test_its_own_secrets_and_sinks_stay_readable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder of secrets, the files it refers to, and the folders that it writes, made where missing."""
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(tmp_path / "secrets"))
    bounds = bounds_of(config({"out": {"type": "files", "path": str(tmp_path / "out")}}), None)
    assert bounds.secrets() is None
    (tmp_path / "secrets").mkdir()
    assert bounds.readable() == [tmp_path / "out", tmp_path / "secrets" / "acme"]
    assert (tmp_path / "out").is_dir()
