"""Fill the demo's database, and build the views."""

import time
from datetime import UTC, datetime
from random import Random

import psycopg

from analytics_refreshd.demo import DEFAULT_ROWS, DemoError, loading
from analytics_refreshd.demo.actions import Generator, make_bursts
from analytics_refreshd.demo.csvlog import ActionLog
from analytics_refreshd.demo.options import DemoOutput, Options
from analytics_refreshd.demo.server import Server
from analytics_refreshd.demo.world import make_world
from analytics_refreshd.postgres.migrate.run import migrate

SEED = 1


def fill(server: Server, options: Options, log: ActionLog | None, output: DemoOutput) -> bool:
    """Load what the database lacks, and migrate its schema.

    Returns whether its actions are generated. Raises DemoError.
    """
    try:
        return _fill(server, options, log, output)
    except psycopg.Error as error:
        raise DemoError(f"PostgreSQL cannot hold the demo: {error.diag.message_primary or error}") from error


def _fill(server: Server, options: Options, log: ActionLog | None, output: DemoOutput) -> bool:
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
        world = make_world(SEED)
        loading.load_world(connection, world, now)
        generator = Generator(world, Random(SEED), make_bursts(SEED, now))  # noqa: S311
        actions = generator.history(rows, now)
    with output.loading(rows) as progress:
        loading.load_actions(connection, actions, progress)
    connection.execute(loading.statement("analyze"))
    connection.commit()
    source = f"of {options.log_file}, shifted so that the last one is now" if log else "of the last 30 days"
    output.note(f"Loaded {rows:,} actions {source}, in {time.monotonic() - begun:.1f} s.")
