"""Expectations and masks are checked against the columns that they name, with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tillstream.configs import load
from tillstream.configs.trust import Expectation
from tillstream.pipelines.errors import ConfigError

HEAD = """\
client: shop
source: {files: {paths: [in.jsonl]}}
sinks: {out: {type: files, path: /out}}
"""
PRIVACY = "privacy: {salt: '${SALT}', by_class: {email: {mask: hash}}}\n"
ENTITY = """\
entities:
  people:
    topic: shop.public.people
    key: [email]
    contract:
      email: {type: string, pii: email}
      name: string
      total: decimal(10,2)
      born: date
      visits: int32
      score: float64
      details: json
      rank: {type: int32, nullable: false}
    sinks: [out]
"""


def problems(tmp_path: Path, more: str, head: str = HEAD + PRIVACY) -> list[str]:
    """Return what is wrong with a config, without the file's name."""
    path = tmp_path / "shop.yaml"
    path.write_text(head + ENTITY.replace("decimal(10,2)", "'decimal(10,2)'") + more, encoding="utf-8")
    try:
        load(path, {})
    except ConfigError as error:
        return [line.removeprefix(f"{path}:") for line in str(error).splitlines()]
    return []


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        (
            "{expect: not_null, column: nme}",
            "20: entities.people.expectations.column: found 'nme', expected a",
        ),
        (
            "{expect: not_null}",
            "20: entities.people.expectations.column: found nothing, expected it for not_null",
        ),
        ("{expect: not_null, column: name, min: 1}", "found it for not_null, expected column alone"),
        ("{expect: range, column: name, min: 1}", "found a column of type string, expected one of int16"),
        ("{expect: range, column: total}", "found a range without bounds"),
        ("{expect: range, column: total, min: a}", "min: found 'a', expected a number"),
        ("{expect: range, column: visits, min: 0.5}", "min: found '0.5', expected a whole number"),
        ("{expect: range, column: visits, min: 5, max: 4}", "max: found 4, expected at least min, 5"),
        ("{expect: range, column: born, min: '28.2.2026'}", "found '28.2.2026', expected a date such as"),
        (
            "{expect: in_set, column: total, values: [1, 1.234]}",
            "values: found '1.234', expected a decimal(10,2)",
        ),
        ("{expect: in_set, column: details, values: [1]}", "found a column of type json"),
        (
            "{expect: regex, column: total, pattern: a}",
            "found a column of type decimal, expected one of type str",
        ),
        ("{expect: regex, column: name, pattern: '('}", "pattern: found '(', expected a regular expression"),
        ("{expect: cross_field, expression: total > nme}", "found 'nme', expected columns of the contract"),
        ("{expect: freshness}", "age_s_max: found nothing, expected it for freshness"),
        (
            "{expect: unique, columns: [name], window_s: 60, severity: drop}",
            "found 'drop' for unique, expected warn",
        ),
        ("{expect: unique, columns: [name]}", "window_s: found nothing, expected it for unique"),
        ("{expect: row_count_drift, window_s: 60, drift_ratio_max: 0.5, severity: quarantine}", "already"),
        ("{expect: not_nil, column: name}", "found 'not_nil', expected 'not_null'"),
        ("{expect: range, column: total, min: true}", "expected a whole number"),
    ],
)
def test_what_an_expectation_lacks_is_told(tmp_path: Path, expectation: str, said: str) -> None:
    """Each problem names the line, the field, and what was expected."""
    found = problems(tmp_path, f"    expectations:\n      - {expectation}\n")
    assert any(said in line for line in found), found


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        (
            "{nme: {mask: hash}}",
            "19: entities.people.masks.nme: found 'nme', expected a column of the contract",
        ),
        ("{visits: {mask: hash}}", "found hash on 'visits' of type int32, which cannot hold it"),
        ("{born: {mask: tokenise}}", "or redact to null"),
        ("{rank: {mask: redact}}", "found redact to null on 'rank', which is not nullable"),
        ("{born: {mask: redact, text: x}}", "found a text on 'born' of type date"),
        ("{email: {mask: truncate, characters: 3}}", "found truncate on a column of the key, expected hash"),
        ("{email: {mask: redact}}", "found redact on a column of the key"),
        ("{name: {mask: truncate}}", "characters: found nothing, expected how many characters"),
        ("{name: {mask: hash, characters: 3}}", "found it for hash, which takes no such field"),
        ("{name: {mask: hush}}", "found 'hush', expected 'hash'"),
    ],
)
def test_a_mask_must_fit_its_column(tmp_path: Path, masks: str, said: str) -> None:
    """A column must be able to hold what takes the value's place, and a key must stay one."""
    found = problems(tmp_path, f"    masks: {masks}\n")
    assert any(said in line for line in found), found


def test_what_fits_is_taken(tmp_path: Path) -> None:
    """Every kind of expectation and mask has a proper form."""
    more = """\
    expectations:
      - {expect: not_null, column: name, severity: warn}
      - {expect: range, column: total, min: 0, max: '99.99'}
      - {expect: range, column: born, min: '1900-01-01'}
      - {expect: range, column: score, max: 1}
      - {expect: in_set, column: visits, values: [1, 2]}
      - {expect: regex, column: name, pattern: '\\w+'}
      - {expect: freshness, age_s_max: 60, severity: fail}
      - {expect: cross_field, expression: total > visits, severity: drop, name: enough}
      - {expect: unique, columns: [email], window_s: 60, severity: fail}
      - {expect: row_count_drift, window_s: 3600, windows: 3, drift_ratio_max: 0.5}
    masks:
      name: {mask: truncate, characters: 1}
      born: {mask: redact}
"""
    assert problems(tmp_path, more) == []


def test_masks_need_a_salt(tmp_path: Path) -> None:
    """A hash without one could be guessed."""
    found = problems(tmp_path, "    masks: {name: {mask: hash}}\n", HEAD)
    (line,) = found
    assert line.startswith("1: privacy.salt: found nothing, expected a reference to the salt of the masks")


def test_a_salt_is_a_reference(tmp_path: Path) -> None:
    """The salt itself never stands in a config, and is not repeated where it does."""
    (found,) = problems(tmp_path, "", HEAD + "privacy: {salt: hunter2hunter2hunter2}\n")
    assert "expected ${NAME}" in found
    assert "hunter2" not in found


def test_a_class_that_no_column_has_is_told(tmp_path: Path) -> None:
    """A misspelt class would leave values as they are."""
    found = problems(tmp_path, "", HEAD + PRIVACY.replace("email:", "e_mail:"))
    assert found == [
        "4: privacy.by_class.e_mail: found no column of PII class 'e_mail', expected one of email"
    ]


def test_a_class_must_fit_all_of_its_columns(tmp_path: Path) -> None:
    """The mask of a class is checked on each column that has it."""
    (found,) = problems(tmp_path, "", HEAD + PRIVACY.replace("{mask: hash}", "{mask: redact}"))
    assert found.startswith(
        "10: entities.people.contract.email: by PII class 'email': found redact on a column"
    )


def test_unique_needs_masks_that_tell_apart(tmp_path: Path) -> None:
    """It looks at what is delivered, where cut values may be alike."""
    more = """\
    expectations: [{expect: unique, columns: [name], window_s: 60}]
    masks: {name: {mask: truncate, characters: 1}}
"""
    (found,) = problems(tmp_path, more)
    assert "whose mask makes different values alike" in found


def test_names_are_told_apart(tmp_path: Path) -> None:
    """Two expectations of one name would share a counter and a reason."""
    more = "    expectations: [{expect: not_null, column: name}, {expect: not_null, column: name}]\n"
    (found,) = problems(tmp_path, more)
    assert "found a second expectation 'not_null_name'" in found


def test_kinds_about_columns_need_a_contract(tmp_path: Path) -> None:
    """Without one nobody knows the types."""
    path = tmp_path / "shop.yaml"
    entity = "entities: {people: {topic: t, key: [id], sinks: [out], expectations: [{expect: %s}]}}\n"
    path.write_text(HEAD + entity % "freshness, age_s_max: 5", encoding="utf-8")
    load(path, {})
    path.write_text(HEAD + entity % "not_null, column: id", encoding="utf-8")
    with pytest.raises(ConfigError, match="found not_null without a contract"):
        load(path, {})


@pytest.mark.parametrize(
    ("fields", "name", "severity"),
    [
        ({"expect": "not_null", "column": "a"}, "not_null_a", "quarantine"),
        ({"expect": "unique", "columns": ["a", "b"], "window_s": 1}, "unique_a_b", "warn"),
        ({"expect": "freshness", "age_s_max": 1, "name": "fresh", "severity": "fail"}, "fresh", "fail"),
    ],
)
def test_what_is_not_said_has_a_default(fields: dict[str, Any], name: str, severity: str) -> None:
    """Names are made of kind and columns; only what looks at single rows can quarantine."""
    expectation = Expectation.model_validate(fields)
    assert (expectation.own_name, expectation.own_severity) == (name, severity)
