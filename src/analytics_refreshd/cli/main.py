"""The entry point: commands, exit codes, and one sentence for whatever goes wrong."""

import errno
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from analytics_refreshd import __version__
from analytics_refreshd.cli import check, daemon, demo, incident, pausing, query, schema, show
from analytics_refreshd.cli.common import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_OUTPUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
)
from analytics_refreshd.core.errors import ConfigError, DatabaseFault, RefreshdError, UsageError

app = typer.Typer(
    name="analytics-refreshd",
    help="Keeps the analytics views of an action log in PostgreSQL fresh, and tells the truth about it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"analytics-refreshd {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file (TOML).", envvar="ANALYTICS_REFRESHD_CONFIG", metavar="FILE"),
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """Options before the command."""


daemon.register(app)
show.register(app)
incident.register(app)
query.register(app)
schema.register(app)
check.register(app)
pausing.register(app)
demo.register(app)


# Newer typers carry a copy of click of their own, whose errors are not those of the package `click`.
_USAGE: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")


def main() -> int:
    """Run the command line and return the exit code; the console script's entry point."""
    try:
        result = app(standalone_mode=False, prog_name="analytics-refreshd")
        print(end="", flush=True)  # at the interpreter's end nobody could tell that this fails
    except typer.Abort:
        return 130
    except _USAGE as error:
        error.message = error.message.removeprefix("Value error, ")  # how pydantic, which typer asks, begins its own
        error.show(sys.stderr)
        return EXIT_USAGE
    except ConfigError as error:
        _say("the configuration cannot be used:")
        for problem in error.problems:
            _say(f"  - {problem}")
        return EXIT_CONFIG
    except DatabaseFault as fault:
        state = f" (SQLSTATE {fault.sqlstate})" if fault.sqlstate else ""
        _say(f"{fault.message}{state}")
        return EXIT_UNREACHABLE if fault.error_class.away else EXIT_FAILED
    except UsageError as error:
        _say(str(error))
        return EXIT_USAGE
    except RefreshdError as error:
        _say(str(error))
        return EXIT_FAILED
    except BrokenPipeError:
        # the reader of our output went away, as `| head` does; nothing more can be said to it
        _give_up_output()
        return EXIT_OK
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            _give_up_output()
            _say(f"cannot write the answer: {error.strerror}")
            return EXIT_OUTPUT
        traceback.print_exc()
        _say("this is a defect of analytics-refreshd; please report it with the lines above")
        return EXIT_INTERNAL
    return result if isinstance(result, int) else 0


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What a write says; of an open file without a name only standard output's reaches `main`."""


def _give_up_output() -> None:
    """Let the interpreter's end not try once more to write what nobody takes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with suppress(OSError):  # the exit code still tells
        print(f"analytics-refreshd: {text}", file=sys.stderr)
