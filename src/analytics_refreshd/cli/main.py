"""The entry point: commands, exit codes, and one sentence for each error."""

import errno
import io
import os
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated, Protocol, runtime_checkable

import typer

from analytics_refreshd import __version__
from analytics_refreshd.cli import api as rest_api
from analytics_refreshd.cli import (
    check,
    daemon,
    demo,
    erase,
    incident,
    keys,
    partitions,
    pausing,
    query,
    report,
    retain,
    schema,
    show,
)
from analytics_refreshd.cli.common import (
    DEFAULT_CONFIG,
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_INTERNAL,
    EXIT_OK,
    EXIT_OUTPUT,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
)
from analytics_refreshd.core.display import without_controls
from analytics_refreshd.core.errors import ConfigError, DatabaseFault, RefreshdError, UsageError, WrongSchemaFault

app = typer.Typer(
    name="analytics-refreshd",
    help="Keeps the analytics views of an action log in PostgreSQL fresh, and tells the truth about it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
        typer.Option(
            help=f"Configuration file (TOML). Default: {DEFAULT_CONFIG}, where it exists.",
            envvar="ANALYTICS_REFRESHD_CONFIG",
            metavar="FILE",
            readable=False,  # a file that cannot be read is a broken configuration, and no wrong command line
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the options before the command."""


daemon.register(app)
rest_api.register(app)
show.register(app)
incident.register(app)
query.register(app)
schema.register(app)
check.register(app)
pausing.register(app)
retain.register(app)
erase.register(app)
partitions.register(app)
report.register(app)
keys.register(app)
demo.register(app)


@runtime_checkable
class _UsageMistake(Protocol):
    """What typer raises for a wrong command line. It does not publish the class, only what it can do."""

    message: str

    def show(self, file: IO[str] | None = None) -> None:
        """Print the usage and the mistake."""


def main() -> int:
    """Run the command line and return the exit code.

    This is the console script's entry point.
    """
    _never_fail_to_encode()
    try:
        result = app(standalone_mode=False, prog_name="analytics-refreshd")
        print(end="", flush=True)  # if this fails at the interpreter's end, it cannot be reported
    except typer.Abort:
        return 130
    except ConfigError as error:
        _say("the configuration cannot be used:")
        for problem in error.problems:
            _say(f"  - {problem}")
        return EXIT_CONFIG
    except WrongSchemaFault as fault:
        _say(fault.message)
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
        # The reader of our output went away, as `| head` does.
        _give_up_output()
        return EXIT_OK
    except Exception as error:
        if isinstance(error, _UsageMistake):
            error.message = error.message.removeprefix("Value error, ")  # from pydantic, which typer asks
            error.show(sys.stderr)
            return EXIT_USAGE
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            _give_up_output()
            _say(f"cannot write the answer: {error.strerror}")
            return EXIT_OUTPUT
        with suppress(OSError):
            print(without_controls(traceback.format_exc()), end="", file=sys.stderr)
        _say("this is a defect of analytics-refreshd; please report it with the lines above")
        return EXIT_INTERNAL
    return result if isinstance(result, int) else 0


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})
"""Errors of a write without room, or to a stream that is closed. Without a file name, it was standard output."""


def _never_fail_to_encode() -> None:
    """Write an escape for each character that the streams' encoding lacks, as in a latin-1 locale."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def _give_up_output() -> None:
    """Discard what is still buffered, so that the interpreter's end does not try to write it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    with suppress(OSError):  # the exit code still says it
        print(f"analytics-refreshd: {without_controls(text)}", file=sys.stderr)
