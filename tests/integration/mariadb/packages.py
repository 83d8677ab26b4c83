"""Fetch what the test of MariaDB runs: the server out of Debian's packages, the connector out of Maven's."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tillstream.runners.local.locking import exclusive
from tillstream.runners.local.toolchain import JAVA_FOLDER, cache_folder

__all__ = ["NotToBeHadError", "connector", "server"]

_PACKAGES = (
    "mariadb-server-core",
    "mariadb-server",
    "mariadb-client-core",
    "libmariadb3",
    "liburing2",
    "libaio1",
)
_POM = Path(__file__).with_name("pom.xml")
_DEADLINE_S = 240.0


class NotToBeHadError(Exception):
    """Say why packages cannot be had here."""


def server() -> Path:
    """Return the folder in which the server's packages are unpacked.

    Raises:
        NotToBeHadError: with the reason.
    """
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise NotToBeHadError(f"found no {tool}: MariaDB comes out of Debian's packages")

    def fetch(folder: Path) -> None:
        # A sandbox of its own user could not write here.
        _run(["apt-get", "-o", "APT::Sandbox::User=root", "download", *_PACKAGES], folder)
        for package in sorted(folder.glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(folder)], folder)
            package.unlink()

    return _once("mariadb-server", fetch)


def connector() -> Path:
    """Return the folder of the connector's jars.

    Raises:
        NotToBeHadError: with the reason.
    """
    parent = (JAVA_FOLDER / "pom.xml").read_text(encoding="utf-8")
    versions = dict(re.findall(r"<([a-z-]+\.version|[a-z-]+-plugin\.version)>([^<]+)<", parent))

    def fetch(folder: Path) -> None:
        pom = re.sub(r"@([a-z.-]+)@", lambda found: versions[found[1]], _POM.read_text(encoding="utf-8"))
        (folder / "pom.xml").write_text(pom, encoding="utf-8")
        shutil.copy(JAVA_FOLDER / "mvnw", folder)
        shutil.copytree(JAVA_FOLDER / ".mvn", folder / ".mvn")
        _run(["sh", "mvnw", "-B", "-q", "package", f"-Djars={folder}"], folder)

    return _once(f"mysql-connector-{versions['debezium.version']}", fetch) / "mariadb"


def _once(name: str, fetch: Callable[[Path], None]) -> Path:
    """Return a folder of the cache, filled whole or not at all."""
    target = cache_folder() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(target.with_name(f"{name}.lock"), deadline_s=_DEADLINE_S, on_wait=lambda: None):
        if not target.is_dir():
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as made:
                folder = Path(made, "whole")
                folder.mkdir(mode=0o755)

                fetch(folder)
                folder.rename(target)
    return target


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    if done.returncode != 0:
        raise NotToBeHadError(f"{command[0]}: {' '.join(done.stdout.split())[-300:]}")
