"""What `check` finds in databases of every kind, and that its remedies are remedies."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.check.contract import view_findings
from analytics_refreshd.postgres.check.run import CheckSettings, Finding, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.adapters import connector, refresher, status_reader
from tests.support.daemon import command
from tests.support.installs import install_older, put_older_function_back
from tests.support.postgres import free_port

Connection = psycopg.Connection[Any]


def _now() -> datetime:
    return datetime.now(UTC)


def check(dsn: str, **settings: Any) -> list[Finding]:
    return run_checks(connector(dsn), CheckSettings(**settings), _now)


def named(findings: list[Finding], name: str, level: Level) -> list[str]:
    return [finding.text for finding in findings if (finding.name, finding.level) == (name, level)]


@pytest.fixture
def role(connection: Connection) -> Iterator[str]:
    """A role of its own that can log in, and nothing else."""
    name = f"check_{uuid4().hex[:8]}"
    connection.execute(sql.SQL("create role {} login").format(sql.Identifier(name)))
    connection.execute("revoke execute on all functions in schema public, analytics_refresh from public")
    yield name
    connection.execute(sql.SQL("drop owned by {}").format(sql.Identifier(name)))
    connection.execute(sql.SQL("drop role {}").format(sql.Identifier(name)))


def test_a_fresh_install_is_fine(dsn: str) -> None:
    """On a migrated database everything is well, but for the superuser that a test connects as, who owns it all."""
    findings = check(dsn)
    assert [finding for finding in findings if finding.level is Level.ERROR] == []
    assert {finding.name for finding in findings if finding.level is Level.WARNING} == {"role", "owners"}
    assert {finding.name for finding in findings} == {
        "connection", "tls", "server", "clock", "role", "pooler", "views", "functions", "rights", "status",
        "schema", "owners",
    }  # fmt: skip


@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_what_belongs_to_a_superuser_is_told_with_commands_that_mend_it(
    dsn: str, connection: Connection, mode: str
) -> None:
    """The tables and views of a superuser make our functions act as one; the remedy, typed as it stands, ends that."""
    if mode == "incremental":
        incremental.install(connection)
    (found,) = [finding for finding in check(dsn) if finding.name == "owners"]
    assert found.level is Level.WARNING
    assert found.text.startswith("action_results, action_metrics_hourly, action_type_distribution, recent_failures, ")
    assert "belong to the superuser postgres" in found.text
    assert found.remedy is not None
    commands, _, programs = found.remedy.partition(" then run ")
    try:
        connection.execute(commands)
        (views,) = [finding for finding in check(dsn) if finding.name == "owners"]
        assert "action_results" not in views.text
        assert programs.startswith("`analytics-refreshd migrate` as a superuser")
        migrate(connection)
        assert ("--incremental" in programs) is (mode == "incremental")
        if mode == "incremental":
            incremental.install(connection)
        assert [finding.text for finding in check(dsn) if finding.name == "owners"] == []
        assert [finding.text for finding in check(dsn) if finding.level is Level.ERROR] == []
        assert connection.execute("select bool_and(success) from refresh_action_analytics()").fetchone() == (True,)
    finally:
        connection.execute("reassign owned by analytics_owner to postgres; drop owned by analytics_owner")
        connection.execute("drop role analytics_owner")


def test_a_database_out_of_reach_is_one_error() -> None:
    """Where nothing answers there is one finding, and it says why."""
    findings = check(f"postgresql://postgres@127.0.0.1:{free_port()}/x")
    assert [(finding.name, finding.level) for finding in findings] == [("connection", Level.ERROR)]
    assert "refused" in findings[0].text


@pytest.mark.fault
@pytest.mark.parametrize("mode", ["plain", "incremental"])
@pytest.mark.slow
def test_H12_the_printed_grants_are_all_that_is_missing(dsn: str, connection: Connection, role: str, mode: str) -> None:
    """Pasting the grants that a bare role is told of, until none is left, makes a role that the daemon works with."""
    if connection.info.server_version < 170000:
        pytest.skip("before PostgreSQL 17 there is no MAINTAIN to grant")
    if mode == "incremental":
        incremental.install(connection)
        verify(connection)
        connection.execute("revoke execute on all functions in schema public from public")
    poor = make_conninfo(dsn, user=role)
    pasted: list[str] = []
    for _ in range(6):
        findings = check(poor)
        grants = [
            finding.remedy
            for finding in findings
            if finding.remedy and finding.remedy.startswith("GRANT ") and finding.remedy not in pasted
        ]
        for grant in grants:
            connection.execute(grant)
        pasted += grants
    # the tables are a superuser's here
    assert [finding.name for finding in findings if finding.level is not Level.OK] == ["owners"]
    with refresher(poor) as refresh:
        assert all(report.success for report in refresh.refresh(uuid4(), lambda pid: None).reports)
    with status_reader(poor) as reader:
        assert reader.delta().mode == mode
        assert all(view.recorded_at for view in reader.read().views)


@pytest.mark.slow
def test_an_overdue_verification_is_told(dsn: str, connection: Connection) -> None:
    """Rollups that nobody compared, or not for three days, are a warning; a verification ends it."""
    incremental.install(connection)

    def told() -> list[str]:
        return [each.text for each in check(dsn) if each.name == "incremental" and each.level is Level.WARNING]

    assert told() == ["the rollups were not compared with the plain definitions"]
    verify(connection)
    assert told() == []
    connection.execute("update analytics_refresh.incremental set verified_at = verified_at - interval '73 hours'")
    assert ["not since" in each for each in told()] == [True]


def test_each_missing_right_names_its_grant(dsn: str, connection: Connection, role: str) -> None:
    """A bare role is told every right that it lacks, quoted and ready to paste."""
    remedies = {finding.remedy for finding in check(make_conninfo(dsn, user=role)) if finding.level is Level.ERROR}
    assert f'GRANT USAGE ON SCHEMA analytics_refresh TO "{role}";' in remedies
    assert f'GRANT SELECT (id) ON "public"."recent_failures" TO "{role}";' in remedies
    assert f'GRANT SELECT ON "public"."action_metrics_hourly" TO "{role}";' in remedies
    assert f'GRANT EXECUTE ON FUNCTION "public"."refresh_action_analytics"() TO "{role}";' in remedies
    maintain = [remedy for remedy in remedies if remedy and "MAINTAIN" in remedy]
    if connection.info.server_version < 170000:
        # the functions act with their owner's rights there
        assert maintain == []
    else:
        assert len(maintain) == 1
        assert all(view in maintain[0] for view in VIEWS)


@pytest.mark.slow
def test_who_may_not_pause_is_told_so_and_shown_the_grant(dsn: str, connection: Connection, role: str) -> None:
    """Without EXECUTE, pause and resume fail, each in its own word, as no wrong usage; check prints what is missing."""
    poor = make_conninfo(dsn, user=role)
    asked = [("pause", "--for", "1h", "--reason", "x"), ("resume",)]
    connection.execute(
        sql.SQL(
            "grant usage on schema analytics_refresh to {0};"
            " grant select, insert, update on analytics_refresh.pauses to {0}"
        ).format(sql.Identifier(role))
    )
    for words in asked:
        refused = command(poor, *words)
        assert (refused.returncode, f"may not {words[0]} (permission denied" in refused.stderr) == (1, True)
    remedies = [finding.remedy for finding in check(poor) if finding.name == "pause"]
    assert len(remedies) == 2
    for remedy in remedies:
        connection.execute(remedy)  # type: ignore[arg-type]
    assert named(check(poor), "pause", Level.WARNING) == []
    assert [command(poor, *words).returncode for words in asked] == [0, 0]
    connection.execute("drop schema analytics_refresh cascade")
    missing = command(dsn, "resume")
    assert (missing.returncode, "`analytics-refreshd migrate` adds" in missing.stderr) == (1, True)


@pytest.mark.slow
def test_a_database_without_views_is_told_once_what_to_do(application_dsn: str) -> None:
    """Where nothing is installed, nobody is said to have rights on it, and `migrate` is named once."""
    shown = command(application_dsn, "check").stdout
    assert shown.count("run `analytics-refreshd migrate`") == 1
    assert "  views, functions, schema: run `analytics-refreshd migrate`" in shown
    assert "may refresh the views" not in shown
    assert "deploy/sql/grants.sql and connect as it" in shown
    assert "or all that the daemon's role needs" not in shown


@pytest.mark.slow
def test_a_bare_role_is_told_of_the_script_that_grants_it_all(dsn: str, role: str) -> None:
    """After the single grants comes the script, once."""
    lines = command(make_conninfo(dsn, user=role), "check").stdout.splitlines()
    assert lines[-1] == "  or all that the daemon's role needs, as the owner of the views: deploy/sql/grants.sql"
    assert sum("grants.sql" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("statement", "level", "name", "text"),
    [
        ("drop index idx_recent_failures_unique", Level.ERROR, "views", "public.recent_failures has no unique index"),
        ("drop index idx_recent_failures_unique; create unique index part on recent_failures (id) where id > 'a'",
         Level.ERROR, "views", "the unique index part of public.recent_failures has a WHERE clause"),
        ("update pg_index set indisvalid = false where indexrelid = 'idx_recent_failures_unique'::regclass",
         Level.ERROR, "views", "the index idx_recent_failures_unique of public.recent_failures is invalid"),
        ("refresh materialized view recent_failures with no data", Level.ERROR, "views", "was never filled"),
        ("drop materialized view recent_failures", Level.ERROR, "views", "there is no view public.recent_failures"),
        ("drop materialized view recent_failures; create view recent_failures as select 1 as id",
         Level.ERROR, "views", "public.recent_failures is no materialized view"),
        ("drop materialized view recent_failures; create materialized view recent_failures as select 'a'::text as id;"
         " create unique index on recent_failures (id)",
         Level.ERROR, "views", "public.recent_failures lacks the columns job_id, trigger_id"),
        ("drop function refresh_action_analytics()", Level.ERROR, "functions",
         "there is no function refresh_action_analytics()"),
        ("drop function get_analytics_refresh_status(); create function get_analytics_refresh_status()"
         " returns table (view_name text, row_count bigint) language sql as $$ select 'a'::text, 1::bigint $$",
         Level.ERROR, "functions", "get_analytics_refresh_status does not return size_bytes, last_refresh"),
        ("alter function refresh_action_analytics() security definer reset search_path", Level.WARNING, "functions",
         "refresh_action_analytics runs with its owner's rights and its caller's search_path"),
        ("insert into analytics_refresh.schema_version (version, name) select max(version) + 1, 'x'"
         " from analytics_refresh.schema_version", Level.OK, "schema", "one newer than this program's"),
        ("insert into analytics_refresh.schema_version (version, name) select max(version) + 2, 'x'"
         " from analytics_refresh.schema_version", Level.ERROR, "schema", "this program knows up to"),
        ("delete from analytics_refresh.schema_version where version > 1", Level.WARNING, "schema", "version 1, and"),
        ("drop table analytics_refresh.deliveries", Level.ERROR, "schema", "analytics_refresh lacks deliveries"),
        ("drop schema analytics_refresh cascade", Level.WARNING, "schema", "no schema analytics_refresh"),
        ("select analytics_refresh.pause('1 hour', 'index rebuild')", Level.WARNING, "pause", "index rebuild"),
        ("create schema cron; create table cron.job (jobid bigint, schedule text, command text, database text,"
         " active boolean); insert into cron.job values (7, '*/5 * * * *', 'select refresh_action_analytics()',"
         " current_database(), true), (8, '* * * * *', 'vacuum', current_database(), true)",
         Level.WARNING, "pg_cron", "job 7 (*/5 * * * *) refreshes these views too"),
    ],
)  # fmt: skip
@pytest.mark.slow
def test_what_is_wrong_is_found(
    dsn: str, connection: Connection, statement: str, level: Level, name: str, text: str
) -> None:
    """Each thing that can be wrong with the database is one finding of its level, in words, with a remedy."""
    connection.execute(statement)
    findings = check(dsn)
    found = [finding for finding in findings if finding.name == name and text in finding.text]
    assert [finding.level for finding in found] == [level], findings
    assert level is Level.OK or found[0].remedy
    # a view created by hand is one finding more
    others = [each for each in findings if each.level is Level.ERROR and each.name not in (name, "installation")]
    assert others == []


def test_a_cron_job_is_not_deleted_before_the_guide_says_so(dsn: str, connection: Connection) -> None:
    """The remedy for a job of pg_cron is the guide that hands over without a gap, and no statement to paste."""
    connection.execute(
        "create schema cron; create table cron.job (jobid bigint, schedule text, command text, database text, active"
        " boolean); insert into cron.job values (7, '*', 'select refresh_action_analytics()', current_database(), true)"
    )
    (remedy,) = [finding.remedy for finding in check(dsn) if finding.name == "pg_cron"]
    assert remedy is not None
    assert "deploy/guides/from-pg-cron.md" in remedy
    assert "unschedule" not in remedy


def test_an_older_install_is_told_its_faults(application_dsn: str) -> None:
    """An older install works, and its functions' two lies are named."""
    with psycopg.connect(application_dsn, autocommit=True) as admin:
        install_older(admin)
        admin.execute("select * from refresh_action_analytics()")
    findings = check(application_dsn)
    assert [finding for finding in findings if finding.level is Level.ERROR] == []
    assert any(
        "seconds of a duration without its minutes" in text for text in named(findings, "functions", Level.WARNING)
    )
    assert any("time of a VACUUM" in text for text in named(findings, "functions", Level.WARNING))
    by_view = check(application_dsn, isolation="view")
    assert any("by a plain statement" in text for text in named(by_view, "functions", Level.WARNING))


def test_remedies_for_indexes_work(dsn: str, connection: Connection) -> None:
    """The printed CREATE INDEX makes the view refreshable again."""
    connection.execute("drop index idx_action_metrics_hourly_unique")
    (finding,) = [finding for finding in check(dsn) if finding.level is Level.ERROR]
    assert finding.remedy is not None
    connection.execute(finding.remedy)
    assert [finding for finding in check(dsn) if finding.level is Level.ERROR] == []


def test_an_absent_application_schema(application_dsn: str) -> None:
    """A wrong [database] schema is named as such."""
    findings = run_checks(connector(application_dsn, app_schema="nowhere"), CheckSettings(), _now)
    assert any("there is no schema nowhere" in text for text in named(findings, "role", Level.ERROR))


def test_clocks_that_differ(dsn: str) -> None:
    """A clock that is off by more than 5 s is a warning that says by how much and which way."""
    findings = run_checks(connector(dsn), CheckSettings(), lambda: _now() - timedelta(minutes=2))
    (text,) = named(findings, "clock", Level.WARNING)
    assert "ahead of this machine's" in text
    assert "120 s" in text


def test_a_connection_limit_that_is_too_low(dsn: str, connection: Connection, role: str) -> None:
    """A role that may not open the connections that the daemon needs is told so."""
    connection.execute(sql.SQL("alter role {} connection limit 2").format(sql.Identifier(role)))
    findings = check(make_conninfo(dsn, user=role))
    assert any("connection limit is 2" in text for text in named(findings, "role", Level.ERROR))


def test_dead_rows_are_a_warning() -> None:
    """A view of which most is dead rows says that autovacuum lags."""
    row = {
        "kind": "m", "columns": ["id"], "usable_index": True, "invalid_indexes": [], "partial_indexes": [],
        "narrow_columns": [], "populated": True, "may_select": True, "dead_rows": 50_000, "live_rows": 400,
    }  # fmt: skip
    findings = list(view_findings("mine", row, "public", "x"))
    assert [finding.level for finding in findings] == [Level.WARNING, Level.OK]
    assert "50000 dead rows" in findings[0].text


@pytest.mark.fault
@pytest.mark.slow
def test_L01_a_function_that_was_replaced_is_an_error(dsn: str, connection: Connection) -> None:
    """In incremental mode `check` names what was put in the place of a function of ours, and what puts ours back."""
    incremental.install(connection)
    assert named(check(dsn), "incremental", Level.ERROR) == []
    put_older_function_back(connection)
    connection.execute("create or replace function analytics_refresh.view_checked(view text) returns bigint"
                       " language sql as 'select 1::bigint'")  # fmt: skip
    found = named(check(dsn), "incremental", Level.ERROR)
    assert [text.split(" is not the function")[0] for text in found] == [
        "analytics_refresh.view_checked(text)",
        "public.refresh_action_analytics()",
    ]
    # an installation before functions were recorded: what folds nothing is seen all the same
    connection.execute("alter table analytics_refresh.incremental drop column functions")
    assert [text.split(" ")[0] for text in named(check(dsn), "incremental", Level.ERROR)] == [
        "public.refresh_action_analytics()"
    ]
    assert command(dsn, "migrate").returncode == 0
    assert named(check(dsn), "incremental", Level.ERROR) == []


@pytest.mark.slow
@pytest.mark.fault
def test_L01_changes_that_nobody_folds_are_an_error(dsn: str, connection: Connection) -> None:
    """Where changes wait and the last fold is longer ago than a view may be old, `check` says since when."""
    incremental.install(connection)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('1', 'j', 'rest', 'success')"
    )
    assert named(check(dsn), "incremental", Level.ERROR) == []
    connection.execute("update analytics_refresh.incremental set folded_at = now() - interval '20 minutes'")
    (text,) = named(check(dsn), "incremental", Level.ERROR)
    assert text.startswith("1 changed rows wait, and none was folded since")
    assert named(check(dsn, max_age_seconds=3600), "incremental", Level.ERROR) == []
