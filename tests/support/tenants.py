"""A database with two tenants whose every text tells whose it is, and the API's role behind the wall."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg

from analytics_refreshd.postgres.migrate.run import migrate
from analytics_refreshd.postgres.tenants.install import note_secret
from tests.support.faults import as_role
from tests.support.installs import temporary_role

TENANTS = ("acme", "bolt")
SECRET = b"0123456789abcdef" * 2
SCHEMA = "analytics_api"
_TRIGGERS = """
insert into triggers (id, organization_id, name, enabled, created_at)
    select o || '-trigger-' || n, nullif(o, 'nobody'), o || ' name ' || n, n % 3 > 0, now() - interval '60 days'
    from unnest(array['acme', 'bolt', 'nobody']) o, generate_series(1, 4) n;
"""
_ACTIONS = """
insert into action_results (id, job_id, trigger_id, event_id, action_type, status, executed_at, duration_ms,
    error_message, response_data, retry_count)
    select o || '-action-' || n, o || '-job',
        case when n % 7 > 0 or o <> 'nobody' then o || '-trigger-' || (1 + n % 3) end,
        o || '-event', (array['rest', 'telegram', 'mcp'])[1 + n % 3],
        (array['success', 'success', 'failed', 'retrying'])[1 + n % 4],
        now() - n * interval '37 minutes', n % 900, case when n % 4 = 2 then o || ' broke' end,
        jsonb_build_object('of', o), n % 4
    from (values ('acme', 300), ('bolt', 170), ('nobody', 61)) v (o, rows), generate_series(1, v.rows) n;
"""


def add_organizations(connection: psycopg.Connection[Any], names: Mapping[str, str], *, plan: str = "free") -> None:
    """Insert organizations, their names by id, and the user "u" who owns them all."""
    connection.execute("insert into users (id, username) values ('u', 'u') on conflict do nothing")
    connection.execute(
        "insert into organizations (id, name, slug, owner_id, plan)"
        " select o, n, o, 'u', %s from unnest(%s::text[], %s::text[]) v (o, n)",
        (plan, list(names), list(names.values())),
    )


def fill(connection: psycopg.Connection[Any], *, again: bool = False) -> datetime:
    """Insert the tenants' rows, refresh the views, and return the time that queries ask for.

    `again` inserts actions alone.
    """
    if not again:
        add_organizations(connection, {tenant: f"{tenant} name" for tenant in TENANTS}, plan="pro")
        connection.execute(_TRIGGERS)
    connection.execute(_ACTIONS)
    connection.execute("select * from refresh_action_analytics()")
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    now: datetime = row[0]
    return now.astimezone(UTC)


@contextmanager
def walled(dsn: str, connection: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Install the wall with `SECRET`, and open a connection as a role of deploy/sql/api.sql."""
    from tests.integration.test_migrate_roles import psql

    migrate(connection, tenants=True)
    note_secret(connection, "public", SECRET)
    with temporary_role(connection) as role:
        psql(dsn, "api.sql", "-v", f"role={role}")
        with psycopg.connect(as_role(dsn, role), autocommit=True, options="-c timezone=UTC") as own:
            yield own
            # a session that ends drops its temporary functions when it likes, and `drop owned` meets it at that
            own.execute("discard temp")


def foreign(value: object, seen: tuple[str, ...]) -> bool:
    """Whether a value bears the mark of a tenant that is not seen, or of nobody."""
    text = str(value)
    return any(name in text for name in (*TENANTS, "nobody") if name not in seen)
