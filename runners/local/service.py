"""Say what each part of the local stack has in common."""

from __future__ import annotations

import importlib.util
import signal
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tillstream.pipelines.errors import MissingToolError
from tillstream.runners.local.layout import Layout
from tillstream.runners.local.ports import LOOPBACK
from tillstream.runners.local.process import Command
from tillstream.runners.local.sizes import Sizes
from tillstream.runners.local.toolchain import JAVA_FOLDER, Jars

__all__ = [
    "BRISK",
    "Context",
    "NotReadyError",
    "Service",
    "java_command",
    "package_folder",
    "write_properties",
]

# For a JVM whose work is small: the second compiler would spend half of the CPU of a start on code that
# never runs often enough to repay it.
BRISK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class NotReadyError(Exception):
    """Say what a part does not do yet."""


@dataclass(frozen=True)
class Context:
    """Hold what all parts of one stack share.

    Attributes:
        layout: of the stack's folder.
        ports: by name.
        java: path of the `java` command.
        jars: the Java libraries.
        sizes: of what grows with the number of jobs.
    """

    layout: Layout
    ports: Mapping[str, int]
    java: Path
    jars: Jars
    sizes: Sizes = field(default_factory=Sizes)

    def address(self, port: str) -> str:
        """Return `host:port` of a port's name."""
        return f"{LOOPBACK}:{self.ports[port]}"


class Service(ABC):
    """Start and check one part of the stack.

    Attributes:
        name: what people call it; its log file has the same name.
        port: name of the port that people use it by.
        listens: names of the ports that it takes.
        scheme: what precedes its address in what people read, if anything.
        stop_signal: what makes it end in good order.
        is_base: others talk to it until they end, so it is stopped after them.
        attempts: how often it is started if it ends at once.
        needs: names of the parts without which it cannot serve; they are started with it.
        is_spare: started only when it is asked for by name.
    """

    name: str
    port: str
    listens: tuple[str, ...] = ()
    scheme: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    is_base: bool = False
    attempts: int = 1
    needs: tuple[str, ...] = ()
    is_spare: bool = False

    def __init__(self, context: Context) -> None:
        self.context = context

    @property
    def data(self) -> Path:
        """Return the folder of its data."""
        return self.context.layout.data / self.name

    @property
    def address(self) -> str:
        """Return where people reach it."""
        return self.scheme + self.context.address(self.port)

    @abstractmethod
    def prepare(self) -> None:
        """Write its configuration, and create its data at the first start."""

    @abstractmethod
    def command(self) -> Command:
        """Return what starts it."""

    @abstractmethod
    def check(self) -> None:
        """Use it as its clients would.

        Raises:
            NotReadyError: if it does not serve, with what was missing.
            OSError: if it does not answer.
        """


def java_command(
    context: Context,
    service: str,
    *,
    heap_mb: int,
    options: Sequence[str],
    classpath: Sequence[Path],
    main: str,
) -> list[str | Path]:
    """Return the command of a JVM that logs to its service's file.

    Args:
        context: of the stack.
        service: whose JVM it is.
        heap_mb: greatest size of the heap, in mebibytes.
        options: further options of the JVM.
        classpath: folders of jars, in order of precedence.
        main: class to run; its arguments are appended by the caller.
    """
    return [
        context.java,
        f"-Xmx{heap_mb}m",
        # A JVM that limps along does harm; one that ends is started again by the next `up`.
        "-XX:+ExitOnOutOfMemoryError",
        f"-Dlog4j.configurationFile={(JAVA_FOLDER / 'log4j2.properties').as_uri()}",
        f"-Dlog.file={context.layout.log(service)}",
        "-Djava.net.preferIPv4Stack=true",
        *options,
        "-cp",
        ":".join(f"{folder}/*" for folder in classpath),
        main,
    ]


def package_folder(package: str) -> Path:
    """Return the folder of an installed Python package without importing it.

    Raises:
        MissingToolError: if it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingToolError(
            f"found no Python package {package}, expected the local stack's: pip install 'tillstream[local]'"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def write_properties(file: Path, properties: Mapping[str, object]) -> None:
    """Write a Java properties file (java.util.Properties); values are ours and need no escapes but these."""
    lines = [f"{name}={str(value).replace(chr(92), chr(92) * 2)}\n" for name, value in properties.items()]
    file.write_text("".join(lines), encoding="utf-8")
