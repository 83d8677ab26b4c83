"""A job that runs gets other numbers of subtasks, amid its work, and every row is exact."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tillstream.configs import ClientConfig
from tillstream.runners.jobs.commands import built
from tillstream.runners.jobs.health import counts_of
from tillstream.runners.jobs.job import ClientJob
from tillstream.runners.jobs.rescale import rescale_job

from .conftest import Client, change, wait_until

KEYS = 300
_TIMEOUT_S = 240.0


@contextmanager
def _updated(client: Client) -> Iterator[list[int]]:
    """Update every key over and over, in another thread; the list's last is the newest amount."""
    rounds, over = [0], threading.Event()

    def update() -> None:
        while not over.wait(0.5):
            number = rounds[-1] + 1
            client.produce(
                (b'{"id":%d}' % key, change(key, f"{number}.00", number * KEYS + key)) for key in range(KEYS)
            )
            rounds.append(number)

    thread = threading.Thread(target=update)
    thread.start()
    try:
        yield rounds
    finally:
        over.set()
        thread.join()


def _config(client: Client, folder: Path) -> ClientConfig:
    """Return a config that writes to a table and to files, and keeps state on disk."""
    plain: dict[str, Any] = client.config().plain()
    plain["sinks"]["lake"] = {"type": "files", "path": str(folder)}
    plain["entities"]["sales"]["sinks"] = ["warehouse", "lake"]
    plain["flink"] |= {"state_backend": "rocksdb", "checkpoint_timeout_s": 120}
    return ClientConfig.model_validate(plain)


def _versions(folder: Path) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for path in sorted(folder.glob("sales/part-*")):
        for line in path.read_bytes().splitlines():
            row = json.loads(line)
            found.setdefault(row["id"], []).append(int(float(row["amount"])))
    return found


def test_rescaling_amid_the_work_is_exact(client: Client, tmp_path: Path) -> None:
    """1 to 3 to 2 subtasks: each change of each row comes out once, in order, in table and files.

    Operators have the names of their steps, what they count is told below those, and the config's settings
    of Flink are the job's.
    """
    client.create_topic(3)
    config = _config(client, tmp_path / "lake")
    with _updated(client) as rounds:
        job = ClientJob(config)
        template = built(job, tmp_path / "template.jar")
        job_id = job.start(template, "launch", deadline_s=_TIMEOUT_S).job_id
        for parallelism in (3, 2):
            newer = f"select 1 from sales where amount > {rounds[-1]} limit 1"
            wait_until(functools.partial(client.query, newer), "rows", _TIMEOUT_S)
            done = rescale_job(job, parallelism, _TIMEOUT_S)
            assert done.outcome == "rescaled", done
            job_id = done.facts["job_id"]
    last = rounds[-1]
    wait_until(
        lambda: client.query(f"select count(*) from sales where amount = {last}") == [(KEYS,)],
        "the last rows",
    )
    assert client.rows() == KEYS
    wait_until(lambda: len(_versions(tmp_path / "lake").get(0, ())) >= last, "the last lines", _TIMEOUT_S)
    assert _versions(tmp_path / "lake") == {key: list(range(1, last + 1)) for key in range(KEYS)}

    vertices = client.rest.job(job_id)["vertices"]
    assert [each["parallelism"] for each in vertices] == [2] * len(vertices)
    names = {each["name"] for each in vertices}
    assert names == {
        "Source: StreamingImpulseSource -> Ticks",
        "ReadChanges",
        "TransformChanges",
        "WriteSinks",
    }
    # The dashboard is told what is counted a moment later.
    counted = [str(each["id"]) for each in vertices]
    wait_until(lambda: min(counts_of(client.rest, job_id, counted)[:2]) > 0, "the counters", _TIMEOUT_S)
    address = f"{client.rest.url}/jobs/{job_id}/checkpoints/config"
    settings = requests.get(address, timeout=30).json()
    assert settings["state_backend"] == "EmbeddedRocksDBStateBackend"
    assert settings["timeout"] == 120_000
    assert settings["tolerable_failed_checkpoints"] == config.flink.failed_checkpoints_max
