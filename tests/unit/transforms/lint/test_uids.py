"""What a savepoint finds state by is written down, and a change of it is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tillstream import configs
from tillstream.cli import app
from tillstream.pipelines.errors import UserError
from tillstream.transforms.lint.uids import Uids, compare, of_config, read, write

CLIENTS = Path(configs.__file__).parent / "clients"
BEFORE = Uids(
    client="acme",
    stages={"Ticks": (), "Transform": ("head", "log")},
    cells={"orders": ("acme.big/seen",)},
    keys={"orders": ("order_id",)},
    sizes={"shards": 16, "max_parallelism": 128},
)


def lost(**changes: object) -> list[tuple[str, str]]:
    """Return code and first words of what a change loses."""
    found = compare(msgspec.structs.replace(BEFORE, **changes), BEFORE, Path("acme.yaml"))
    return [(each.code, each.message.split(":")[0]) for each in found]


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ({"stages": {"Ticks": (), "Changed": ("head", "log")}}, "TS101",
         "found no stage 'Transform' any more, perhaps it is 'Changed' now"),
        ({"stages": {"Transform": ("head", "log")}}, "TS101", "found no stage 'Ticks' any more"),
        ({"stages": {"Ticks": (), "Transform": ("head",)}}, "TS101",
         "found no state 'log' in stage 'Transform' any more"),
        ({"cells": {"orders": ("acme.big/met",)}}, "TS102",
         "found no keyed state 'acme.big/seen' of 'orders' any more, perhaps it is 'acme.big/met' now"),
        ({"cells": {}}, "TS102", "found no keyed state 'acme.big/seen' of 'orders' any more"),
        ({"keys": {"orders": ("order_id", "line")}}, "TS103",
         "found key [order_id, line] of 'orders', expected [order_id]"),
        ({"sizes": {"shards": 8, "max_parallelism": 128}}, "TS104", "found flink.shards 8, expected 16"),
        ({"client": "globex"}, "TS101", "found client 'globex', expected 'acme'"),
    ],
)  # fmt: skip
def test_each_loss_is_told(change: dict[str, object], code: str, text: str) -> None:
    """A stage, a state, a cell, a key or a size that is another one now is one finding."""
    assert lost(**change) == [(code, text)]


def test_what_is_new_loses_nothing() -> None:
    """More stages, cells and entities start empty, and that is right."""
    assert lost(stages={**BEFORE.stages, "New": ("x",)}, cells={**BEFORE.cells, "items": ("acme.x/y",)}) == []
    assert lost(keys={**BEFORE.keys, "items": ("id",)}) == []


def test_a_config_is_written_and_compared(tmp_path: Path) -> None:
    """The file of a config agrees with it; another key does not, and the exit code says so."""
    path, config = tmp_path / "uids.json", tmp_path / "globex.yaml"
    text = (CLIENTS / "globex.yaml").read_text(encoding="utf-8")
    config.write_text(text, encoding="utf-8")
    assert CliRunner().invoke(app, ["lint", str(config), "--write-uids", str(path)]).exit_code == 0
    found = of_config(config)
    assert read(path) == found
    assert found.stages["TransformChanges/ParDo(TransformChanges)"][-2:] == ("shard_head", "shard_log")
    assert CliRunner().invoke(app, ["lint", str(config), "--against", str(path)]).exit_code == 0
    config.write_text(text.replace("key: [view_id]", "key: [view_id, session_id]"), encoding="utf-8")
    changed = CliRunner().invoke(app, ["lint", str(config), "--against", str(path)])
    assert changed.exit_code == 1
    assert f"{config}:1:1: TS103 found key [view_id, session_id] of 'page_views'" in changed.output


def test_bad_files_and_targets_are_refused(tmp_path: Path) -> None:
    """A file that is none, one of another version, and a target that is no config are bad input."""
    path = tmp_path / "uids.json"
    with pytest.raises(UserError, match="--against"):
        read(path)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match="expected a file of 'tillstream lint CONFIG --write-uids'"):
        read(path)
    write(msgspec.structs.replace(BEFORE, version=2), path)
    with pytest.raises(UserError, match="found version 2, expected 1"):
        read(path)
    found = CliRunner().invoke(app, ["lint", str(tmp_path), "--against", str(path)])
    assert "expected one config" in str(found.exception)
