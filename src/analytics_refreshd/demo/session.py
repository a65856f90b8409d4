"""Run one demo: server, rows, views, live actions, the daemon, and clean-up."""

import errno
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, MutableMapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Protocol

import psycopg

from analytics_refreshd import config
from analytics_refreshd.app import daemon
from analytics_refreshd.demo import DEFAULT_ROWS, DemoError, api, loading
from analytics_refreshd.demo.actions import Generator, make_bursts
from analytics_refreshd.demo.csvlog import ActionLog, read_log
from analytics_refreshd.demo.folder import CONFIGURATION
from analytics_refreshd.demo.interrupt import Interrupt
from analytics_refreshd.demo.live import Live
from analytics_refreshd.demo.postmaster import Watch
from analytics_refreshd.demo.server import Server
from analytics_refreshd.demo.world import make_world
from analytics_refreshd.postgres.migrate.run import migrate

DEFAULT_HTTP_PORT = 9720
DEFAULT_API_PORT = 9721
_HOST = "127.0.0.1"
_SEED = 1
_PACKAGE = "analytics_refreshd"
_ENDED = "The demo's PostgreSQL has ended and will not come back: the demo ends with it."
_EXIT_ENDED = 1


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for; None means the default.

    `rows` and `log_file` exclude each other. `http_port` is where page and metrics are served, `api_port`
    where the API is.
    """

    interval: str = "10s"
    rows: int | None = None
    cycles: int | None = None
    log_file: Path | None = None
    http_port: int | None = None
    api_port: int | None = None
    data: Path | None = None
    log_format: str = "json"


class DemoOutput(Protocol):
    """Show the user the demo's progress."""

    def say(self, text: str) -> None:
        """Show a line on standard output."""

    def note(self, text: str) -> None:
        """Show a line on standard error: what the demo is doing."""

    def loading(self, rows: int) -> AbstractContextManager[Callable[[int], None]]:
        """Show a progress bar over `rows`.

        Yields a function that takes the number of rows done so far.
        """


def forget_surroundings(environment: MutableMapping[str, str]) -> None:
    """Remove variables that could lead the demo to another server.

    With PGHOSTADDR set, for example, libpq would connect to that address and not to our socket.
    """
    for name in list(environment):
        if name.startswith(("PG", "ANALYTICS_REFRESHD_")):
            del environment[name]


def run(options: Options, output: DemoOutput) -> int:
    """Run the demo in the main thread, and return its exit code.

    It ends with a signal, after `cycles` refreshes, or with its server; the exit code is 1 then. Raises DemoError,
    ConfigError and UsageError with one sentence for the user. In any case the server is stopped and its folder removed,
    except for `data`.
    """
    forget_surroundings(os.environ)
    log = read_log(options.log_file) if options.log_file else None
    with (
        Interrupt() as interrupt,
        _held_port(options.http_port, DEFAULT_HTTP_PORT, "--port") as held,
        _held_port(options.api_port, DEFAULT_API_PORT, "--api-port") as held_for_api,
    ):
        port: int = held.getsockname()[1]
        rest_api = api.ApiProcess()
        server = Server(options.data, note=output.note)
        live: Live | None = None
        watch = Watch(server.is_running, lambda: output.note(_ENDED))

        def leave() -> None:
            rest_api.stop()
            server.stop()
            if watch.has_ended:
                os._exit(_EXIT_ENDED)

        try:
            configuration = config.load(_settings(options, server.dsn, port))
            output.note("Starting PostgreSQL …")
            server.start()
            with interrupt.allowed():
                try:
                    has_generated = _fill(server, options, log, output)
                except psycopg.Error as error:
                    raise DemoError(
                        f"PostgreSQL cannot hold the demo: {error.diag.message_primary or error}"
                    ) from error
                if has_generated:
                    live = Live(server.dsn, make_world(_SEED), _SEED)
                    live.start()
                file = _write_configuration(server, options, port)
                output.say(_where_to_look(server, options, port, file))
                if api.installed():
                    prepared = _prepare_api(configuration, server, options, held_for_api)
                    rest_api.start(prepared.file)
                    output.say(_where_the_api_is(prepared))
                output.say(f"Ctrl-C   {_what_ends(options)}")
                held.close()
                watch.start()
                code = daemon.serve(configuration, cycles=options.cycles, before_exit=leave)
        except KeyboardInterrupt:
            code = 0
        finally:
            watch.stop()
            if live:
                live.stop()
            rest_api.stop()
            server.stop()
            output.note(f"The database is kept in {options.data}" if options.data else "Stopped; nothing is left.")
    return _EXIT_ENDED if watch.has_ended else code


def _settings(options: Options, dsn: str, port: int) -> dict[str, dict[str, object]]:
    return {
        "database": {"url": dsn},
        "schedule": {"interval": options.interval},
        "http": {"host": _HOST, "port": port},
        "log": {"format": options.log_format},
    }


def _write_configuration(server: Server, options: Options, port: int) -> Path:
    """Write the demo's configuration as a file, which other commands read. Returns its path."""
    path = server.folder / CONFIGURATION
    path.touch(0o600)
    path.write_text(api.as_toml(_settings(options, server.dsn, port)))
    return path


def _prepare_api(configuration: config.Config, server: Server, options: Options, held: socket.socket) -> api.Prepared:
    """Let the API know the daemon's schedule, and which port is its own; probes get any free one."""
    port: int = held.getsockname()[1]
    shared = {key: value for key, value in _settings(options, server.dsn, port).items() if key != "http"}
    own = {"api": {"host": _HOST, "port": port, "management_host": _HOST, "management_port": 0}}
    prepared = api.prepare(configuration, server.dsn, server.folder, {**shared, **own})
    held.close()
    return prepared


def _fill(server: Server, options: Options, log: ActionLog | None, output: DemoOutput) -> bool:
    """Load what the database lacks, and migrate its schema. Returns whether its actions are generated."""
    loading.create_database(server.admin_dsn)
    with psycopg.connect(server.dsn) as connection:
        kept = loading.kept_actions(connection)
        if kept is None:
            _load(connection, options, log, output)
        elif log or options.rows is not None:
            raise DemoError(
                f"{options.data} already holds a demo: leave out --rows and --input to go on with it, "
                "or choose another folder"
            )
        else:
            output.note(f"Going on with the {kept.actions:,} actions kept in {options.data}.")
    output.note("Building the views …")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        migrate(connection, app_schema="public")
    return kept.are_generated if kept else log is None


def _load(connection: loading.Connection, options: Options, log: ActionLog | None, output: DemoOutput) -> None:
    """Fill an empty database in one transaction, so that a kill leaves it empty."""
    begun = time.monotonic()
    now = datetime.now(UTC)
    rows = log.rows if log else DEFAULT_ROWS if options.rows is None else options.rows
    loading.create_application(connection)
    if log:
        loading.load_references(connection, log, now)
        actions = log.actions(now)
    else:
        world = make_world(_SEED)
        loading.load_world(connection, world, now)
        generator = Generator(world, Random(_SEED), make_bursts(_SEED, now))  # noqa: S311
        actions = generator.history(rows, now)
    with output.loading(rows) as progress:
        loading.load_actions(connection, actions, progress)
    connection.execute(loading.statement("analyze"))
    connection.commit()
    source = f"of {options.log_file}, shifted so that the last one is now" if log else "of the last 30 days"
    output.note(f"Loaded {rows:,} actions {source}, in {time.monotonic() - begun:.1f} s.")


def _where_to_look(server: Server, options: Options, port: int, file: Path) -> str:
    program = shlex.join([*_program(), "--config", str(file)])
    return "\n".join(
        (
            f"page     http://{_HOST}:{port}/",
            f"metrics  http://{_HOST}:{port}/metrics",
            f"status   {program} status",
            f"query    {program} query success-rate",
            f"psql     {server.psql}",
        )
    )


def _where_the_api_is(prepared: api.Prepared) -> str:
    address = f"http://{_HOST}:{prepared.port}"
    asked = shlex.join(["curl", "-H", f"X-API-Key: {prepared.key}", f"{address}/api/v1/analytics/health/summary"])
    return "\n".join((f"api      {address}/", f"key      {prepared.key}", f"curl     {asked}"))


def _what_ends(options: Options) -> str:
    return "stops it; the database stays" if options.data else "stops it and removes everything"


def _program() -> list[str]:
    """Return how this program was called, so that another terminal can call it, too."""
    called = Path(sys.argv[0])
    return [str(called.absolute())] if called.name == "analytics-refreshd" else [sys.executable, "-m", _PACKAGE]


def _held_port(wanted: int | None, usual: int, option: str) -> socket.socket:
    """Return a listening socket on the wanted port, else the usual one, else any free one.

    It listens, so that a second demo cannot choose the same port while this one still loads.
    """
    for port in (usual, 0) if wanted is None else (wanted,):
        holder = socket.socket()
        # As the HTTP server does, so that a connection that has just ended does not keep the port taken.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind((_HOST, port))
            holder.listen()
        except OSError as error:
            holder.close()
            if error.errno == errno.EACCES:
                raise DemoError(
                    f"Port {port} on {_HOST} may not be used by this user: choose one from 1024 on with {option}, or "
                    "leave it out"
                ) from error
            continue
        return holder
    raise DemoError(f"Port {wanted} on {_HOST} is taken: choose another with {option}, or leave it out")
