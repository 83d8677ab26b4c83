"""What the GCS sink rests on, at an emulator of the service."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tillstream.configs import GcsSink as GcsSinkModel
from tillstream.io.sinks import Sink, Writer, sink_class
from tillstream.io.sinks.commit_log import entry_name
from tillstream.io.sinks.gcs import GcsStore, committed_objects
from tillstream.io.sinks.gcs_objects import Objects
from tillstream.pipelines.errors import SinkError

from .rig_gcs import Emulator, GcsRig
from .sink_rigs import batch, written

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def rig(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> GcsRig:
    """Return a rig on an empty bucket."""
    return GcsRig(emulator, monkeypatch)


@pytest.fixture
def objects(rig: GcsRig) -> Iterator[Objects]:
    """Return the bucket's objects."""
    found = Objects("sink", "acme", rig.model)
    yield found
    found.close()


def opened(rig: GcsRig, *, generation: int = 1, **model: Any) -> Sink:
    """Return a sink that is open."""
    sink = rig.sink(writer=Writer(generation, 4, 2), **model)
    sink.open()
    return sink


def numbered(sequence: int, *rows: tuple[Any, ...], shard: int = 0) -> Any:
    """Return batch `sequence` of a shard; its changes' offsets are 10 times that number, and on."""
    made = batch("orders", *(rows or [(shard, "new", "1.00")]), offset=10 * sequence)
    return msgspec.structs.replace(made, shard=shard, sequence=sequence, generation=1, first=1)


def test_of_all_who_create_a_name_one_succeeds(rig: GcsRig) -> None:
    """The emulator honours ifGenerationMatch=0 when six callers race: else no test here says anything."""
    for place in range(10):
        created: list[int] = []
        barrier = threading.Barrier(6)

        def create(
            caller: int,
            name: str = f"races/{place}",
            created: list[int] = created,
            barrier: threading.Barrier = barrier,
        ) -> None:
            own = Objects("sink", "acme", rig.model)
            barrier.wait(10)
            if own.create(name, str(caller).encode()):
                created.append(caller)
            own.close()

        threads = [threading.Thread(target=create, args=(caller,)) for caller in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        reader = Objects("sink", "acme", rig.model)
        assert [str(caller).encode() for caller in created] == [reader.read(f"races/{place}")]
        reader.close()


def test_the_end_of_a_log_is_found_by_bisection(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is, also where older entries were taken away."""
    store = GcsStore(objects, "logs/things", ".jsonl")
    assert store.last() == 0
    for page in (900, 3):
        monkeypatch.setattr("tillstream.io.sinks.gcs._PAGE", page)
        for number in (page + 1, page + 2, page + 3, 1799, 1800, 1801, 14_400, 500_000):
            store.create_only(entry_name(number), b"{}")
            assert store.last() == (500_000 if page == 3 else number)
    assert not store.create_only(entry_name(1800), b"other")
    assert (store.read(entry_name(1800)), store.read(entry_name(7))) == (b"{}", None)


def test_readers_of_the_log_see_what_is_delivered_in_order(rig: GcsRig, objects: Objects) -> None:
    """Objects that a crashed writer left are there, and are listed nowhere."""
    sink = opened(rig)
    written(sink, [numbered(1)])
    left = GcsStore(objects, "lake/acme/orders", ".jsonl").stage(b"never listed")
    written(sink, [numbered(2)])
    sink.close()
    names = committed_objects(rig.model, "acme", "orders")
    assert len(names) == 2
    assert set(objects.names("lake/acme/orders/part-")) == {*names, f"lake/acme/orders/{left}"}
    assert rig.log("orders") == [10, 20]


def test_writers_share_a_log(rig: GcsRig) -> None:
    """Two race with a shard each, and a third repeats one of them."""

    def run(shard: int) -> None:
        sink = opened(rig)
        for sequence in range(1, 11):
            written(sink, [numbered(sequence, shard=shard)])
        sink.close()

    threads = [threading.Thread(target=run, args=(shard,)) for shard in (0, 1, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    log = rig.log("orders")
    assert log is not None
    assert sorted(log) == sorted(2 * [10 * sequence for sequence in range(1, 11)])


def test_a_large_object_arrives(rig: GcsRig) -> None:
    """More than eight mebibytes are sent in a resumable upload."""
    rows = [(place, f"{place:020d}" * 60, "1.00") for place in range(8000)]
    sink = opened(rig)
    assert written(sink, [numbered(1, *rows)]) == []
    sink.close()
    found = rig.rows("orders")
    assert (len(found), found[-1]) == (8000, (7999, "00000000000000007999" * 60, "1.00"))


def test_a_bucket_that_is_missing_is_refused(rig: GcsRig) -> None:
    """What retrying cannot cure is said at once, with what to check."""
    with pytest.raises(
        SinkError, match=r"sink sink: http://.*, bucket nowhere refuses: .*check that the buck"
    ):
        opened(rig, bucket="nowhere")


def test_a_key_that_is_none_is_not_shown(rig: GcsRig, tmp_path: Path) -> None:
    """An unusable key is named by its reference, never by its text."""
    key = tmp_path / "key.json"
    key.write_text('{"private_key": "hunter2"}')
    fields = {**rig.fields, "credentials": f"file:{key}"}
    sink = sink_class("gcs")("sink", "acme", GcsSinkModel.model_validate(fields), {})
    with pytest.raises(SinkError, match="found no service account's key behind") as caught:
        sink.open()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
