"""Contracts that transforms bring are checked like those of configs, and aggregates' letters are masked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import ClientConfig
from tillstream.pipelines.errors import TransformError
from tillstream.pipelines.records import DeadLetter
from tillstream.transforms.resolving import resolve
from tillstream.transforms.trust.letters import LetterMasker

MODULE = """
import apache_beam as beam
from pydantic import BaseModel
from tillstream.transforms.aggregates.aggregate import Aggregate, Contribution
from tillstream.transforms.api import transform
from tillstream.transforms.aggregates.combining import Count
from tillstream.transforms.contracts.models import field

class Login(BaseModel):
    email: str = field(key=True, pii="email")
    visits: int

@transform("resolvedtest.logins@1.0.0", output=Login)
class Logins(beam.DoFn):
    def process(self, event):
        yield event.upsert(event.after)

@transform("resolvedtest.counts@1.0.0", output=Login)
class Counts(Aggregate):
    combine = {"visits": Count()}

    def contributions(self, row, event):
        yield Contribution((row["email"],))

    def rows(self, group, window, totals):
        yield {"email": group[0], **totals}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with the transforms."""
    (tmp_path / "resolvedtest_module.py").write_text(MODULE, encoding="utf-8")
    return tmp_path


def client(folder: Path, *, by_class: dict[str, Any] | None = None, **logins: Any) -> ClientConfig:
    """Return a client whose logins have the contract of their transform."""
    entity = {"key": ["email"], "sinks": ["out"]}
    return ClientConfig.model_validate(
        {
            "client": "shop",
            "source": {"files": {"paths": ["in.jsonl"]}},
            "transforms": {"modules": ["resolvedtest_module"], "path": str(folder)},
            "entities": {
                "logins": {"topic": "logins", "transform": "resolvedtest.logins@1.0.0", **entity, **logins},
                "counts": {"from": "logins", "transform": "resolvedtest.counts@1.0.0", **entity},
            },
            "sinks": {"out": {"type": "files", "path": "/out"}},
            "privacy": {"salt": "${S}", "by_class": by_class or {"email": {"mask": "hash"}}},
        }
    )


@pytest.mark.parametrize("key", [["visits"], ["email", "visits"]])
def test_a_key_that_a_model_marks_is_the_entitys(folder: Path, key: list[str]) -> None:
    """Rows are told apart by what the transform's author says, or the config is refused."""
    told = rf"'logins': found key {', '.join(key)}, but transform .* marks email as the key"
    with pytest.raises(TransformError, match=told):
        resolve(client(folder, key=key))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"expectations": [{"expect": "not_null", "column": "mail"}]}, "found 'mail', expected a column"),
        ({"expectations": [{"expect": "regex", "column": "visits", "pattern": "a"}]}, "of type int64"),
        ({"expectations": [{"expect": "cross_field", "expression": "visit > 0"}]}, "found 'visit'"),
        ({"masks": {"visits": {"mask": "hash"}}}, "found hash on 'visits' of type int64"),
        ({"by_class": {"email": {"mask": "redact"}}}, "found redact on a column of the key"),
        ({"by_class": {"e_mail": {"mask": "hash"}}}, "found no column of PII class 'e_mail'"),
    ],
)
def test_what_does_not_fit_a_contract_that_came_later(folder: Path, more: dict[str, Any], said: str) -> None:
    """The config alone could not tell; with the transform's contract it is told before anything runs."""
    with pytest.raises(TransformError, match=r"^(entities|privacy)\.") as caught:
        resolve(client(folder, **more))
    assert said in str(caught.value)


def test_the_letters_of_aggregates_are_masked(folder: Path) -> None:
    """They hold values of groups without the names of columns, so those are withheld; keys are masked."""
    masker = LetterMasker(resolve(client(folder)), b"0123456789abcdef")
    about = {"topic": "logins", "partition": 0, "offset": 1, "transform": "resolvedtest.counts@1.0.0"}
    for payload in ({"contributions": [{"group": ["ada@x.org"]}]}, {"group": ["ada@x.org"], "window": None}):
        letter = DeadLetter(
            client="shop",
            entity="counts",
            step="transform",
            reason="transform_failed",
            detail="ValueError: ada@x.org",
            key=b'{"email":"ada@x.org"}',
            payload=json.dumps(payload).encode(),
            traceback="Traceback (most recent call last):\nValueError: ada@x.org\n",
            source_entity="logins",
            **about,
        )
        assert b"ada@x.org" not in masker.mask(letter).encode()
