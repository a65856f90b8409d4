"""What a role that may create leaves behind under our names, and who ran it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

Connection = psycopg.Connection[Any]

# a sequence too: what it counts outlives the transaction that is rolled back
_RECORD = """
create schema evil;
grant usage on schema evil to public;
create table evil.ran (what text, ran_as text, asked_by text);
create sequence evil.others;
grant insert on evil.ran to public;
grant usage on sequence evil.others to public;
create function evil.record(what text) returns boolean language plpgsql as $$
begin
    if current_user::text <> {author} then
        begin
            perform pg_catalog.nextval('evil.others');
            insert into evil.ran values (what, current_user, session_user);
        exception when others then
            raise exception using errcode = 'ZZ666', message = what || ' ran as ' || current_user;
        end;
    end if;
    return true;
end $$;
create function evil.fire() returns trigger language plpgsql as $$
begin
    perform evil.record(tg_name || ' on ' || tg_table_name);
    if tg_level = 'STATEMENT' or tg_op = 'DELETE' then return null; end if;
    return new;
end $$;
"""

# every name that a function or a statement of ours resolves, taken by a view, a table or a function
_RELATIONS = (
    "schema_version", "installation", "last_refresh", "runs", "view_results", "alerts", "deliveries", "pauses",
    "incremental", "deltas", "rebuild_marks", "cells", "hour_cells", "trigger_cells", "type_cells", "duration_counts",
    "retry_counts", "duration_stats", "window_edge", "type_window", "view_changes", "view_refreshes",
)  # fmt: skip
_FUNCTIONS = (
    "fold() returns table (rows_folded bigint, seconds double precision)",
    "capture_now() returns text", "view_due(view text) returns bigint", "view_checked(view text) returns bigint",
    "view_refreshed(view text, version bigint) returns text", "rebuild_step() returns double precision",
    "pause(interval, text) returns timestamptz", "resume() returns integer", "is_part(relation oid) returns boolean",
)  # fmt: skip
_COLUMNS = """
    'recent_failures'::text as view_name, 1::bigint as version, now() as last_success_at, now() as last_checked_at,
    1 as duration_ms, 1::bigint as rows_refreshed, 'incremental'::text as mode, 'public'::text as app_schema,
    true as built, ''::text as capture, 1::bigint as mark_id, 'x'::text as reason"""


def our_schema() -> str:
    """A schema of our name in which everything that is read or called records who did."""
    parts = ["create schema analytics_refresh; grant usage on schema analytics_refresh to public;"]
    for name in _RELATIONS:
        parts.append(
            f"create view analytics_refresh.{name} as select {_COLUMNS} where evil.record('view {name}');"
            f"create trigger {name} instead of insert or update or delete on analytics_refresh.{name}"
            " for each row execute function evil.fire();"
            f"create rule {name} as on insert to analytics_refresh.{name}"
            f" where evil.record('rule {name}') do also nothing;"
        )
    for signature in _FUNCTIONS:
        name = signature.split("(")[0]
        parts.append(
            f"create function analytics_refresh.{signature} language plpgsql as"
            f" $$ begin perform evil.record('function {name}'); return{' next' if 'table' in signature else ' null'};"
            f" end $$;"
        )
    parts.append("grant all on all tables in schema analytics_refresh to public;")
    return "".join(parts)


# tables as ours are, with policies, triggers and defaults
OUR_TABLES = (
    "create schema analytics_refresh; grant usage on schema analytics_refresh to public;"
    "create table analytics_refresh.last_refresh (view_name text primary key, last_success_at timestamptz,"
    " last_checked_at timestamptz, duration_ms integer, rows_refreshed bigint,"
    " bad boolean default evil.record('default'));"
    "insert into analytics_refresh.last_refresh values ('recent_failures', now(), now(), 1, 1);"
    "create table analytics_refresh.deltas (sign smallint, executed_at timestamptz, trigger_id text, action_type text,"
    " status text, duration_ms integer, retry_count integer, bad boolean default evil.record('default'));"
    + "".join(
        f"alter table analytics_refresh.{name} enable row level security;"
        f"create policy bad on analytics_refresh.{name} using (evil.record('policy'));"
        f"create trigger bad before insert or update on analytics_refresh.{name} execute function evil.fire();"
        f"grant all on analytics_refresh.{name} to public;"
        for name in ("last_refresh", "deltas")
    )
)

# types instead of tables, which a function's variables may be of
OUR_TYPES = (
    "create schema analytics_refresh; grant usage on schema analytics_refresh to public;"
    "create domain analytics_refresh.incremental as pg_catalog.text check (evil.record('domain'));"
    "create domain analytics_refresh.type_window as pg_catalog.text[] check (evil.record('domain'));"
)

# in the application's schema: operators, types, casts, functions, and tables with defaults, rules, policies and indexes
_IN_APP = """
create function public.bad_less(double precision, integer) returns boolean language plpgsql as
    $$ begin return evil.record('<(float8, int)') and $1 < $2::double precision; end $$;
create operator public.< (leftarg = double precision, rightarg = integer, function = public.bad_less);
create function public.bad_equal(text, character varying) returns boolean language plpgsql as
    $$ begin perform evil.record('=(text, varchar)'); return $1 operator(pg_catalog.=) $2::text; end $$;
create operator public.= (leftarg = text, rightarg = character varying, function = public.bad_equal);
create function public.bad_concat(text, oid) returns text language plpgsql as
    $$ begin perform evil.record('||(text, oid)'); return $1; end $$;
create operator public.|| (leftarg = text, rightarg = oid, function = public.bad_concat);
create function public.format(text, text, text) returns text language plpgsql as
    $$ begin perform evil.record('format'); return ''; end $$;
create function public.clock_timestamp() returns timestamptz language plpgsql as
    $$ begin perform evil.record('clock_timestamp'); return null; end $$;
create function public.to_regclass(text) returns regclass language plpgsql as
    $$ begin perform evil.record('to_regclass'); return null; end $$;
create function public.allowed(pg_catalog.text) returns boolean language plpgsql as
    $$ begin return evil.record('domain'); end $$;
create domain public.timestamptz as pg_catalog.timestamptz check (evil.record('domain timestamptz'));
create type public.text as enum ('x');
create type evil.stamp as (at pg_catalog.timestamptz);
create function evil.stamp_time(evil.stamp) returns pg_catalog.timestamptz language plpgsql as
    $$ begin perform evil.record('cast'); return $1.at; end $$;
create cast (evil.stamp as pg_catalog.timestamptz) with function evil.stamp_time(evil.stamp) as implicit;
create function evil.indexed(pg_catalog.text) returns pg_catalog.text immutable language plpgsql as
    $$ begin perform evil.record('index'); return $1; end $$;
create table public.last_refresh (view_name pg_catalog.text default evil.record('default')::pg_catalog.text, n integer);
create index on public.last_refresh (evil.indexed(view_name));
create table public.deltas (sign smallint check (evil.record('check')));
create table public.added (executed_at integer default 1 check (evil.record('added')));
create view public.removed as select evil.record('removed') as executed_at;
create rule bad as on insert to public.deltas do also select evil.record('rule');
create policy bad on public.last_refresh using (evil.record('policy'));
alter table public.last_refresh enable row level security;
grant all on public.last_refresh, public.deltas, public.added, public.removed to public;
"""

# functions of our names and signatures, there first
_CONTRACT = """
create function public.refresh_action_analytics_view(inout view_name pg_catalog.text, out refresh_duration_ms integer,
    out rows_refreshed bigint, out success boolean, out error_message pg_catalog.text) language plpgsql as
    $$ begin perform evil.record('view function'); end $$;
create function public.refresh_action_analytics() returns table (view_name pg_catalog.text, refresh_duration_ms integer,
    rows_refreshed bigint, success boolean, error_message pg_catalog.text) language plpgsql as
    $$ begin perform evil.record('refresh function'); end $$;
create function public.get_analytics_refresh_status() returns table (view_name pg_catalog.text, row_count bigint,
    size_bytes bigint, last_refresh pg_catalog.timestamptz, age_minutes integer) language plpgsql security definer as
    $$ begin perform evil.record('status function'); end $$;
"""


class Author:
    """A role with CREATE on the database and on the application's schema, on a connection of its own."""

    def __init__(self, admin: Connection, dsn: str, name: str) -> None:
        self.name = name
        self.dsn = make_conninfo(dsn, user=name)
        admin.execute(
            f"create role {name} login; grant create, usage on schema public to {name};"
            f" do $$ begin execute format('grant create on database %I to {name}', current_database()); end $$"
        )
        # who waits for a migration's end would wait for its own
        self.connection: Connection = psycopg.connect(self.dsn, autocommit=True, options="-c lock_timeout=100ms")
        self.connection.execute(_RECORD.replace("{author}", f"'{name}'"))

    def plant(self) -> None:
        """Leave everything in the application's schema."""
        self.connection.execute(_IN_APP)

    def plant_functions(self) -> None:
        """Leave functions of our names in the application's schema."""
        self.connection.execute(_CONTRACT)

    def take_our_schema(self) -> None:
        """Create the schema of our name. Raises psycopg.Error where there is one."""
        self.connection.execute(our_schema())

    def try_everything(self) -> None:
        """What a role that waits for its moment tries, at any moment."""
        attempts = (
            our_schema(),
            "create table analytics_refresh.deltas ()",
            "create function analytics_refresh.fold() returns boolean language sql as $$ select evil.record('fold') $$",
            "create table public.idx_recent_failures_soon ()",
            "create trigger bad after insert on public.action_results execute function evil.fire()",
            "create event trigger bad on ddl_command_end execute function evil.fire()",
            "create cast (pg_catalog.text as pg_catalog.timestamptz) with inout as implicit",
        )
        for attempt in attempts:
            with suppress(psycopg.Error):
                self.connection.execute(attempt)

    def ran(self) -> list[tuple[Any, ...]]:
        """What ran as somebody else: what, as whom, asked by whom; once more what was rolled back with its record."""
        found = self.connection.execute("select distinct what, ran_as, asked_by from evil.ran order by 1, 2").fetchall()
        (called,) = self.connection.execute("select is_called from evil.others").fetchone() or (False,)
        return found or ([("something", "somebody", "rolled back")] if called else [])


@contextmanager
def author(admin: Connection, dsn: str, name: str) -> Iterator[Author]:
    """An author, gone at the end with all that it made in this database."""
    made = Author(admin, dsn, name)
    try:
        yield made
    finally:
        made.connection.close()
        admin.execute(f"drop owned by {name} cascade; drop role {name}")
