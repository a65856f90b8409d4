"""Run one demo: server, rows, views, live actions, the daemon, and clean-up."""

import os
import secrets
import shlex
import socket
from collections.abc import MutableMapping
from contextlib import ExitStack
from pathlib import Path

from analytics_refreshd import config
from analytics_refreshd.app import daemon
from analytics_refreshd.demo import api, warehouse
from analytics_refreshd.demo.csvlog import ActionLog, read_log
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


class _Demo:
    """What runs beside the daemon: the server, live actions, the API, a warehouse."""

    def __init__(self, options: Options, output: DemoOutput, held_for_api: socket.socket, stack: ExitStack) -> None:
        self._options = options
        self._output = output
        self._held_for_api = held_for_api
        self.server = Server(options.data, note=output.note)
        self._rest_api = api.ApiProcess()
        self._live: Live | None = None
        self.clickhouse: warehouse.ClickHouse | None = None
        if options.warehouse:
            held = stack.enter_context(held_port(0, 0, "--warehouse"))
            self.clickhouse = warehouse.ClickHouse(self.server.folder, held, secrets.token_hex(16))

    def fill(self, configuration: config.Config, log: ActionLog | None) -> None:
        """Load actions, and begin to add some."""
        if self.clickhouse:
            self.clickhouse.start()
        if fill(self.server, self._options, log, self._output):
            self._live = Live(self.server.dsn, make_world(SEED), SEED)
            self._live.start()
        if self.clickhouse:
            self.clickhouse.fill(configuration, self._output.note)

    def tell(self, configuration: config.Config, settings: "_Settings", port: int) -> None:
        """Say where to look, and start the API."""
        file = _write_configuration(self.server, settings)
        # before anybody is shown a way in: who drops a view at once would end the installation, and with it the demo
        prepared = _prepare_api(configuration, self.server, settings, self._held_for_api) if api.installed() else None
        self._output.say(where_to_look(self.server, port, file, warehouse=self._options.warehouse))
        if prepared:
            self._rest_api.start(prepared.file)
            self._output.say(_where_the_api_is(prepared))
        self._output.say(f"Ctrl-C   {_what_ends(self._options)}")

    def stop(self) -> None:
        """Stop everything but live actions. Harmless twice."""
        self._rest_api.stop()
        if self.clickhouse:
            self.clickhouse.stop()
        self.server.stop()

    def end(self) -> None:
        """Stop everything, and say what is left."""
        if self._live:
            self._live.stop()
        self.stop()
        data = self._options.data
        self._output.note(f"The database is kept in {data}" if data else "Stopped; nothing is left.")


def run(options: Options, output: DemoOutput) -> int:
    """Run the demo in the main thread, and return its exit code.

    It ends with a signal, after `cycles` refreshes, or with its server; the exit code is 1 then. Raises DemoError,
    ConfigError and UsageError with one sentence for the user. In any case the server is stopped and its folder removed,
    except for `data`.
    """
    if options.warehouse:
        warehouse.require()
    forget_surroundings(os.environ)
    log = read_log(options.log_file) if options.log_file else None
    with (
        Interrupt() as interrupt,
        held_port(options.http_port, DEFAULT_HTTP_PORT, "--port") as held,
        held_port(options.api_port, DEFAULT_API_PORT, "--api-port") as held_for_api,
        ExitStack() as stack,
    ):
        port: int = held.getsockname()[1]
        demo = _Demo(options, output, held_for_api, stack)
        watch = Watch(demo.server.is_running, lambda: output.note(_ENDED))

        def leave() -> None:
            demo.stop()
            if watch.has_ended:
                os._exit(_EXIT_ENDED)

        try:
            settings = _settings(options, demo.server.dsn, port, demo.clickhouse)
            configuration = config.load(settings)
            output.note("Starting PostgreSQL …")
            demo.server.start()
            with interrupt.allowed():
                demo.fill(configuration, log)
                demo.tell(configuration, settings, port)
                held.close()
                watch.start()
                code = daemon.serve(configuration, cycles=options.cycles, before_exit=leave)
        except KeyboardInterrupt:
            code = 0
        finally:
            watch.stop()
            demo.end()
    return _EXIT_ENDED if watch.has_ended else code


_COSTS: dict[str, object] = {
    "currency": "EUR",
    "default": {"per_execution": "0.001", "per_retry": "0.0005"},
    "prices": {"rest": {"per_execution": "0.002", "per_second": "0.0004"}, "telegram": {"per_execution": "0.005"}},
}
"""Prices, so that there are costs to look at."""


_Settings = dict[str, dict[str, object]]


def _settings(options: Options, dsn: str, port: int, clickhouse: warehouse.ClickHouse | None) -> _Settings:
    return {
        "database": {"url": dsn},
        "schedule": {"interval": options.interval},
        "http": {"host": HOST, "port": port},
        "log": {"format": options.log_format},
        "costs": _COSTS,
        **({"warehouse": clickhouse.settings} if clickhouse else {}),
    }


def _write_configuration(server: Server, settings: _Settings) -> Path:
    """Write the demo's configuration as a file, which other commands read. Returns its path."""
    path = server.folder / CONFIGURATION
    path.touch(0o600)
    path.write_text(api.as_toml(settings))
    return path


def _prepare_api(
    configuration: config.Config, server: Server, settings: _Settings, held: socket.socket
) -> api.Prepared:
    """Let the API know the daemon's schedule, and which port is its own; probes get any free one."""
    port: int = held.getsockname()[1]
    shared = {key: value for key, value in settings.items() if key != "http"}
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
