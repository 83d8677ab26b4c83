"""Get what pip cannot install: find Java, and fetch the Java libraries that the local stack runs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.pipelines.errors import MissingToolError, UnavailableError
from tillstream.runners.local.locking import exclusive

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JAVA_FOLDER", "Jars", "cache_folder", "digest", "ensure_jars", "ensure_java", "jars_folder"]

JAVA_FOLDER = Path(__file__).with_name("java")
_JAVA_MIN = 17
_FETCH_DEADLINE_S = 1800.0
_PROGRESS_EVERY_S = 10.0
_SHOWN_LOG_LINES = 15
# The first of these that is on the machine tells how its owner installs things.
_INSTALLERS = {
    "apt-get": "sudo apt-get install -y openjdk-17-jre-headless",
    "dnf": "sudo dnf install -y java-17-openjdk-headless",
    "zypper": "sudo zypper install -y java-17-openjdk-headless",
    "apk": "sudo apk add openjdk17-jre-headless",
    "pacman": "sudo pacman -S --noconfirm jre17-openjdk-headless",
    "brew": "brew install openjdk@17",
}
_INSTALLER_FOLDERS = "/usr/bin:/bin:/sbin:/usr/local/bin:/opt/homebrew/bin"


@dataclass(frozen=True)
class Jars:
    """Name the folders of the Java libraries.

    Attributes:
        folder: holds all of them.
    """

    folder: Path

    @property
    def flink_runner(self) -> Path:
        """Return the Beam Flink runner's, without Flink's own."""
        return self.folder / "flink-runner"

    @property
    def broker(self) -> Path:
        """Return the Kafka broker's."""
        return self.folder / "broker"

    @property
    def connect(self) -> Path:
        """Return the Kafka Connect worker's."""
        return self.folder / "connect"

    @property
    def plugins(self) -> Path:
        """Return Kafka Connect's plugin path: one folder for each connector."""
        return self.folder / "plugins"


def ensure_java() -> Path:
    """Return the path of a `java` that is new enough: that of JAVA_HOME, else the one on PATH.

    Raises:
        MissingToolError: one sentence with the command that installs it.
    """
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=str(Path(home, "bin"))) if home else None
    found = found or shutil.which("java")
    if found is None:
        raise MissingToolError(f"found no Java, expected Java {_JAVA_MIN} or newer: {_install_java()}")
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, check=False, timeout=60)
    match = re.search(r'version "(\d+)', answer.stderr)
    if match is None or int(match.group(1)) < _JAVA_MIN:
        version = match.group(1) if match else "of an unknown version"
        raise MissingToolError(
            f"found Java {version} at {found}, expected Java {_JAVA_MIN} or newer: {_install_java()}"
        )
    return Path(found)


def _install_java() -> str:
    for tool, command in _INSTALLERS.items():
        if shutil.which(tool, path=_INSTALLER_FOLDERS):
            return f"install it with '{command}'"
    return f"install a Java {_JAVA_MIN} runtime and put it on PATH"


def digest(folder: Path = JAVA_FOLDER) -> str:
    """Return twelve hexadecimal digits that change with any of the poms and sources."""
    content = hashlib.sha256()
    for path in sorted([*folder.rglob("pom.xml"), *folder.rglob("*.java")]):
        content.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return content.hexdigest()[:12]


def cache_folder() -> Path:
    """Return where fetched things are kept, by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tillstream"


def jars_folder() -> Path:
    """Return the folder of this version of the Java libraries, whether or not it exists."""
    return cache_folder() / f"jars-{digest()}"


def ensure_jars(progress: Callable[[str], None] = lambda _: None) -> Jars:
    """Return the Java libraries, and fetch them if this version of them was never fetched.

    The folder appears whole or not at all, so an interrupted fetch is simply done again.

    Args:
        progress: called with a line at the start and at intervals of a fetch.

    Raises:
        MissingToolError: if there is no Java.
        UnavailableError: if they cannot be fetched, with the end of what Maven said.
    """
    target = jars_folder()
    if target.is_dir():
        return Jars(target)
    java = ensure_java()
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = target.with_name(f"{target.name}.lock")
    with exclusive(
        lock,
        deadline_s=_FETCH_DEADLINE_S,
        on_wait=lambda: progress("Java libraries: waiting for another tillstream that fetches them"),
    ):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as folder:
                _fetch(Path(folder), java, progress)
                (Path(folder) / "jars").rename(target)
    return Jars(target)


def _fetch(folder: Path, java: Path, progress: Callable[[str], None]) -> None:
    """Fill `jars` in a folder, by Maven out of a copy of the project: the package may be read-only."""
    progress("Java libraries: fetching about 180 MB, once")
    project, log = folder / "java", folder / "maven.log"
    shutil.copytree(JAVA_FOLDER, project)
    command = ["sh", "mvnw", "-B", "-T", "4", "package", f"-Djars={folder / 'jars'}"]
    environment = {**os.environ, "PATH": f"{java.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    with log.open("wb") as output:
        maven = subprocess.Popen(
            command, cwd=project, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        try:
            code = _follow(maven, log, progress)
        finally:
            if maven.poll() is None:
                maven.kill()
                maven.wait()
    if code != 0:
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN_LOG_LINES:]
        raise UnavailableError(
            "the Java libraries could not be fetched: check that Maven Central, or the mirror that "
            "~/.m2/settings.xml names, can be reached, then try again; Maven said:\n" + "\n".join(said)
        )


def _follow(maven: subprocess.Popen[bytes], log: Path, progress: Callable[[str], None]) -> int:
    """Wait for Maven and say at intervals how far it is."""
    end_s = time.monotonic() + _FETCH_DEADLINE_S
    while time.monotonic() < end_s:
        try:
            return maven.wait(timeout=_PROGRESS_EVERY_S)
        except subprocess.TimeoutExpired:
            progress(f"Java libraries: {log.read_bytes().count(b'Downloaded from')} files so far")
    raise UnavailableError(
        f"the Java libraries could not be fetched within {_FETCH_DEADLINE_S:.0f} s: try again"
    )
