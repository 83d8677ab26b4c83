"""List and show transforms, and compare contracts, from the command line."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tillstream.transforms.testing.cli import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tillstream.configs import ClientConfig
    from tillstream.transforms.registry import Registry

__all__ = ["contract", "transforms"]

transforms = typer.Typer(
    help="List and show transforms, and record events for their tests.", no_args_is_help=True
)
contract = typer.Typer(help="Compare contracts.", no_args_is_help=True)

_Config = Annotated[
    Path | None, typer.Option("--config", help="Config of a client, whose modules are searched too.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_EXIT_INCOMPATIBLE = 1


class Asked(str, Enum):
    """Name what compatibility is asked for."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"


class Place(str, Enum):
    """Name what reads rows."""

    POSTGRES = "postgres"
    PARQUET = "parquet"
    AVRO = "avro"
    JSONL = "jsonl"
    KAFKA = "kafka"
    HTTP = "http"


@transforms.command("list")
def list_(
    config: Annotated[
        Path | None,
        typer.Argument(help="Config of a client: its modules are searched too, and what it pins is told."),
    ] = None,
    *,
    as_json: _Json = False,
) -> None:
    """List the transforms that can be found, their versions, and which entities pin which."""
    client, registry = _found(config)
    pinned: dict[str, list[str]] = {}
    for name, entity in ({} if client is None else client.entities).items():
        if entity.transform is not None:
            pinned.setdefault(entity.transform, []).append(name)
    grouped: dict[str, list[str]] = {}
    for name in registry.names():
        grouped.setdefault(name.split("@")[0], []).append(name)
    lines: list[dict[str, Any]] = [
        {
            "name": name,
            "versions": [each.split("@")[1] for each in versions],
            "module": registry.get(versions[-1]).__module__,
            "pinned": {each.split("@")[1]: pinned[each] for each in versions if each in pinned},
        }
        for name, versions in grouped.items()
    ]
    if as_json:
        typer.echo(json.dumps(lines, indent=2))
        return
    titles = ["name", "versions", "module", *(["pinned by"] if client is not None else [])]
    rows = [
        [
            line["name"],
            ", ".join(line["versions"]),
            line["module"],
            "; ".join(f"{', '.join(to)} ({version})" for version, to in line["pinned"].items()),
        ]
        for line in lines
    ]
    _print_table(titles, [row[: len(titles)] for row in rows])


@transforms.command()
def show(
    name: Annotated[str, typer.Argument(help="client.name@1.2.3; without a version, the newest.")],
    *,
    config: _Config = None,
    as_json: _Json = False,
) -> None:
    """Show what a transform says of itself: its purpose, contracts, lookups and state."""
    from tillstream.transforms.describing import description

    _, registry = _found(config)
    about = description(registry, name)
    if as_json:
        typer.echo(json.dumps(about, indent=2))
        return
    typer.echo(f"{about['name']}  ({about['class']})")
    if about["doc"]:
        typer.echo(f"\n{about['doc']}")
    for title, columns in about["contracts"].items():
        typer.echo(f"\n{title}:")
        titles = ["column", "type", "null", "key", "unit", "pii", "rules", "meaning"]
        fields = ["name", "type", "nullable", "key", "unit", "pii", "rules", "description"]
        _print_table(titles, [[_cell(column[field]) for field in fields] for column in columns])
    for what in ("lookups", "state"):
        for line in about[what]:
            typer.echo(f"\n{what}: {line}")


@contract.command()
def diff(
    old: Annotated[
        str,
        typer.Argument(
            help="client.name@1.2.3[:input], file.yaml:entity, a file .avsc or .json, or module:Model."
        ),
    ],
    new: Annotated[str, typer.Argument(help="The contract that is to follow it, named likewise.")],
    *,
    sink: Annotated[
        list[Place] | None,
        typer.Option(help="What reads the rows; repeat it. Default: the sinks of the entity of a config."),
    ] = None,
    require: Annotated[Asked, typer.Option(help="What must hold, for exit code 0.")] = Asked.BACKWARD,
    config: _Config = None,
    as_json: _Json = False,
) -> None:
    """Tell whether a contract may follow another: exit code 0 where it may, 1 where not, 2 for bad input.

    backward: who knows the new contract reads old rows. forward: who knows the old one reads new rows. full:
    both. postgres: whether the sink widens the table in place, and back again.
    """
    from tillstream.transforms.contracts.diff import compare, keyless, verdict_of
    from tillstream.transforms.contracts.references import contract_at

    def registry() -> Registry:
        return _found(config)[1]

    before, after = contract_at(old, registry), contract_at(new, registry)
    known = [each.value for each in sink] if sink else [*before.places, *after.places]
    places = list(dict.fromkeys(["rows", *known]))
    changes = compare(before.columns, after.columns, places)
    sides = {"old": before.name, "new": after.name}
    warnings = [
        f"{side} contract {sides[side]} marks no key: whether the key changes is not told"
        for side in keyless(before.columns, after.columns)
    ]
    verdicts = {place: verdict_of(changes, place) for place in places}
    compatible = all(verdict.satisfies(require.value) for verdict in verdicts.values())
    if as_json:
        found: dict[str, Any] = {
            "changes": [
                {"column": each.column, "change": each.text, **{p: str(v) for p, v in each.verdicts.items()}}
                for each in changes
            ],
            "verdicts": {place: str(verdict) for place, verdict in verdicts.items()},
            "required": require.value,
            "compatible": compatible,
            "warnings": warnings,
        }
        typer.echo(json.dumps(found, indent=2))
    else:
        rows = [
            [each.column, each.text, *(str(each.verdicts[place]) for place in places)] for each in changes
        ]
        rows.append(["(all)", f"{len(changes)} changes", *(str(verdicts[place]) for place in places)])
        _print_table(["column", "change", *places], rows)
        typer.echo(f"{require.value} compatible: {'yes' if compatible else 'no'}")
        for warning in warnings:
            typer.echo(f"warning: {warning}")
    if not compatible:
        raise typer.Exit(_EXIT_INCOMPATIBLE)


def _found(path: Path | None) -> tuple[ClientConfig | None, Registry]:
    from tillstream.transforms.describing import quietly_found

    return quietly_found(path)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return "" if value is None else str(value)


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(line[place]) for line in [titles, *rows]) for place in range(len(titles))]
    for line in [titles, ["-" * width for width in widths], *rows]:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        typer.echo("  ".join(cells).rstrip())


transforms.command()(record)
