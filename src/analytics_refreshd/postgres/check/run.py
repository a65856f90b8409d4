"""Looks over connection, server, role, contract and our own schema, without changing anything."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import psycopg

from analytics_refreshd.core.errors import DatabaseFault, WrongSchemaFault
from analytics_refreshd.core.model import VIEWS, Limits, Reason
from analytics_refreshd.core.redaction import printable
from analytics_refreshd.postgres.check.bloat import bloat_findings
from analytics_refreshd.postgres.check.contract import Contract, contract_findings
from analytics_refreshd.postgres.check.findings import Finding, Level, error, ok, warning
from analytics_refreshd.postgres.check.forecast import forecast_findings
from analytics_refreshd.postgres.check.replication import replication_findings
from analytics_refreshd.postgres.check.results import infinite_findings, result_findings
from analytics_refreshd.postgres.check.saving import saving_findings
from analytics_refreshd.postgres.check.schema import our_schema_findings
from analytics_refreshd.postgres.check.server import server_findings
from analytics_refreshd.postgres.check.status import status_findings
from analytics_refreshd.postgres.check.targets import last_results, target_findings
from analytics_refreshd.postgres.check.tenants import tenant_findings
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.connection.errors import translating
from analytics_refreshd.postgres.connection.session import Session
from analytics_refreshd.postgres.connection.settings import is_local
from analytics_refreshd.postgres.connection.sqlfiles import blocks
from analytics_refreshd.postgres.connection.trust import refuse_other_schema
from analytics_refreshd.postgres.state.leader import PostgresLeader
from analytics_refreshd.postgres.state.rates import missing_grant
from analytics_refreshd.postgres.state.status import PostgresStatusReader

__all__ = ["CheckSettings", "Finding", "Level", "run_checks"]

_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """What the daemon would use; function names have one part (in the application's schema) or two.

    For longer than `max_age_seconds` no change may wait for a fold.
    """

    function: str = "refresh_action_analytics"
    status_function: str = "get_analytics_refresh_status"
    view_function: str = "refresh_action_analytics_view"
    views: tuple[str, ...] = VIEWS
    isolation: str = "cycle"
    parallel: int = 2
    max_age_seconds: float = 900.0
    limits: Limits = field(default_factory=Limits)

    @property
    def connections(self) -> int:
        """How many connections one replica uses at most."""
        return 2 + (self.parallel if self.isolation == "view" else 1)


def run_checks(connector: Connector, settings: CheckSettings, now: Callable[[], datetime]) -> list[Finding]:
    """Every finding in the order in which to read them; never raises for a fault of the database.

    `now` reads this machine's clock, to be compared with the server's. A database that cannot be reached is one error
    and the end.
    """
    began = time.monotonic()
    try:
        connection = connector.connect("check", Profile(statement_timeout_seconds=_SECONDS), any_schema=True)
    except DatabaseFault as fault:
        return [error("connection", fault.message)]
    seconds = time.monotonic() - began
    schema = connector.settings.app_schema
    with connection:
        wrong = list(_safely(connection, "configuration", lambda: _schema(connection, schema)))
        if wrong:
            return [*_safely(connection, "connection", lambda: _connection(connection, seconds)), *wrong]
        parts: Sequence[tuple[str, Callable[[], Iterator[Finding]]]] = (
            ("connection", lambda: _connection(connection, seconds)),
            ("tls", lambda: _tls(connection)),
            ("server", lambda: server_findings(connection, schema, settings.connections, now)),
            ("pooler", lambda: _pooler(connector)),
            ("contract", lambda: _contract_and_status(connection, connector, settings)),
            ("rates", lambda: _rates(connection, schema)),
            ("schema", lambda: our_schema_findings(connection, schema, settings.max_age_seconds)),
            ("mode", lambda: saving_findings(connection, schema)),
            ("forecast", lambda: forecast_findings(connection, schema, settings.limits)),
            ("schedule", lambda: _intervals(connection, connector, settings)),
            ("api", lambda: tenant_findings(connection, schema)),
            ("installation", lambda: _installation(connector)),
            ("replication", lambda: replication_findings(connection)),
            ("times", lambda: infinite_findings(connection, connector.settings.app_schema)),
            (
                "last refresh",
                lambda: result_findings(connection, connector.settings.app_schema, settings.views),
            ),
            ("pg_cron", lambda: _cron(connection, settings)),
        )
        return [finding for name, part in parts for finding in _safely(connection, name, part)]


def _contract_and_status(
    connection: BoundedConnection, connector: Connector, settings: CheckSettings
) -> Iterator[Finding]:
    """Look at views and functions, then call the status function where nothing else explains its failure."""
    found = list(contract_findings(connection, _contract(connector, settings)))
    yield from found
    if not any(finding.level is Level.ERROR for finding in found):
        yield from status_findings(connector, settings.status_function, settings.views)


def _intervals(connection: BoundedConnection, connector: Connector, settings: CheckSettings) -> Iterator[Finding]:
    results = last_results(connection, connector, settings.views)
    yield from target_findings(results, settings.isolation, settings.limits)
    yield from bloat_findings(connection, connector.settings.app_schema, results, settings.limits)


def _contract(connector: Connector, settings: CheckSettings) -> Contract:
    return Contract(
        app_schema=connector.settings.app_schema,
        function=settings.function,
        status_function=settings.status_function,
        view_function=settings.view_function,
        views=settings.views,
        isolation=settings.isolation,
    )


def _safely(connection: BoundedConnection, name: str, part: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        with translating(connection), connection.within(2 * _SECONDS):
            yield from part()
    except DatabaseFault as fault:
        yield error(name, f"could not be checked: {fault.message}")


def _schema(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    try:
        refuse_other_schema(connection, app_schema)
    except WrongSchemaFault as fault:
        text, _, remedy = fault.message.rpartition("; ")
        yield error("configuration", text, remedy)


def _connection(connection: BoundedConnection, seconds: float) -> Iterator[Finding]:
    info = connection.info
    where = info.host if info.host.startswith("/") else f"{info.host}:{info.port}"
    yield ok("connection", f"database {info.dbname} on {where} as {info.user}, in {seconds * 1000:.0f} ms")


def _tls(connection: BoundedConnection) -> Iterator[Finding]:
    info = connection.info
    # with a hostaddr the host is a mere name
    host = f"{info.host} ({info.hostaddr})" if is_local(info.host) else info.host
    local = is_local(info.host) and is_local(info.hostaddr)
    mode = connection.info.get_parameters().get("sslmode", "prefer")
    if connection.pgconn.ssl_in_use:
        if local or mode == "verify-full":
            yield ok("tls", f"encrypted, sslmode {mode}")
        else:
            yield warning(
                "tls",
                f"encrypted, but sslmode {mode} does not make sure whose server this is",
                'set [database] sslmode = "verify-full" and sslrootcert',
            )
    elif local:
        yield ok("tls", "not encrypted, and not leaving this machine")
    else:
        yield warning(
            "tls",
            f"not encrypted: the password's proof and the data cross the network to {host} in the clear",
            'turn TLS on in the server, and set [database] sslmode = "verify-full"',
        )


def _rates(connection: BoundedConnection, app_schema: str) -> Iterator[Finding]:
    grant = missing_grant(connection, app_schema)
    if grant is not None:
        text = f"no SELECT on the rows of {app_schema}.action_results: the p95 is not known, and HighLatency not judged"
        yield warning("rates", text, grant)


def _pooler(connector: Connector) -> Iterator[Finding]:
    leader = PostgresLeader(connector)
    try:
        leader.verify()
    except DatabaseFault as fault:
        if fault.reason is not Reason.CONTRACT:
            raise
        yield error("pooler", fault.message, "set [database] host and port to PostgreSQL's own")
    else:
        yield ok("pooler", "a session keeps its server process: locks hold")
    finally:
        leader.release()


def _installation(connector: Connector) -> Iterator[Finding]:
    session = Session(connector)
    try:
        reader = PostgresStatusReader(session, "get_analytics_refresh_status", VIEWS)
        for problem in reader.installation_problems():
            text, _, remedy = problem.partition(": ")
            yield error("installation", text, remedy or None)
        for name in reader.views_of_others():
            yield warning(
                "installation",
                f"{connector.settings.app_schema}.{name} is kept by another query than ours",
                "`analytics-refreshd migrate --status` shows the difference, `migrate --replace` builds it again",
            )
    finally:
        session.close()


def _cron(connection: BoundedConnection, settings: CheckSettings) -> Iterator[Finding]:
    readable = connection.execute(blocks("check/check.sql")["cron_readable"]).fetchone()
    if not readable or not readable[0]:
        return
    names = [settings.function.rpartition(".")[2], settings.view_function.rpartition(".")[2], *settings.views]
    with suppress(psycopg.errors.UndefinedColumn):
        for job, schedule, command in connection.execute(blocks("check/check.sql")["cron_jobs"]).fetchall():
            text = str(command).lower()
            if "refresh" in text and any(name.lower() in text for name in names):
                yield warning(
                    "pg_cron",
                    f"job {job} ({printable(str(schedule))[:60]}) refreshes these views too: they wait for each other",
                    "leave it until `analytics-refreshd status` shows fresh views, then follow"
                    " deploy/guides/from-pg-cron.md",
                )
