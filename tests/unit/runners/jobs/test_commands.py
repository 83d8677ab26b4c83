"""Launch, pause, resume and cancel do what they say, once, and go on from the right place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tillstream.pipelines.errors import UnavailableError, UserError
from tillstream.runners.flink.rest import JobFailedError
from tillstream.runners.jobs import job
from tillstream.runners.jobs.commands import From, cancel, launch, pause, resume
from tillstream.runners.jobs.history import History
from tillstream.runners.jobs.many import Done

from .cluster import NO_ANSWER, Cluster, chosen, install


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """Return a cluster without jobs."""
    return install(monkeypatch, tmp_path)


@pytest.fixture
def lines() -> list[str]:
    """Return what commands say, as it grows."""
    return []


@pytest.fixture
def commands(cluster: Cluster, tmp_path: Path, lines: list[str]) -> Commands:
    """Return what an operator does to acme."""
    return Commands(cluster, tmp_path, lines)


class Commands:
    """Do something to acme.

    Args:
        cluster: where.
        folder: of its config.
        lines: what is said.
    """

    def __init__(self, cluster: Cluster, folder: Path, lines: list[str]) -> None:
        self.cluster = cluster
        self.folder = folder
        self.lines = lines
        self.more = ""

    def launch(self, **wanted: object) -> Done:
        """Launch it."""
        return launch(chosen(self.folder, self.more), self.lines.append, From(**wanted))  # type: ignore[arg-type]

    def pause(self) -> Done:
        """Pause it."""
        return pause(chosen(self.folder, self.more), self.lines.append, 1)

    def resume(self) -> Done:
        """Resume it."""
        return resume(chosen(self.folder, self.more), self.lines.append, 1)

    def cancel(self, *, forget: bool = False) -> Done:
        """Cancel it."""
        return cancel(chosen(self.folder, self.more), self.lines.append, 1, forget=forget)

    def started_from(self) -> str | None:
        """Return what the newest job was started from."""
        found: str | None = self.cluster.known[-1]["from"]
        return found


def test_a_launch_is_done_once(commands: Commands) -> None:
    """The first starts from nothing; another one finds it running; with another config it is refused."""
    assert commands.launch().outcome == "launched"
    assert commands.started_from() is None
    commands.more = "labels: {tier: gold}\n"
    assert commands.launch().outcome == "runs already"
    commands.more = "dedup: {horizon_s: 5}\n"
    with pytest.raises(UserError, match=r"found job j1 at .*, other than would be launched.*upgrade acme"):
        commands.launch()
    assert len(commands.cluster.known) == 1


def test_a_pause_is_gone_on_from_exactly(commands: Commands) -> None:
    """By resume, with the template that ran whatever the config says now, and each only once."""
    commands.launch()
    assert commands.pause().facts["savepoint"] == "file:/savepoint-j1"
    assert commands.pause().outcome == "paused already"
    commands.more = "dedup: {horizon_s: 5}\n"
    assert commands.resume().outcome == "resumed"
    assert commands.started_from() == "file:/savepoint-j1"
    info = commands.cluster.info("j2")
    assert info is not None
    assert info.config().dedup.horizon_s == 86_400
    assert commands.resume().outcome == "runs already"


@pytest.mark.parametrize("command", ["launch", "pause", "resume"])
def test_a_launch_that_was_given_up_and_runs_is_noted(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """By whoever finds it: Flink goes on trying after the command has ended."""
    if command == "resume":
        commands.launch()
        commands.pause()
    with monkeypatch.context() as patched:
        patched.setattr(Cluster, "wait_for_tasks", _give_up)
        with pytest.raises(JobFailedError):
            (commands.resume if command == "resume" else commands.launch)()
    failed = History("acme").entries()[-1]
    assert (failed.outcome, failed.job_id) == ("failed", commands.cluster.known[-1]["jid"])
    for _ in range(2):
        getattr(commands, command)()
    found = [each for each in History("acme").entries() if each.generation == failed.generation]
    assert [each.outcome for each in found] == ["started", "failed", "done"]
    assert (found[-1].reason, found[-1].job_id) == ("found running", failed.job_id)


def _give_up(*_: object) -> None:
    raise JobFailedError("not all tasks run after 60 s")


def test_a_launch_goes_on_from_a_pause(commands: Commands) -> None:
    """With what the config says now."""
    commands.launch()
    commands.pause()
    commands.more = "dedup: {horizon_s: 5}\n"
    commands.launch()
    info = commands.cluster.info("j2")
    assert info is not None
    assert (commands.started_from(), info.config().dedup.horizon_s) == ("file:/savepoint-j1", 5)


@pytest.mark.parametrize("refusal", [JobFailedError("not all tasks run"), UnavailableError("took too long")])
def test_a_job_that_cannot_take_a_savepoint_is_paused_by_its_checkpoint(
    commands: Commands, refusal: Exception
) -> None:
    """It is cancelled, which is said and noted."""
    commands.launch()
    commands.cluster.complete("j1", "file:/chk-7")
    Cluster.refusal = refusal
    assert commands.pause().facts["savepoint"] == "file:/chk-7"
    assert commands.cluster.find("j1")["state"] == "CANCELED"
    assert f"no savepoint, hence cancelled: {refusal}" in commands.lines
    assert History("acme").entries()[-1].reason == f"no savepoint, hence cancelled: {refusal}"
    commands.resume()
    assert commands.started_from() == "file:/chk-7"


def test_a_cancelled_job_goes_on_from_its_newest_checkpoint(commands: Commands) -> None:
    """Also where the cluster has forgotten it; once cancelled, it stays so."""
    commands.launch()
    commands.cluster.complete("j1", "file:/chk-3")
    assert commands.cancel().facts["savepoint"] == "file:/chk-3"
    assert commands.cancel().outcome == "does not run"
    commands.cluster.forget()
    commands.launch()
    assert commands.started_from() == "file:/chk-3"


def test_dropped_state_is_not_gone_on_from(commands: Commands) -> None:
    """The next launch starts from nothing, and the one behind it goes on again."""
    commands.launch()
    commands.cluster.complete("j1", "file:/chk-3")
    commands.cancel(forget=True)
    assert commands.cancel(forget=True).outcome == "does not run"
    commands.launch()
    assert commands.started_from() is None
    commands.cluster.complete("j2", "file:/chk-4")
    commands.cancel()
    commands.launch()
    assert commands.started_from() == "file:/chk-4"


def test_a_failed_job_goes_on_where_it_was(commands: Commands) -> None:
    """From its newest checkpoint; without one from where it was started from itself."""
    commands.launch(savepoint="file:/old")
    commands.cluster.end("j1", "FAILED")
    commands.launch()
    assert commands.started_from() == "file:/old"
    commands.cluster.complete("j2", "file:/chk-1")
    commands.cluster.end("j2", "FAILED")
    commands.launch()
    assert commands.started_from() == "file:/chk-1"


def test_what_a_cluster_has_forgotten_is_looked_for_on_disk(commands: Commands) -> None:
    """The newest complete checkpoint counts; where there is none, nothing is guessed."""
    commands.launch()
    commands.cluster.end("j1", "FAILED")
    commands.cluster.forget()
    with pytest.raises(UserError, match=r"its last job j1 is unknown to .*--savepoint PATH.*--fresh"):
        commands.launch()
    for number in (9, 10):
        folder = commands.cluster.folder / "j1" / f"chk-{number}"
        folder.mkdir(parents=True)
        (folder / "_metadata").touch()
    (commands.cluster.folder / "j1" / "chk-11").mkdir()
    commands.launch()
    assert str(commands.started_from()).endswith("j1/chk-10")


def test_a_job_of_somebody_elses_history_is_gone_on_from(commands: Commands) -> None:
    """The cluster knows of a later one than the pause."""
    commands.launch()
    commands.pause()
    info = commands.cluster.info("j1")
    assert info is not None
    commands.cluster.add(info, None)
    commands.cluster.known[-1]["start-time"] += 60_000
    commands.cluster.complete("j2", "file:/theirs")
    commands.cluster.end("j2", "FAILED")
    commands.launch()
    assert commands.started_from() == "file:/theirs"


def test_a_fresh_launch_forgets_where_it_was(commands: Commands) -> None:
    """As it was asked for."""
    commands.launch()
    commands.pause()
    commands.launch(fresh=True)
    assert commands.started_from() is None


def test_what_never_ran_cannot_be_paused_or_resumed(commands: Commands) -> None:
    """And says what can be done."""
    with pytest.raises(UserError, match="found no job of it"):
        commands.pause()
    with pytest.raises(UserError, match=r"found no pause in .*'tillstream launch acme'"):
        commands.resume()
    assert commands.cancel().outcome == "does not run"


def test_a_failed_job_can_be_paused(commands: Commands) -> None:
    """It then stays where it is until it is resumed."""
    commands.launch()
    commands.cluster.complete("j1", "file:/chk-1")
    commands.cluster.end("j1", "FAILED")
    assert commands.pause().facts["savepoint"] == "file:/chk-1"
    assert commands.resume().facts["savepoint"] == "file:/chk-1"


def test_slots_that_are_missing_are_counted(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is submitted; the history says that it failed."""
    monkeypatch.setattr(job, "_SLOTS_DEADLINE_S", 0.0)
    Cluster.slots = 1
    commands.more = "flink: {parallelism: 2}\n"
    with pytest.raises(UnavailableError, match="found 1 free slots of 8, expected 2 for acme"):
        commands.launch()
    assert commands.cluster.known == []
    assert [entry.outcome for entry in History("acme").entries()] == ["started", "failed"]


def test_a_launch_whose_answer_was_lost_is_completed_later(commands: Commands) -> None:
    """The next one finds its job running, and writes down that it was done."""
    commands.launch()
    info = commands.cluster.info("j1")
    assert info is not None
    log = History("acme")
    kept = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(kept[0])
    assert commands.launch().outcome == "runs already"
    last = log.entries()[-1]
    assert (last.job_id, last.outcome, last.reason) == ("j1", "done", "found running")


def test_two_at_once_are_kept_apart(commands: Commands) -> None:
    """The second is told who is at it."""
    import threading

    failures: list[BaseException] = []

    def second() -> None:
        try:
            commands.launch()
        except UnavailableError as error:
            failures.append(error)

    with History("acme").exclusive("upgrade"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(30)
    assert "is at upgrade since" in str(failures[0])
    assert commands.launch().outcome == "launched"


def test_a_cluster_that_is_away_is_said_so(commands: Commands) -> None:
    """Nothing is noted that did not happen."""
    Cluster.fault = NO_ANSWER
    for command in (commands.launch, commands.pause, commands.resume, commands.cancel):
        with pytest.raises(UnavailableError, match="does not answer"):
            command()
    assert History("acme").entries() == []


def test_a_template_of_another_client_is_refused(commands: Commands, tmp_path: Path) -> None:
    """By both names."""
    commands.launch()
    (jar,) = (tmp_path / "history" / "jars").glob("*.jar")
    path = tmp_path / "globex.yaml"
    path.write_text(chosen(tmp_path).path.read_text().replace("acme", "globex"))
    from tillstream.runners.jobs.selection import Chosen

    with pytest.raises(UserError, match="found a template of acme, expected globex's"):
        launch(Chosen("globex", path), commands.lines.append, From(template=jar))
