"""Builds the API's process and runs it: signals, watchdog, and a stop that always ends."""

import os
import signal
import threading
from collections.abc import Callable
from ipaddress import ip_network

import uvicorn

from analytics_refreshd import __version__
from analytics_refreshd.api.access.build import access_gate
from analytics_refreshd.api.access.limits import ConcurrentQueries
from analytics_refreshd.api.actions.endpoint import ACTION_PATHS, STATE, Actions
from analytics_refreshd.api.app import OTHER, Answerers, Api, Served
from analytics_refreshd.api.cache import AnswerCache
from analytics_refreshd.api.connections import bound_kernel_memory, client_limits, give_back_memory
from analytics_refreshd.api.endpoints import Endpoints
from analytics_refreshd.api.freshness import Timing
from analytics_refreshd.api.health import ApiHealth
from analytics_refreshd.api.metrics import ApiMetrics
from analytics_refreshd.api.pool import ReadPool
from analytics_refreshd.api.questions.endpoint import ENDPOINT as QUESTIONS
from analytics_refreshd.api.questions.endpoint import Questions
from analytics_refreshd.api.questions.reader import QuestionReader
from analytics_refreshd.api.reader import Reader
from analytics_refreshd.api.routes import routes_of
from analytics_refreshd.api.server import build_server
from analytics_refreshd.api.stream.build import StreamReports, build_streams
from analytics_refreshd.api.stream.endpoint import ENDPOINT as STREAM
from analytics_refreshd.api.warehouse import readers_of
from analytics_refreshd.app.clock import SystemClock
from analytics_refreshd.app.telemetry import STOP_SECONDS as EXPORT_SECONDS
from analytics_refreshd.app.telemetry import telemetry
from analytics_refreshd.config import Config, adapters
from analytics_refreshd.core.errors import ConfigError, DatabaseFault, RefreshdError
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.telemetry import Telemetry
from analytics_refreshd.core.warehouse import WarehouseFault
from analytics_refreshd.observe.http import HttpSettings, ManagementServer, listen
from analytics_refreshd.observe.log.sink import JsonLog, LogSettings, configure
from analytics_refreshd.observe.systemd import SystemdNotifier
from analytics_refreshd.postgres.catalogue.files import Catalogue
from analytics_refreshd.postgres.catalogue.walled import refuse_unwalled
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.tenants.keys import KeyReader
from analytics_refreshd.postgres.tenants.members import MemberReader
from analytics_refreshd.postgres.tenants.primary import Primary
from analytics_refreshd.postgres.tenants.questions import PostgresQuestionBook
from analytics_refreshd.postgres.tenants.requests import PostgresRequestBook
from analytics_refreshd.postgres.tenants.wall import Wall

_SERVICE = "analytics-refreshd-api"
EXIT_STOPPED = 0
EXIT_INTERNAL = 70
STOP_SECONDS = 10.0
_DRAIN_SECONDS = 7
_NOTICE_SECONDS = 1.0
"""How long clients are told by their answers to connect elsewhere, before connections are closed."""
_TICK_SECONDS = 1.0
_THREADS_PER_CONNECTION = 4
_OTHER_ENDPOINTS = ("meta/queries", *map(str, ACTION_PATHS.values()), STATE, QUESTIONS, STREAM, OTHER)
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
_IGNORED = frozenset({signal.SIGUSR1, signal.SIGUSR2})


class ApiService:
    """Builds and connects everything that the API's process consists of; starts nothing."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.clock = SystemClock()
        try:
            catalogue = Catalogue.load(config.queries.directory)
            refuse_unwalled(catalogue, config.database.db_schema)
        except RefreshdError as error:
            raise ConfigError([f"[queries] {error}"]) from error
        self.warehouse, fleets = readers_of(config, self.clock.monotonic)
        self.routes = routes_of(catalogue, fleets)
        secret = adapters.api_secret(config)
        if secret is None:
            raise ConfigError(["api.secret_file is missing: name the file that `migrate --tenants` was told"])
        self._slow_seconds = config.api.slow_request.total_seconds()
        self.log: JsonLog = configure(LogSettings(config.log.level, config.log.format), config.name, config.replica)
        seconds = config.api.statement_timeout.total_seconds()
        profile = Profile(seconds, seconds / 2, idle_in_transaction_seconds=2 * seconds + 5)
        self.connector = Connector(adapters.reading_settings(config))
        self.pool = ReadPool(self.connector, profile, config.api.connections)
        self.health = ApiHealth(self.clock, lambda: self.pool.fault)
        self.cache = AnswerCache(config.api.cache_megabytes << 20, lambda result: self.metrics.cached(result))
        self.metrics = ApiMetrics(
            config.name,
            __version__,
            [*dict.fromkeys(route.name for route in self.routes), *_OTHER_ENDPOINTS],
            streams=lambda: self.streams.hub.open_streams,
            connections=lambda: sum(one.open_connections for one in (self.connector, self.primary, self.key_connector)),
            log_lines_lost=lambda: self.log.lost,
            cache_bytes=lambda: self.cache.bytes,
        )
        views, timing = tuple(config.refresh.views), Timing(config.limits(), config.plan())
        wall = Wall(secret)
        reader = Reader(self.pool, views, wall, seconds, self.clock.monotonic, timing.limits)
        self.primary = Connector(adapters.writing_settings(config))
        # keys are found where they are revoked, if that is known: a standby learns of it later, and notes no use
        self.key_connector = Connector(adapters.key_settings(config))
        self.keys = Session(self.key_connector, label="keys")
        members, counted = MemberReader(self.keys, wall), (self.metrics.looked_in_vain, self.metrics.uncounted)
        gate = access_gate(config, KeyReader(self.keys), members, self.clock, *counted)
        queries, stored_errors = ConcurrentQueries(config.api.concurrent_queries), config.api.error_text == "stored"
        settings = adapters.query_settings(config)
        self.endpoints = Endpoints(
            gate, reader, timing, self.clock, queries, self.cache, stored_errors, settings, self.warehouse
        )
        trusted = [ip_network(one) for one in config.api.trusted_proxies]
        threads = _THREADS_PER_CONNECTION * config.api.connections
        reports = StreamReports(self.metrics, self.log, self.clock)
        self.streams = build_streams(config, self.routes, self.pool, gate, wall, timing, reports)
        primary, listed = Primary(self.primary), QuestionReader(self.pool, wall, seconds)
        actions = Actions(gate, PostgresRequestBook(primary), self.clock)
        questions = Questions(gate, listed, PostgresQuestionBook(primary, wall), self.clock)
        answerers = Answerers(self.endpoints, self.streams, actions, questions)
        self.telemetry = self._export(config)
        tracer = self.telemetry.tracer
        self.api = Api(answerers, self.routes, self.clock, threads, self._served, trusted, tracer)
        self.api.closing = lambda: self.health.draining
        management = HttpSettings(
            config.api.management_host, config.api.management_port, keys="[api] management_port or management_host"
        )
        self.management = ManagementServer(management, self.health, self.metrics.registry)

    def _export(self, config: Config) -> Telemetry:
        made = telemetry(
            config,
            _SERVICE,
            collect=self.metrics.registry.collect,
            log=self.log,
            count_failure=self.metrics.export_failed,
            sample_ratio=config.otel.sample_requests,
        )
        self.log.trace_ids = made.ids
        return made

    def close(self) -> None:
        """Give up what is read, and close every connection and port."""
        self.streams.close()
        self.pool.close()
        if self.warehouse is not None:
            self.warehouse.close()
        self.keys.close()
        self.primary.stop()
        self.key_connector.stop()
        self.management.close()

    def _served(self, served: Served) -> None:
        """Count and log a request that was answered."""
        reply = served.reply
        self.metrics.answered(served.endpoint, reply.status, served.seconds, reply.error)
        failed = reply.status >= 400
        slow = served.seconds > self._slow_seconds
        level = "info" if failed or slow else "debug"
        if not self.log.writes(level):
            return
        fault = reply.exception if isinstance(reply.exception, DatabaseFault | WarehouseFault) else None
        if reply.exception is not None and fault is None:
            message = f"the request {served.request_id} failed"
            self.log.emit(
                Event.LIBRARY_MESSAGE, level="error", library="api", message=message, exception=reply.exception
            )
        self.log.emit(
            Event.REQUEST_FINISHED,
            level=level,
            request_id=served.request_id,
            method=served.method,
            endpoint=served.endpoint,
            status=reply.status,
            seconds=round(served.seconds, 6),
            key_id=reply.key_id,
            rows=reply.rows,
            code=reply.error,
            sqlstate=fault.sqlstate if isinstance(fault, DatabaseFault) else None,
            error=str(fault) if fault else None,
        )


class ApiProcess:
    """Runs an `ApiService` until a signal, or until the server ends."""

    def __init__(self, service: ApiService, *, before_exit: Callable[[], None] = lambda: None) -> None:
        self._service = service
        self._before_exit = before_exit
        self._systemd = SystemdNotifier(os.environ)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def run(self) -> int:
        """Serve until stopped; return the exit code. Must be called on the main thread, with signals blocked."""
        service = self._service
        api = service.config.api
        listener = listen(HttpSettings(api.host, api.port, keys="[api] port or host"))
        bound_kernel_memory(listener)
        give_back_memory()
        management = service.management.start()
        service.pool.open()
        service.streams.start()
        service.telemetry.start()
        limits, alive = client_limits(), service.health.alive
        self._server = build_server(service.api.asgi, limits, alive, drain_seconds=_DRAIN_SECONDS)
        self._thread = threading.Thread(target=self._server.run, args=([listener],), name="api", daemon=True)
        self._thread.start()
        host, port = listener.getsockname()[:2]
        service.log.emit(
            Event.API_STARTED,
            version=__version__,
            pid=os.getpid(),
            http=f"{host}:{port}",
            management=f"{api.management_host}:{management}",
            endpoints=sum(len(route.paths) for route in service.routes),
        )
        self._systemd.ready(f"answers on {host}:{port}")
        return self._stop(self._wait())

    def _wait(self) -> signal.Signals | None:
        """Return the signal that ends it, None where the server ended by itself."""
        assert self._thread is not None  # noqa: S101 - run has started it
        while self._thread.is_alive():
            taken = signal.sigtimedwait(_SIGNALS, _TICK_SECONDS)
            if taken is not None and taken.si_signo in _SIGNALS:
                return signal.Signals(taken.si_signo)
            if self._service.health.live()[0]:
                self._systemd.watchdog()
        return None

    def _stop(self, cause: signal.Signals | None) -> int:
        """Refuse new requests, answer those under way, close; within the deadline, whatever hangs."""
        service = self._service
        began = service.clock.monotonic()
        assert self._server is not None  # noqa: S101 - run has made both
        assert self._thread is not None  # noqa: S101
        self._systemd.stopping("answering what was asked")
        service.health.draining = True
        service.log.emit(Event.API_STOPPING, level="info" if cause else "error", signal=cause.name if cause else None)
        service.streams.close()
        while self._connected() and service.clock.monotonic() - began < _NOTICE_SECONDS:
            self._thread.join(0.02)
        asked = service.clock.monotonic()
        self._server.should_exit = True
        self._thread.join(STOP_SECONDS * 0.8)
        # after so long the server has given up those that were not answered
        waited = service.clock.monotonic() - asked
        forced = ["requests"] if self._thread.is_alive() or waited >= _DRAIN_SECONDS else []
        self._server.force_exit = True
        service.close()
        left = began + STOP_SECONDS * 0.9 - service.clock.monotonic()
        service.telemetry.stop(max(0.1, min(EXPORT_SECONDS, left)))
        self._thread.join(max(0.1, began + STOP_SECONDS * 0.95 - service.clock.monotonic()))
        if forced:
            service.log.emit(Event.SHUTDOWN_FORCED, level="warning", still_running=forced)
        code = EXIT_STOPPED if cause is not None else EXIT_INTERNAL
        seconds = round(service.clock.monotonic() - began, 3)
        service.log.emit(Event.API_STOPPED, exit_code=code, seconds=seconds)
        if forced or code:
            # a thread that hangs would keep the interpreter from ending
            self._before_exit()
            os._exit(code)
        return code

    def _connected(self) -> bool:
        """Whether the server lives and has clients."""
        assert self._server is not None  # noqa: S101 - run has made both
        assert self._thread is not None  # noqa: S101
        return self._thread.is_alive() and bool(self._server.server_state.connections)


def serve(config: Config, *, before_exit: Callable[[], None] = lambda: None) -> int:
    """Run the API's process on the main thread; return its exit code.

    Raises RefreshdError where a port cannot be had.
    """
    # before anything is built, so that a SIGTERM during start-up is a clean stop
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in _IGNORED}
    try:
        service = ApiService(config)
        try:
            return ApiProcess(service, before_exit=before_exit).run()
        except RefreshdError:
            service.close()
            raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler)
