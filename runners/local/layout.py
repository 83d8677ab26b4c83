"""Lay out the folder of a local stack."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DIR_VARIABLE", "Layout"]

DIR_VARIABLE = "TILLSTREAM_DIR"
_DEFAULT_FOLDER = ".tillstream"


@dataclass(frozen=True)
class Layout:
    """Name what lies where below one folder.

    Attributes:
        root: absolute path of the folder.
    """

    root: Path

    @classmethod
    def of(cls, folder: Path | str | None = None) -> Layout:
        """Return the layout of a folder; by default that of TILLSTREAM_DIR, else `.tillstream` here."""
        return cls(Path(folder or os.environ.get(DIR_VARIABLE) or _DEFAULT_FOLDER).absolute())

    @property
    def state_file(self) -> Path:
        """Return the file that holds ports, processes and the environment of clients' configs."""
        return self.root / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Return the file whose lock serialises commands on this stack."""
        return self.root / "lock"

    @property
    def secrets(self) -> Path:
        """Return the folder of password files, readable by its owner only."""
        return self.root / "secrets"

    @property
    def logs(self) -> Path:
        """Return the folder of log files."""
        return self.root / "logs"

    @property
    def data(self) -> Path:
        """Return the folder of the services' data, one folder each."""
        return self.root / "data"

    @property
    def history(self) -> Path:
        """Return the folder in which it is kept what was done to clients' jobs."""
        return self.root / "history"

    def log(self, service: str) -> Path:
        """Return a service's log file."""
        return self.logs / f"{service}.log"

    def output(self, service: str) -> Path:
        """Return the file of a service's standard output, where a JVM says why it could not start."""
        return self.logs / f"{service}.out"

    def create(self) -> None:
        """Create the folders that do not exist."""
        self.root.mkdir(parents=True, exist_ok=True)
        for folder in (self.logs, self.data):
            folder.mkdir(exist_ok=True)
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        self.secrets.chmod(0o700)
