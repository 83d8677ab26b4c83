"""Be the command `tillstream`.

Every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
import warnings

import typer

from tillstream.configs.cli import schema, validate
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.cli import run, setup
from tillstream.runners.demo.cli import demo
from tillstream.runners.local import cli as local

__all__ = ["app", "main"]

app = typer.Typer(name="tillstream", no_args_is_help=True, add_completion=False, rich_markup_mode=None)

app.command()(demo)
app.command()(validate)
app.command()(schema)
app.command()(run)
app.command()(setup)
app.command()(local.up)
app.command()(local.down)
app.command()(local.ps)


def main() -> None:
    """Run the command line; an error is one message on standard error, never a traceback.

    Exits with 2 for what a person can mend in their input or machine, with 1 for what failed.
    """
    # Libraries that Beam imports announce the end of Python versions; nobody here can act on that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    try:
        app()
    except UserError as error:
        _fail(error, 2)
    except TillstreamError as error:
        _fail(error, 1)


def _fail(error: TillstreamError, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)
