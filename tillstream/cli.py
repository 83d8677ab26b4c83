"""Be the command `tillstream`.

Every command imports what it needs when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Annotated

import typer

from tillstream.configs.cli import schema, validate
from tillstream.pipelines.errors import TillstreamError, UserError
from tillstream.runners.capture.cli import capture, resync
from tillstream.runners.cli import run, setup
from tillstream.runners.demo.cli import demo, traffic
from tillstream.runners.dlq.cli import dlq
from tillstream.runners.jobs.cli import cancel, history, launch, pause, resume
from tillstream.runners.jobs.logs_cli import logs
from tillstream.runners.jobs.plan_cli import plan
from tillstream.runners.jobs.rescale_cli import rescale
from tillstream.runners.jobs.retained_cli import checkpoints
from tillstream.runners.jobs.status_cli import status
from tillstream.runners.jobs.template_cli import template
from tillstream.runners.jobs.upgrade_cli import rollback, upgrade
from tillstream.runners.k8s.cli import k8s
from tillstream.runners.local import cli as local
from tillstream.runners.verify.cli import verify
from tillstream.transforms.cli import contract, transforms
from tillstream.transforms.fixtures.cli import check_fixtures
from tillstream.transforms.lint.cli import lint
from tillstream.transforms.scaffold.cli import new

__all__ = ["app", "main"]

_LOG_VARIABLE = "TILLSTREAM_LOG"
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

app = typer.Typer(name="tillstream", no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def options(
    *,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            help=f"Log what happens, on standard error; {_LOG_VARIABLE}={'|'.join(_LOG_LEVELS)} does it too.",
        ),
    ] = False,
) -> None:
    """Run streams of changes, one Flink job per client."""
    if verbose:
        logging.getLogger("tillstream").setLevel(logging.DEBUG)


app.command()(demo)
app.command()(validate)
app.command()(schema)
app.command()(run)
app.command()(plan)
app.command()(launch)
app.command()(status)
app.command()(pause)
app.command()(resume)
app.command()(upgrade)
app.command()(rollback)
app.command()(rescale)
app.command()(checkpoints)
app.command()(cancel)
app.command()(logs)
app.command()(history)
app.command()(setup)
app.command()(resync)
app.command()(local.up)
app.command()(local.down)
app.command()(local.ps)
app.command()(local.env)
app.command()(local.sql)
app.command()(traffic)
app.command()(verify)
app.command(name="test")(check_fixtures)
app.command()(lint)
app.add_typer(new, name="new")
app.add_typer(transforms, name="transforms")
app.add_typer(contract, name="contract")
app.add_typer(template, name="template")
app.add_typer(dlq, name="dlq")
app.add_typer(capture, name="capture")
app.add_typer(k8s, name="k8s")


def main() -> None:
    """Run the command line; an error is one message on standard error, never a traceback.

    Exits with 2 for what a person can mend in their input or machine, with 1 for what failed.
    """
    # Libraries that Beam imports announce the end of Python versions; nobody here can act on that.
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    try:
        _set_up_logging(os.environ.get(_LOG_VARIABLE, "warning"))
        app()
    except UserError as error:
        _fail(error, 2)
    except TillstreamError as error:
        _fail(error, 1)


def _set_up_logging(level: str) -> None:
    """Send all that is logged to standard error, in one form; the level is that of tillstream's own."""
    if level.lower() not in _LOG_LEVELS:
        raise UserError(f"{_LOG_VARIABLE}: found {level!r}, expected one of {', '.join(_LOG_LEVELS)}")
    logging.basicConfig(format=_LOG_FORMAT, stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("tillstream").setLevel(level.upper())


def _fail(error: TillstreamError, code: int) -> None:
    sys.stderr.write(f"error: {error}\n")
    sys.exit(code)
