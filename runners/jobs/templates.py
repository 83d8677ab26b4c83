"""Build templates of clients' jobs, and launch them with other values for what their configs leave open."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tillstream.configs.loader import default_environment, load_text, read_text
from tillstream.configs.variables import (
    at_build,
    at_launch,
    check_given,
    check_open,
    missing,
    variables_of,
)
from tillstream.pipelines.errors import ConfigError, UserError
from tillstream.runners.flink.template import CONFIG_ENTRY, read_manifest
from tillstream.runners.jobs.selection import Chosen

if TYPE_CHECKING:
    from collections.abc import Callable

    from tillstream.configs import ClientConfig
    from tillstream.runners.jobs.manifest import Manifest

__all__ = ["Given", "InTemplate", "build", "config_of", "given_values"]


@dataclass(frozen=True)
class Given:
    """Hold what a launch of a template is given.

    Attributes:
        values: of variables, by name.
        parallelism: subtasks of each stage; None for what the config says.
        folder: in which the config's relative paths start.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    parallelism: int | None = None
    folder: Path = Path()


@dataclass(frozen=True)
class InTemplate(Chosen):
    """Name a client whose config is that of a template.

    Attributes:
        given: what its launch is given.
    """

    given: Given = Given()

    def load(self) -> ClientConfig:
        """Return the config as the launch has it; raises as `config_of` does."""
        return config_of(self.path, self.given)


def given_values(options: Sequence[str]) -> dict[str, str]:
    """Return the values of `--set NAME=VALUE`, by name; raises UserError for another form."""
    found = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not name or not equals or not value:
            # What stands there may be a secret by mistake.
            raise UserError(
                f"--set {name}: found no NAME=VALUE, expected one, such as --set KAFKA=broker:9092"
            )
        found[name] = value
    return found


def build(
    path: Path,
    jar: Path,
    *,
    given: Mapping[str, str] | None = None,
    fat: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Build the template of a client's job out of its config, and return its manifest.

    Equal configs, transforms, values and libraries give equal bytes, wherever and whenever.

    Args:
        path: of the config.
        jar: file to write; it appears whole or not at all.
        given: values of variables, which the template keeps.
        fat: carry the runner's jars, for clusters that lack them.
        say: takes a line for each step.

    Raises:
        UserError: if the config is wrong, a value is for no variable or for a secret, or the file cannot be
            written.
        MissingToolError: if the runner's jars are missing and there is no Java to fetch them with.
    """
    from tillstream.configs.cli import check

    values = dict(given or {})
    text, environment = read_text(path), default_environment()
    config = check(path, {**environment, **values})
    variables = variables_of(text, config, values, environment)
    check_given(values, variables, str(path))
    # Beam takes seconds to import: not before it is sure to be needed.
    from tillstream.runners.flink.jar import Written, write_jar
    from tillstream.runners.local.toolchain import ensure_jars
    from tillstream.transforms.flows import registry_of, using
    from tillstream.transforms.resolving import resolve

    say(f"building the job of {config.client}")
    as_written = load_text(text, path, at_build(variables, values, environment), as_written=True)
    with using(registry_of(config)):
        as_written = resolve(as_written)
    part = jar.with_name(f"{jar.name}.part")
    try:
        manifest = write_jar(
            config,
            part,
            ensure_jars(say).flink_runner,
            bounded=config.source.files is not None,
            written=Written(text, as_written, variables),
            fat=fat,
        )
        part.replace(jar)
    except OSError as error:
        raise UserError(f"{jar}: found {error.strerror}, expected a file that can be written") from error
    finally:
        part.unlink(missing_ok=True)
    return manifest


def config_of(template: Path, given: Given) -> ClientConfig:
    """Return the config that a launch of a template has, with the values that its variables have now.

    Args:
        template: as `build` writes it.
        given: what the launch is given; then the environment, then what was given to the build, then the
            config's own defaults.

    Raises:
        UserError: if the file is no template or one without its config, a value is for no variable, for a
            secret or for what shaped the job, or some have none; names all of those.
        ConfigError: if with these values the config is wrong.
    """
    manifest = read_manifest(template)
    check_given(given.values, manifest.variables, str(template))
    check_open(given.values, manifest.variables)
    environment = at_launch(manifest.variables, given.values, default_environment())
    without = missing(manifest.variables, environment)
    if without:
        sets = " ".join(f"--set {name}=..." for name in without)
        raise UserError(
            f"{template}: found no value of {', '.join(without)}, expected one of each: {sets}, or set them "
            "in the environment"
        )
    config = load_text(_text(template), given.folder / "config.yaml", environment)
    return config if given.parallelism is None else _at_parallelism(config, given.parallelism)


def _text(template: Path) -> str:
    try:
        with zipfile.ZipFile(template) as jar:
            return jar.read(CONFIG_ENTRY).decode()
    except KeyError:
        raise UserError(
            f"{template}: found a template without its config, expected one of 'tillstream template build'; "
            "launch this one by 'tillstream launch CONFIG --template'"
        ) from None


def _at_parallelism(config: ClientConfig, parallelism: int) -> ClientConfig:
    highest = min(config.flink.max_parallelism, 128)
    if not 1 <= parallelism <= highest:
        raise ConfigError(
            f"--parallelism: found {parallelism}, expected 1 to {highest}, the template's max_parallelism"
        )
    return config.model_copy(update={"flink": config.flink.model_copy(update={"parallelism": parallelism})})
