"""Start and stop a MariaDB server with a binary log of rows, and run statements in it."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
import time
from pathlib import Path

__all__ = ["MariaDB"]

_READY_S = 60.0
_USER = "debezium"
_SYSTEM = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")


class MariaDB:
    """Run one server.

    Args:
        packages: folder in which they are unpacked.
        folder: for its data; empty.
        port: that it listens on, at 127.0.0.1.
    """

    def __init__(self, packages: Path, folder: Path, port: int) -> None:
        self.port = port
        self.user = _USER
        self.password = secrets.token_urlsafe(16)
        self._packages = packages
        self._folder = folder
        self._data = folder / "data"
        libraries = [packages / "usr/lib/x86_64-linux-gnu", packages / "lib/x86_64-linux-gnu"]
        self._environment = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Create the data and start the server; it has a database `shop` then."""
        self._data.mkdir()
        share = self._packages / "usr/share/mysql"
        script = "create database mysql;\nuse mysql;\n" + "\n".join(
            (share / name).read_text(encoding="utf-8") for name in _SYSTEM
        )
        subprocess.run(
            [*self._server(), "--bootstrap", "--skip-log-bin"],
            input=script.encode(),
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=_READY_S,
        )
        begin = self._folder / "begin.sql"
        begin.touch(mode=0o600)
        begin.write_text(
            f"create user '{_USER}'@'%' identified by '{self.password}';\n"
            f"grant all on *.* to '{_USER}'@'%';\n"
            "create database shop;\n",
            encoding="ascii",
        )
        options = self._folder / "client.cnf"
        options.touch(mode=0o600)
        options.write_text(f"[client]\nuser={_USER}\npassword={self.password}\n", encoding="ascii")
        with (self._folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*self._server(), f"--init-file={begin}"], env=self._environment, stdout=log, stderr=log
            )
        end_s = time.monotonic() + _READY_S
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < end_s
            threading.Event().wait(0.2)

    def run(self, statements: str) -> str:
        """Run statements in the database `shop`, and return what they print, tabs between columns."""
        return self._client(statements).stdout.decode()

    def stop(self) -> None:
        """Stop the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(_READY_S)

    def _answers(self) -> bool:
        return self._client("select 1", check=False).returncode == 0

    def _client(self, statements: str, *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        command = [
            str(self._packages / "usr/bin/mariadb"),
            f"--defaults-file={self._folder / 'client.cnf'}",
            *("--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}"),
            *("--batch", "--skip-column-names", "--default-character-set=utf8mb4", "shop"),
        ]
        return subprocess.run(
            command,
            input=statements.encode(),
            env=self._environment,
            capture_output=True,
            check=check,
            timeout=_READY_S,
        )

    def _server(self) -> list[str]:
        usr = self._packages / "usr"
        return [
            str(usr / "sbin/mariadbd"),
            "--no-defaults",
            *(["--user=root"] if os.geteuid() == 0 else []),
            f"--datadir={self._data}",
            f"--basedir={usr}",
            f"--lc-messages-dir={usr / 'share/mysql'}",
            f"--plugin-dir={usr / 'lib/mysql/plugin'}",
            f"--socket={self._folder / 's'}",
            f"--pid-file={self._folder / 'pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--server-id=7",
            "--log-bin=binlog",
            "--binlog-format=ROW",
            "--binlog-row-image=FULL",
            "--character-set-server=utf8mb4",
            "--default-time-zone=+00:00",
            "--innodb-buffer-pool-size=32M",
            "--performance-schema=OFF",
        ]
