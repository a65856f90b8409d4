"""Run one demo: server, rows, views, live actions, the daemon, and clean-up."""

import os
import shlex
import socket
from collections.abc import MutableMapping
from pathlib import Path

from analytics_refreshd import config
from analytics_refreshd.app import daemon
from analytics_refreshd.demo import api
from analytics_refreshd.demo.csvlog import read_log
from analytics_refreshd.demo.filling import SEED, fill
from analytics_refreshd.demo.folder import CONFIGURATION
from analytics_refreshd.demo.interrupt import Interrupt
from analytics_refreshd.demo.live import Live
from analytics_refreshd.demo.options import DEFAULT_API_PORT, DEFAULT_HTTP_PORT, DemoOutput, Options
from analytics_refreshd.demo.places import where_to_look
from analytics_refreshd.demo.ports import HOST, held_port
from analytics_refreshd.demo.postmaster import Watch
from analytics_refreshd.demo.server import Server
from analytics_refreshd.demo.world import make_world

_ENDED = "The demo's PostgreSQL has ended and will not come back: the demo ends with it."
_EXIT_ENDED = 1


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
        held_port(options.http_port, DEFAULT_HTTP_PORT, "--port") as held,
        held_port(options.api_port, DEFAULT_API_PORT, "--api-port") as held_for_api,
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
                if fill(server, options, log, output):
                    live = Live(server.dsn, make_world(SEED), SEED)
                    live.start()
                file = _write_configuration(server, options, port)
                output.say(where_to_look(server, port, file))
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


_COSTS: dict[str, object] = {
    "currency": "EUR",
    "default": {"per_execution": "0.001", "per_retry": "0.0005"},
    "prices": {"rest": {"per_execution": "0.002", "per_second": "0.0004"}, "telegram": {"per_execution": "0.005"}},
}
"""Prices, so that there are costs to look at."""


def _settings(options: Options, dsn: str, port: int) -> dict[str, dict[str, object]]:
    return {
        "database": {"url": dsn},
        "schedule": {"interval": options.interval},
        "http": {"host": HOST, "port": port},
        "log": {"format": options.log_format},
        "costs": _COSTS,
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
    own = {"api": {"host": HOST, "port": port, "management_host": HOST, "management_port": 0}}
    prepared = api.prepare(configuration, server.dsn, server.folder, {**shared, **own})
    held.close()
    return prepared


def _where_the_api_is(prepared: api.Prepared) -> str:
    address = f"http://{HOST}:{prepared.port}"
    asked = shlex.join(["curl", "-H", f"X-API-Key: {prepared.key}", f"{address}/api/v1/analytics/health/summary"])
    return "\n".join((f"api      {address}/", f"key      {prepared.key}", f"curl     {asked}"))


def _what_ends(options: Options) -> str:
    return "stops it; the database stays" if options.data else "stops it and removes everything"
