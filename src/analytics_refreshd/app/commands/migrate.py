"""What `migrate` does, each time over a connection of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import api_secret, connection_settings, retention_settings
from analytics_refreshd.postgres.connection.bounded import BoundedConnection
from analytics_refreshd.postgres.connection.connector import Connector, Profile
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental import verify as verification
from analytics_refreshd.postgres.incremental.install import InstallProgress
from analytics_refreshd.postgres.incremental.verify import VerifyReport
from analytics_refreshd.postgres.migrate import run
from analytics_refreshd.postgres.migrate.run import MigrationReport, Populating
from analytics_refreshd.postgres.tenants.install import note_secret, secret_noted

__all__ = ["InstallProgress", "MigrationReport", "Populating", "VerifyReport"]

_NOTHING_TO_NOTE = (
    "the API has no secret ([api] secret_file), and sees nothing until `migrate --tenants` has run "
    "with the one that its processes have"
)
_NOTED_APART = "what [api] secret_file holds is not printed: `migrate --tenants` without --dry-run notes it"
_Told = Callable[[InstallProgress], None]


@contextmanager
def connected(config: Config, *, any_schema: bool = False) -> Iterator[BoundedConnection]:
    """An idle autocommit connection without a time limit: building views takes as long as the log is large."""
    profile = Profile(statement_timeout_seconds=0.0, lock_timeout_seconds=0.0, idle_in_transaction_seconds=0.0)
    connection = Connector(connection_settings(config)).connect("migrate", profile, any_schema=any_schema)
    try:
        yield connection
    finally:
        connection.close()


def planned(config: Config, *, tenants: bool, redact: bool | None) -> MigrationReport:
    """Say what `migrate` would do; changes nothing."""
    with connected(config) as connection:
        return run.status(connection, config.database.db_schema, tenants=tenants, redact=redact)


def as_sql(
    config: Config, *, recreate_views: bool, accept_publication: bool, tenants: bool, redact: bool | None
) -> str:
    """Print what `migrate` would execute, as psql takes it; changes nothing."""
    with connected(config) as connection:
        script = run.dry_run(
            connection,
            config.database.db_schema,
            recreate_views=recreate_views,
            accept_publication=accept_publication,
            tenants=tenants,
            redact=redact,
        )
    return f"{script}-- {_NOTED_APART}\n" if tenants else script


def subscriber_sql(config: Config, *, tenants: bool) -> str:
    """Print what a subscriber needs to go on receiving; changes nothing."""
    with connected(config) as connection:
        return run.subscriber_sql(connection, config.database.db_schema, tenants=tenants)


def uninstall(config: Config, *, discard_frozen: date | None) -> tuple[str, ...]:
    """Drop our schema, whichever it serves; returns what was dropped."""
    with connected(config, any_schema=True) as connection:
        return run.uninstall(connection, config.database.db_schema, discard_frozen=discard_frozen)


def migrate(
    config: Config,
    *,
    recreate_views: bool,
    accept_publication: bool,
    tenants: bool = False,
    redact: bool | None = None,
    populating: Callable[[Populating], None],
    told: _Told,
) -> MigrationReport:
    """Bring the database to this version. In incremental mode its functions and triggers follow."""
    schema = config.database.db_schema
    with connected(config) as connection:
        report = run.migrate(
            connection,
            schema,
            progress=populating,
            recreate_views=recreate_views,
            accept_publication=accept_publication,
            tenants=tenants,
            redact=redact,
        )
        if tenants and report.found != "newer":
            report = _with_secret(connection, config, report)
        if report.mode == "incremental" and report.found != "newer":
            renewed = incremental.install(
                connection,
                schema,
                progress=told,
                accept_publication=accept_publication,
                retention=retention_settings(config),
            )
            report = replace(report, steps=(*report.steps, *renewed))
        return report


def _with_secret(connection: BoundedConnection, config: Config, report: MigrationReport) -> MigrationReport:
    """Note the secret of the API."""
    secret = api_secret(config)
    if secret is None:
        warnings = () if secret_noted(connection, config.database.db_schema) else (_NOTHING_TO_NOTE,)
        return replace(report, warnings=(*report.warnings, *warnings))
    if not note_secret(connection, config.database.db_schema, secret):
        return report
    return replace(report, steps=(*report.steps, "note the secret of the API"))


def switch(
    config: Config,
    *,
    to_incremental: bool,
    replace: bool,
    accept_publication: bool,
    discard_frozen: date | None,
    told: _Told,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Change the mode; returns the steps done, and warnings.

    With `replace` also views that differ from ours, or that others depend on, are built again. `discard_frozen` is the
    day of the horizon where frozen figures are to go.
    """
    schema = config.database.db_schema
    with connected(config) as connection:
        if not to_incremental:
            done = incremental.uninstall_to_plain(
                connection, schema, progress=told, replace=replace, discard_frozen=discard_frozen
            )
            return done, ()
        done = incremental.install(
            connection,
            schema,
            progress=told,
            replace=replace,
            accept_publication=accept_publication,
            retention=retention_settings(config),
        )
        # in this mode already, views are kept by the switch
        report = run.migrate(connection, schema, recreate_views=replace, accept_publication=accept_publication)
        return (*done, *report.steps), report.warnings


def verify(config: Config) -> VerifyReport:
    """Compare the rollups with the plain definitions."""
    with connected(config) as connection:
        return verification.verify(connection, config.database.db_schema)


def rebuild(config: Config, *, told: _Told) -> VerifyReport:
    """Build the rollups from the table, then compare again."""
    schema = config.database.db_schema
    with connected(config) as connection:
        incremental.rebuild(connection, schema, reason="a verification found differences", progress=told)
        return verification.verify(connection, schema)
