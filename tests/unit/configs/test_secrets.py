"""References to secrets: what is accepted, where values are looked for, what is never shown."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from tillstream.configs import SECRETS_DIR_VARIABLE, PostgresSink, SecretRef
from tillstream.pipelines.errors import UserError

ADAPTER: TypeAdapter[SecretRef] = TypeAdapter(SecretRef)


def test_environment_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the secret's name wins over the file of the same name."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "PW").write_text("from file", encoding="utf-8")
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    assert SecretRef("${PW}").resolve("acme") == "from file"
    monkeypatch.setenv("PW", "from environment")
    assert SecretRef("${PW}").resolve("acme") == "from environment"


def test_clients_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's secret is not another's, and both places are named when it is missing."""
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "PW").write_text("acme's", encoding="utf-8")
    monkeypatch.setenv(SECRETS_DIR_VARIABLE, str(tmp_path))
    monkeypatch.delenv("PW", raising=False)
    with pytest.raises(UserError) as caught:
        SecretRef("${PW}").resolve("globex")
    assert "PW" in str(caught.value)
    assert str(tmp_path / "globex" / "PW") in str(caught.value)


def test_nowhere_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without variable and folder the error names both."""
    monkeypatch.delenv(SECRETS_DIR_VARIABLE, raising=False)
    monkeypatch.delenv("PW", raising=False)
    with pytest.raises(UserError, match=r"PW.*TILLSTREAM_SECRETS_DIR"):
        SecretRef("${PW}").resolve("acme")


@pytest.mark.parametrize(("content", "value"), [("a b", "a b"), ("a\n", "a"), (" a \n", " a "), ("ä€", "ä€")])
def test_files(tmp_path: Path, content: str, value: str) -> None:
    """A file's secret is its content without the line end."""
    path = tmp_path / "pw"
    path.write_text(content, encoding="utf-8")
    assert SecretRef(f"file:{path}").resolve("acme") == value


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file is named; bytes that are no text are refused without being shown."""
    with pytest.raises(UserError, match="missing"):
        SecretRef(f"file:{tmp_path}/missing").resolve("acme")
    (tmp_path / "pw").write_bytes(b"hunter2\xff")
    with pytest.raises(UserError) as caught:
        SecretRef(f"file:{tmp_path}/pw").resolve("acme")
    assert "hunter2" not in str(caught.value)


def test_paths_are_completed(tmp_path: Path) -> None:
    """A file's path starts from the config's folder, and may hold references."""
    context = {"folder": tmp_path, "environment": {"DIR": "keys"}}
    assert ADAPTER.validate_python("file:${DIR}/pw", context=context) == SecretRef(f"file:{tmp_path}/keys/pw")
    with pytest.raises(ValidationError, match="NOPE"):
        ADAPTER.validate_python("file:${NOPE}/pw", context=context)


@pytest.mark.parametrize(
    "text", ["hunter2", "", "${}", "${hunter2", "x${hunter2}", "${hunter2}x", "file:", 5, []]
)
def test_literals_are_refused(text: object) -> None:
    """Anything but a whole reference is refused, and not repeated."""
    with pytest.raises(ValidationError) as caught:
        PostgresSink.model_validate({"password": text})
    assert "hunter2" not in str(caught.value)
    assert ("password",) in [error["loc"] for error in caught.value.errors()]


def test_only_the_reference_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pickle, repr and JSON hold the reference, not the value."""
    monkeypatch.setenv("PW", "hunter2")
    reference = ADAPTER.validate_python("${PW}")
    assert pickle.loads(pickle.dumps(reference)) == reference  # noqa: S301
    assert ADAPTER.dump_json(reference) == b'"${PW}"'
    assert "hunter2" not in f"{reference!r} {reference} {pickle.dumps(reference)!r}"
    assert reference.resolve("acme") == "hunter2"
