"""A confined process reads its own secrets and nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tillstream.runners import landlock

PROGRAM = """
import json, os, subprocess, sys
from pathlib import Path
from tillstream.runners.landlock import ConfinementError, confine
base = Path(sys.argv[1])
try:
    confine(base / "secrets", [base / "secrets/acme", base / "secrets/shared"])
except ConfinementError as error:
    print(json.dumps(str(error)))
    sys.exit()
theirs, parent = base / "secrets/globex/PASSWORD", os.getppid()
looks = {
    "own": lambda: (base / "secrets/acme/PASSWORD").read_text(),
    "shared": lambda: (base / "secrets/shared").read_text(),
    "new": lambda: [(base / "out/x").write_text("x"), (base / "out/x").read_text()],
    "itself": lambda: [Path("/proc/self/environ").read_bytes(), os.kill(os.getpid(), 0)],
    "theirs": theirs.read_text,
    "theirs by a child": lambda: subprocess.run(["cat", theirs], check=True, stderr=subprocess.DEVNULL),
    "link": lambda: os.link(theirs, base / "out/link"),
    "rename": lambda: os.rename(theirs, base / "out/renamed"),
    "symbolic link": lambda: (base / "link").read_text(),
    "parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
    "parent's memory": lambda: open(f"/proc/{parent}/mem", "rb"),
    "way around": lambda: Path(f"/proc/{parent}/root{theirs}").read_text(),
    "signal": lambda: os.kill(parent, 0),
}
seen = []
for name, look in looks.items():
    try:
        look()
    except (OSError, subprocess.CalledProcessError):
        continue
    seen.append(name)
print(json.dumps(seen))
"""


def make(base: Path) -> None:
    """Make secrets of two clients."""
    for client in ("acme", "globex"):
        (base / "secrets" / client).mkdir(parents=True)
        (base / "secrets" / client / "PASSWORD").write_text(client)
    (base / "secrets" / "shared").write_text("shared")
    (base / "out").mkdir()
    (base / "link").symlink_to(base / "secrets" / "globex" / "PASSWORD")


def test_a_confined_process_reads_its_own_secrets_alone(tmp_path: Path) -> None:
    """Not the others', not by a detour, a child or another process; its own work goes on."""
    make(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, check=True)
    seen = json.loads(finished.stdout)
    if isinstance(seen, str):
        pytest.skip(seen)
    assert set(seen) - {"signal"} == {"own", "shared", "new", "itself"}


def test_everything_but_the_hidden_folder_is_listed(tmp_path: Path) -> None:
    """The lists stop at the hidden folder and name each neighbour of its path, without symbolic links."""
    make(tmp_path)
    hidden = tmp_path / "secrets"
    found = set(landlock.readable(hidden, [hidden / "acme", tmp_path / "missing"]))
    assert {each for each in found if each.is_relative_to(tmp_path)} == {tmp_path / "out", hidden / "acme"}
    assert not any(hidden.is_relative_to(each) for each in found)


def test_a_kernel_without_it_is_told_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Landlock is missing the reason is raised, for the log, and the process is closed to others."""

    class Kernel:
        calls: list[tuple[int, ...]] = []

        def syscall(self, *arguments: object) -> int:
            del arguments
            landlock.ctypes.set_errno(38)
            return -1

        def prctl(self, *arguments: int) -> int:
            self.calls.append(arguments)
            return 0

    monkeypatch.setattr(landlock, "_libc", Kernel())
    with pytest.raises(landlock.ConfinementError, match=f"Landlock: {os.strerror(38)}"):
        landlock.confine(tmp_path, [])
    assert Kernel.calls == [(4, 0, 0, 0, 0)]
