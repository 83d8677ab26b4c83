"""Offer templates as commands; what they need is imported when they run."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tillstream.runners.jobs.many import AsJson, Group, carry_out
from tillstream.runners.jobs.selection import Chosen

__all__ = ["template"]

template = typer.Typer(no_args_is_help=True, help="Build jobs as jars, look into them, launch them.")

_Jar = Annotated[Path, typer.Argument(metavar="JAR", help="As `template build` writes it.")]
_Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Value of a ${NAME} of the config; no secret."),
]
_EXIT_DIFFERENT = 1


@template.callback()
def _group() -> None:
    """Build jobs as jars, look into them, launch them."""


@template.command()
def build(
    client: Annotated[str, typer.Argument(help="Name of the client, or path of its config.")],
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.  [default: CLIENT.jar]")
    ] = None,
    fat: Annotated[
        bool, typer.Option("--fat", help="Carry the runner's jars, for clusters that lack them (98 MB).")
    ] = False,
    values: _Set = None,
    as_json: AsJson = False,
) -> None:
    """Build the template of a client's job: one file that a cluster can run, again and again.

    It carries the client's own transforms. Addresses, bounds, parallelism and ${NAME} stay open until the
    launch. Equal input gives equal bytes.
    """
    from tillstream.runners.clients import config_path
    from tillstream.runners.jobs.template_facts import facts_of
    from tillstream.runners.jobs.templates import build as build_template
    from tillstream.runners.jobs.templates import given_values

    path = config_path(client)
    jar = output or Path(f"{path.stem}.jar")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        build_template(path, jar, given=given_values(values or []), fat=fat, say=_say)
    facts = facts_of(jar)
    if as_json:
        typer.echo(json.dumps({"path": str(jar), **facts}))
    else:
        typer.echo(f"{jar}: {facts['size_bytes'] / 1000:.0f} KB, digest {facts['digest']}")


@template.command()
def inspect(jar: _Jar, *, as_json: AsJson = False) -> None:
    """Show what a template is made of, and what a launch may or must say."""
    from tillstream.runners.jobs.template_facts import facts_of, lines_of

    facts = facts_of(jar)
    typer.echo(json.dumps(facts) if as_json else "\n".join(lines_of(facts)))


@template.command()
def launch(
    jar: _Jar,
    *,
    values: _Set = None,
    parallelism: Annotated[
        int | None, typer.Option(min=1, help="Subtasks of each stage, at most flink.max_parallelism.")
    ] = None,
    folder: Annotated[
        Path, typer.Option("--relative-to", help="Folder in which the config's relative paths start.")
    ] = Path(),
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from nothing, also where the client ran before.")
    ] = False,
    savepoint: Annotated[str | None, typer.Option(help="Savepoint or checkpoint to start from.")] = None,
    timeout: Annotated[float, typer.Option("--timeout", min=1, help="Longest wait for it, seconds.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Launch a template as its client's job, without its config; else as `tillstream launch`.

    Values come from --set, then the environment, then --set of the build, then the config's defaults.
    """
    from tillstream.runners.flink.template import read_manifest
    from tillstream.runners.jobs import commands
    from tillstream.runners.jobs.templates import Given, InTemplate, given_values

    wanted = commands.From(jar, fresh, savepoint, timeout)
    given = Given(given_values(values or []), parallelism, folder)
    one = _One(chosen_one=InTemplate(read_manifest(jar).client, jar, given))
    carry_out(one, lambda chosen, say: commands.launch(chosen, say, wanted), as_json=as_json)


@template.command()
def diff(
    before: _Jar,
    now: _Jar,
    *,
    as_json: AsJson = False,
) -> None:
    """Show where two templates differ, and what a savepoint of the first would lose in the second.

    Exits with 1 if they differ.
    """
    from tillstream.runners.flink.template import read_manifest
    from tillstream.runners.jobs.template_facts import differing, facts_of
    from tillstream.transforms.lint import uids

    found = differing(facts_of(before), facts_of(now))
    lost = uids.compare(read_manifest(now).uids, read_manifest(before).uids, now)
    if as_json:
        typer.echo(
            json.dumps(
                {"differs": bool(found), "differences": found, "lost": [each.message for each in lost]}
            )
        )
    else:
        for each in found:
            typer.echo(f"{each['place']}: {_shown(each['before'])} -> {_shown(each['now'])}")
        for finding in lost:
            typer.echo(f"{finding.code} {finding.message}")
        if not found:
            typer.echo("no difference")
    if found:
        raise typer.Exit(_EXIT_DIFFERENT)


@dataclass(frozen=True)
class _One(Group):
    """Be the group of a template's one client."""

    chosen_one: Chosen | None = None

    def chosen(self) -> list[Chosen]:
        """Return it."""
        return [] if self.chosen_one is None else [self.chosen_one]


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)


def _say(line: str) -> None:
    typer.echo(line, err=True)
