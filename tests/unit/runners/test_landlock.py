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
    "own, written": lambda: (base / "secrets/acme/PASSWORD").write_text("x"),
    "overwrite": lambda: theirs.write_text("x"),
    "append": lambda: open(theirs, "ab"),
    "truncate": lambda: os.truncate(theirs, 0),
    "list": lambda: os.listdir(base / "secrets"),
    "list theirs": lambda: os.listdir(theirs.parent),
    "plant": lambda: (theirs.parent / "PLANTED").symlink_to("/etc/passwd"),
    "plant a file": lambda: (base / "secrets/new").write_text("x"),
    "plant a folder": lambda: (base / "secrets/new").mkdir(),
    "plant a pipe": lambda: os.mkfifo(base / "secrets/new"),
    "rename in place": lambda: theirs.rename(theirs.with_name("OTHER")),
    "rename the folder": lambda: theirs.parent.rename(base / "secrets/gone"),
    "rename all secrets": lambda: (base / "secrets").rename(base / "gone"),
    "exchange": lambda: os.replace(base / "out/x", theirs),
    "delete": lambda: theirs.unlink(),
    "delete the folder": lambda: os.rmdir(base / "secrets/empty"),
    "own work": lambda: [
        (base / "out/a/b").mkdir(parents=True), (base / "out/a/b/c").write_text("c"),
        (base / "out/a/b/c").rename(base / "out/d"), (base / "out/s").symlink_to("d"),
        os.truncate(base / "out/d", 0), (base / "out/d").unlink(), os.rmdir(base / "out/a/b"),
        os.listdir(base / "out"), os.listdir("/proc/self/fd"), open("/dev/null", "wb"),
        (base / "log").open("ab").write(b"x"),
    ],
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
    (base / "secrets" / "empty").mkdir()
    (base / "out").mkdir()
    (base / "log").touch()
    (base / "link").symlink_to(base / "secrets" / "globex" / "PASSWORD")


def test_a_confined_process_reads_its_own_secrets_alone(tmp_path: Path) -> None:
    """Not the others', not by a detour, a child or another process; its own work goes on."""
    make(tmp_path)
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, check=True)
    seen = json.loads(finished.stdout)
    if isinstance(seen, str):
        _skip(seen)
    assert set(seen) - {"signal"} == {"own", "shared", "new", "itself", "own work"}
    assert (tmp_path / "secrets" / "globex" / "PASSWORD").read_text() == "globex"
    assert sorted(each.name for each in tmp_path.rglob("secrets/*")) == ["acme", "empty", "globex", "shared"]


def _skip(reason: str) -> None:
    """Skip a test where the kernel has no Landlock; a kernel that has it must confine, surely in CI."""
    if landlock.abi() > 0 and os.environ.get("CI"):
        pytest.fail(f"this kernel has Landlock, ABI {landlock.abi()}, but: {reason}")
    pytest.skip(
        "needs the kernel feature Landlock (Linux 5.13, CONFIG_SECURITY_LANDLOCK, `landlock` in lsm=): "
        f"{reason}"
    )


def test_where_landlock_is_but_does_not_confine_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A skip says which feature is missing; it never hides a wall that does not stand."""
    monkeypatch.setattr(landlock, "abi", lambda: 3)
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="has Landlock, ABI 3, but: refused"):
        _skip("refused")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="CONFIG_SECURITY_LANDLOCK"):
        _skip("refused")


LISTING = """
import os, sys
from pathlib import Path
from tillstream.runners.landlock import confine
base = Path(sys.argv[1])
sys.path.insert(0, str(base))
confine(base / "secrets", [])
import found_above
os.listdir(base)
"""


def test_modules_above_the_hidden_folder_are_found(tmp_path: Path) -> None:
    """Where packages are installed above the secrets, names are open and contents are not."""
    if landlock.abi() == 0:
        _skip("no Landlock")
    make(tmp_path)
    (tmp_path / "found_above.py").touch()
    command = [sys.executable, "-c", LISTING, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, check=False, text=True)
    assert finished.returncode == 0, finished.stderr


def test_everything_but_the_hidden_folder_is_listed(tmp_path: Path) -> None:
    """The lists stop at the hidden folder and name each neighbour of its path, without symbolic links."""
    make(tmp_path)
    hidden = tmp_path / "secrets"
    found = dict(landlock.usable(hidden, [hidden / "acme", tmp_path / "missing"]))
    here = {each: changes for each, changes in found.items() if each.is_relative_to(tmp_path)}
    assert here == {tmp_path / "out": True, tmp_path / "log": True, hidden / "acme": False}
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
