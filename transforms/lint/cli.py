"""Offer the linter as a command; what it needs is imported when it runs, to keep `--help` fast."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["lint"]


def lint(
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH|MODULE|CONFIG]...",
            help="Python files, folders, modules, or configs, whose transforms are read.  [default: .]",
        ),
    ] = None,
    *,
    write_uids: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Write what savepoints of the one CONFIG's job find state by, as JSON."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            dir_okay=False, help="Compare the one CONFIG's job with such a file: what would be lost?"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of the findings.")] = False,
) -> None:
    """Find what hurts in Beam in the code of transforms, by reading it.

    `# noqa: TS001` sets a rule aside for a line. Exit code 0 means that nothing was found, 1 that something
    was, 2 that a target cannot be read.
    """
    from tillstream.pipelines.errors import UserError
    from tillstream.transforms.lint import targets as found

    wanted = targets or ["."]
    files = found.files_of(wanted)
    findings = found.lint(files)
    if write_uids is not None or against is not None:
        if len(wanted) != 1 or Path(wanted[0]).suffix not in found.CONFIGS:
            raise UserError(
                f"--write-uids and --against: found {', '.join(wanted)}, expected one config (.yaml)"
            )
        from tillstream.transforms.lint import uids

        now = uids.of_config(Path(wanted[0]))
        if against is not None:
            findings += uids.compare(now, uids.read(against), Path(wanted[0]))
        if write_uids is not None:
            uids.write(now, write_uids)
    if as_json:
        import json

        typer.echo(json.dumps([{**vars(each), "path": str(each.path)} for each in findings], indent=2))
    else:
        for finding in findings:
            typer.echo(str(finding))
        typer.echo(f"{len(findings)} found in {len(files)} files", err=True)
    raise typer.Exit(1 if findings else 0)
