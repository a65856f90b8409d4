"""`erase`: what the log holds of somebody goes, everywhere, and nothing else; with a receipt, again after a restore."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.app.commands.erase import Mode, Scope, Subject, Wanted, preview
from analytics_refreshd.app.commands.erase import erase as run_erase
from analytics_refreshd.config import Config
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate, uninstall
from analytics_refreshd.postgres.retention.erasure import Begun, Erasure
from tests.conftest import create_application
from tests.integration.test_migrate_roles import psql
from tests.support.daemon import command
from tests.support.erasing import (
    CANARY,
    SETTINGS,
    copy_of,
    erase,
    fill,
    found_by_sql,
    found_in_files,
    make_key,
    receipt_of,
    started,
)
from tests.support.faults import as_role, value
from tests.support.installs import Connection
from tests.support.postgres import PROGRAMS, Server
from tests.support.waiting import eventually

_DAY = 86400.0


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key's file."""
    return make_key(tmp_path)


@pytest.fixture
def role(connection: Connection) -> Iterator[str]:
    """The name for the role of deploy/sql/erasure.sql; dropped at the end."""
    name = f"eraser_{value(connection, 'select current_database()')}"
    yield name
    if value(connection, "select count(*) from pg_roles where rolname = %s", name):
        connection.execute(f"drop owned by {name}")
        connection.execute(f"drop role {name}")


def granted(dsn: str, role: str) -> str:
    """Run erasure.sql, and return the database as its role sees it."""
    psql(dsn, "erasure.sql", "-v", f"role={role}")
    return as_role(dsn, role)


def figures(connection: Connection) -> list[Any]:
    """Every figure of the views that hold no text of a row."""
    found: list[Any] = []
    for view in ("action_metrics_hourly", "trigger_performance_summary", "action_type_distribution"):
        found += connection.execute(f"select * from {view} order by 1, 2, 3").fetchall()
    return found


def refresh(connection: Connection) -> None:
    """Refresh all views."""
    failed = connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    assert not failed


@pytest.mark.slow
def test_texts_and_ids_go_and_figures_stay(dsn: str, connection: Connection, key: Path, role: str) -> None:
    """The role of erasure.sql leaves nothing of the person in any table or view, and everything of the others."""
    fill(connection)
    refresh(connection)
    before = figures(connection)
    others = connection.execute("select * from action_results where trigger_id in ('other', 'nobody') order by id")
    untouched = others.fetchall()
    assert "public.recent_failures" in found_by_sql(connection)
    receipt = receipt_of(erase(granted(dsn, role), key, "--user", "person"))
    assert found_by_sql(connection, samples=False) == []
    assert figures(connection) == before
    left = connection.execute("select * from action_results where trigger_id in ('other', 'nobody') order by id")
    assert left.fetchall() == untouched
    assert "person" not in json.dumps(receipt)
    told = {name: receipt[name] for name in ("scope", "mode", "triggers", "rows_erased", "rows_left", "rows_unlinked")}
    assert told == {
        "scope": "user", "mode": "redact", "triggers": 2, "rows_erased": 12, "rows_left": 0, "rows_unlinked": 6,
    }  # fmt: skip
    assert (receipt["outcome"], receipt["actor"], receipt["texts_erased"]) == ("ok", role, 4)
    # equal ids stay equal, and no more than that
    hashed = connection.execute(
        "select count(distinct job_id), count(distinct event_id) from action_results"
    ).fetchone()
    assert hashed == (6, 2)
    assert value(connection, "select count(*) from analytics_refresh.runs where error is null") == 1


@pytest.mark.slow
def test_one_trigger_or_an_organization(dsn: str, connection: Connection, key: Path) -> None:
    """Only their rows are touched, also of a trigger that is gone."""
    fill(connection, ours=False)
    connection.execute("alter table action_results drop constraint action_results_trigger_id_fkey")
    connection.execute("delete from triggers where id = 'other'")
    assert receipt_of(erase(dsn, key, "--organization", "o1", "--mode", "delete"))["rows_erased"] == 6
    assert receipt_of(erase(dsn, key, "--trigger", "other", "--mode", "delete"))["rows_unlinked"] == 12
    left = connection.execute("select distinct trigger_id from action_results order by 1").fetchall()
    assert left == [("alone",), ("nobody",)]
    assert value(connection, "select count(*) from trigger_performance_summary") == 2


_KEPT = """
insert into analytics_refresh.api_questions (organization_id, name, address, kept_by) values
    ('o1', 'of the organization', '?page=growth', 'key_1'), (null, 'of all', '?page=growth', 'key_1'),
    (null, 'about it', '?organization=o1&page=growth', 'key_1'), (null, 'of another', '?organization=o12', 'key_1'),
    ('o2', 'of a member', '?page=growth', 'user:member'), ('o2', 'of a namesake', '?page=growth', 'member'),
    ('o2', 'about a trigger', '?page=triggers&trigger=alone', 'key_1'), ('o2', 'o1', '?search=organization%3Do1', 'k');
"""


def kept(connection: Connection) -> list[str]:
    """The names of all questions that people keep."""
    return [name for (name,) in connection.execute("select name from analytics_refresh.api_questions order by 1")]


@pytest.mark.slow
def test_questions_that_tell_of_them_go(dsn: str, connection: Connection, key: Path, role: str) -> None:
    """In either mode, also of who has no trigger, and again after a restore; of nobody else."""
    migrate(connection, tenants=True)
    fill(connection, ours=False)
    connection.execute(_KEPT)
    own = granted(dsn, role)
    receipt = receipt_of(erase(own, key, "--organization", "o1"))
    assert receipt["texts_erased"] == 2
    assert {"of the organization", "about it"}.isdisjoint(left := kept(connection))
    assert len(left) == 6
    done = erase(own, key, "--user", "member")
    assert receipt_of(done)["texts_erased"] == 1
    assert any("api_questions" in each for each in json.loads(done.stdout)["commands"])
    assert receipt_of(erase(own, key, "--user", "person", "--mode", "delete"))["texts_erased"] == 1
    assert kept(connection) == ["o1", "of a namesake", "of all", "of another"]
    given: dict[str, Any] = SETTINGS | {"retention__erasure_key_file": key}
    refused = command(own, "erase", "--user", "member", "--dry-run", **given)
    assert (refused.returncode, "no trigger belongs to this user" in refused.stderr) == (1, True)
    # as from a backup of before, and one that came later
    connection.execute("delete from analytics_refresh.api_questions")
    connection.execute(_KEPT.replace("kept_by)", "kept_by, kept_at)").replace("')", "', now() - interval '1 hour')"))
    connection.execute(
        "insert into analytics_refresh.api_questions (organization_id, name, address, kept_by)"
        " values ('o1', 'later', '?page=growth', 'key_1')"
    )
    again = json.loads(erase(own, key, "--replay").stdout)["receipts"]
    assert sorted(each["texts_erased"] for each in again) == [1, 1, 2]
    assert kept(connection) == ["later", "o1", "of a namesake", "of all", "of another"]


@pytest.mark.slow
def test_nothing_is_erased_unasked(dsn: str, connection: Connection, key: Path) -> None:
    """Without a key, a token, somebody to erase, or with another's token, all stays as it was."""
    fill(connection, ours=False)
    given: dict[str, Any] = SETTINGS | {"retention__erasure_key_file": key}
    shown = command(dsn, "erase", "--user", "person", "--dry-run", "--format", "json", **given)
    token = json.loads(shown.stdout)["token"]
    for words, status, said in (
        (("--user", "person"), 64, "--dry-run"),
        (("--user", "somebody", "--confirm", token), 64, "--dry-run"),
        (("--user", "person", "--mode", "delete", "--confirm", token), 64, "--dry-run"),
        (("--user", "person", "--trigger", "alone", "--dry-run"), 64, "give one of"),
        (("--receipts", "x", "--user", "person", "--dry-run"), 64, "--replay"),
        (("--user", "stranger", "--dry-run"), 1, "no trigger belongs to this user"),
    ):
        refused = command(dsn, "erase", *words, **given)
        assert (refused.returncode, said in refused.stderr) == (status, True), refused.stderr
    refused = command(dsn, "erase", "--user", "person", "--dry-run", **SETTINGS)
    assert (refused.returncode, "erasure_key_file" in refused.stderr) == (64, True)
    key.write_text("short")
    refused = command(dsn, "erase", "--user", "person", "--dry-run", **given)
    assert (refused.returncode, "at least 16 bytes" in refused.stderr) == (78, True)
    assert value(connection, "select count(*) from action_results where error_message like %s", f"{CANARY}%") == 12
    assert value(connection, "select count(*) from analytics_refresh.erasures") == 0


def freeze(connection: Connection) -> None:
    """Switch to the incremental mode, with the figures before 39 days frozen."""
    incremental.install(connection, retention=Retention(40 * _DAY))


@pytest.mark.slow
def test_frozen_figures_of_ones_own_triggers_go_and_all_others_stay(
    dsn: str, connection: Connection, key: Path, role: str
) -> None:
    """Nothing is left of a trigger that one person alone owns; an organization's keeps its frozen part, exactly."""
    fill(connection, rows=60, step="1 day")
    freeze(connection)
    frozen = value(connection, "select n from analytics_refresh.frozen_triggers where trigger_id = 'alone'")
    hours = value(
        connection, "select sum(execution_count) from action_metrics_hourly where hour < now() - interval '42 d'"
    )
    receipt = receipt_of(erase(granted(dsn, role), key, "--user", "person", "--mode", "delete"))
    assert frozen > 15
    assert (receipt["rows_erased"], receipt["frozen_executions"]) == (120, frozen)
    left = connection.execute(
        "select trigger_id, total_executions from trigger_performance_summary order by 1"
    ).fetchall()
    assert left == [("nobody", 60), ("other", 60), ("shared", frozen)]
    kept = value(
        connection, "select sum(execution_count) from action_metrics_hourly where hour < now() - interval '42 d'"
    )
    assert kept == hours
    series = connection.execute("select trigger_id from analytics_refresh.frozen_series order by 1").fetchall()
    assert series == [("nobody",), ("other",), ("shared",)]
    assert verify(connection).ok
    # a rebuild finds the same
    connection.execute("call analytics_refresh.rebuild('a test')")
    refresh(connection)
    assert connection.execute("select trigger_id from trigger_performance_summary").fetchall() != []
    assert verify(connection).ok
    assert found_by_sql(connection, samples=False) == []


@pytest.mark.slow
def test_what_the_trigger_does_meanwhile_counts(dsn: str, connection: Connection) -> None:
    """Rows that came before, or wait to be folded, count after its frozen part went; ends and percentiles are exact."""
    fill(connection, rows=60, step="1 day", ours=False)
    freeze(connection)
    with psycopg.connect(dsn, autocommit=True) as another:
        another.execute("delete from action_results where id in ('alone1', 'alone60')")
        assert value(connection, "select analytics_refresh.erase_frozen(array['alone', 'not there'])") > 15
        refresh(connection)
        assert verify(connection).ok
        another.execute("delete from action_results where id = 'alone2'")
    refresh(connection)
    assert verify(connection).ok
    live = value(connection, "select count(*) from action_results where trigger_id = 'alone' and executed_at >="
        " (select frozen_until from analytics_refresh.incremental)")  # fmt: skip
    assert value(connection, "select n from analytics_refresh.trigger_cells where trigger_id = 'alone'") == live
    assert value(connection, "select count(*) from analytics_refresh.rebuild_marks") == 0


@pytest.mark.slow
def test_redacting_frozen_rows_is_no_late_change(dsn: str, connection: Connection, key: Path) -> None:
    """Texts go in rows before the horizon, too; no figure changes, and nobody is told of late rows."""
    fill(connection, rows=60, step="1 day")
    freeze(connection)
    before = figures(connection)
    assert receipt_of(erase(dsn, key, "--user", "person"))["frozen_executions"] == 0
    assert figures(connection) == before
    assert value(connection, "select late_rows_total from analytics_refresh.incremental") == 0
    assert verify(connection).ok


@pytest.mark.slow
def test_R09_during_a_rebuild(dsn: str, connection: Connection, key: Path, role: str) -> None:
    """Rollups that are half built are built to the end first; nothing is lost or counted twice."""
    fill(connection, rows=60, step="1 day")
    freeze(connection)
    connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    assert value(connection, "select analytics_refresh.rebuild_step(20)") < 1
    receipt = receipt_of(erase(granted(dsn, role), key, "--user", "person", "--mode", "delete"))
    assert receipt["frozen_executions"] > 15
    assert verify(connection).ok
    assert (
        value(connection, "select sum(total_executions) from trigger_performance_summary")
        == 120 + (receipt["frozen_executions"])
    )


@pytest.mark.slow
def test_R01_R02_two_at_once_and_a_kill_in_the_middle(dsn: str, connection: Connection, key: Path) -> None:
    """The second ends with 75; what a killed one began, the next finishes, and both are in the table."""
    fill(connection)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(dsn, key, "--user", "person"):
            eventually(lambda: value(connection, "select count(*) from analytics_refresh.erasures") == 1)
            second = erase(dsn, key, "--user", "person")
            assert (second.returncode, "another `erase`" in second.stderr) == (75, True)
    held = "select count(*) from pg_locks where locktype = 'advisory' and classid = 2583 and objid = 6"
    eventually(lambda: value(connection, held) == 0)
    # a part of it is done
    connection.execute(
        "update action_results set error_message = null, response_data = null, event_id = null,"
        " job_id = 'erased:' || md5('x') where trigger_id = 'alone'"
    )
    assert receipt_of(erase(dsn, key, "--user", "person"))["rows_erased"] == 6
    assert found_by_sql(connection, samples=False) == []
    outcomes = connection.execute("select outcome from analytics_refresh.erasures where step = 'ended' order by entry")
    assert outcomes.fetchall() == [("abandoned",), ("ok",)]


@pytest.mark.slow
def test_R01_a_signal_stops_it_and_the_next_run_goes_on(dsn: str, connection: Connection, key: Path) -> None:
    """It ends between two portions with 1, since something is left, and says so in its receipt."""
    fill(connection)
    with psycopg.connect(dsn) as refreshing:
        refreshing.execute("select pg_advisory_xact_lock(2583, 2)")
        with started(dsn, key, "--user", "person") as running:
            eventually(lambda: value(connection, "select count(*) from analytics_refresh.erasures") == 1)
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 1
    ended = connection.execute("select outcome, reason from analytics_refresh.erasures where step = 'ended'").fetchall()
    assert ended == [("stopped", "stopped on request")]
    assert receipt_of(erase(dsn, key, "--user", "person"))["rows_erased"] == 12


@pytest.mark.slow
def test_R01_cut_off_while_it_begins_it_records_its_end(
    dsn: str, connection: Connection, key: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes after the commit and before the answer leaves no erasure without an end."""
    fill(connection)
    begin = Erasure.begin

    def cut_off(erasure: Erasure, begun: Begun) -> None:
        begin(erasure, begun)
        os.kill(os.getpid(), signal.SIGTERM)
        erasure._session.run(lambda given: given.execute("select pg_sleep(60)"), seconds=60.0)

    monkeypatch.setattr(Erasure, "begin", cut_off)
    config = Config(database={"url": dsn}, retention={"erasure_key_file": key})  # type: ignore[arg-type]
    wanted = Wanted(Subject(Scope.USER, "person"), Mode.REDACT)
    done = run_erase(config, wanted, confirm=preview(config, wanted).token, told=lambda progress: None)
    assert not done.complete
    (receipt,) = done.receipts
    assert (receipt.outcome, receipt.reason) == ("stopped", "stopped on request")


@pytest.mark.slow
def test_a_row_that_somebody_holds_is_waited_for(dsn: str, connection: Connection, key: Path) -> None:
    """The others go at once; it goes when it is free."""
    fill(connection)
    with psycopg.connect(dsn) as writer:
        writer.execute("select from action_results where id = 'alone3' for update")
        with started(dsn, key, "--user", "person") as running:
            erased = "select sum(rows_erased) from analytics_refresh.erasures"
            eventually(lambda: value(connection, erased) == 11)
            writer.rollback()
            assert running.wait(60) == 0
    assert found_by_sql(connection, samples=False) == []


@pytest.mark.slow
def test_partitions_and_an_unusual_schema(databases: Callable[..., str], key: Path) -> None:
    """Rows go where they lie, also in a schema whose name needs quotes, with other settings."""
    dsn = databases()
    create_application(dsn, "MyApp")
    settings: dict[str, Any] = {"database__schema": "MyApp"}
    with psycopg.connect(dsn, autocommit=True) as connection:
        name = value(connection, "select current_database()")
        connection.execute('set search_path = "MyApp"')
        connection.execute("drop table action_results cascade")
        connection.execute(
            "create table action_results (id text, job_id text not null, trigger_id text references triggers(id)"
            " on delete set null, event_id text, action_type text not null, status text not null,"
            " executed_at timestamptz default now(), duration_ms integer, error_message text, response_data jsonb,"
            " retry_count integer default 0) partition by range (executed_at)"
        )
        connection.execute("create table rest partition of action_results default")
        connection.execute(
            "create table recent partition of action_results for values from ('2000-01-01') to ('2001-01-01')"
        )
        connection.execute("create unique index on rest (id)")
        connection.execute(f"alter database {name} set datestyle = 'SQL, DMY'")
        connection.execute(f"alter database {name} set timezone = 'Asia/Kolkata'")
        connection.execute(f"alter database {name} set bytea_output = 'escape'")
        assert command(dsn, "migrate", **settings).returncode == 0
        fill(connection)
        connection.execute("update action_results set executed_at = '2000-05-05' where id = 'alone2'")
        assert receipt_of(erase(dsn, key, "--user", "person", **settings))["rows_erased"] == 12
        assert found_by_sql(connection, samples=False) == []


@pytest.mark.slow
def test_receipts_are_only_added_and_outlive_us(dsn: str, connection: Connection, key: Path) -> None:
    """Nobody changes one, not even their owner; --uninstall leaves them, and migrate finds its place again."""
    fill(connection)
    receipt_of(erase(dsn, key, "--user", "person"))
    for statement in (
        "update analytics_refresh.erasures set actor = 'x'",
        "delete from analytics_refresh.erasures",
        "truncate analytics_refresh.erasures",
    ):
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="only added"):
            connection.execute(statement)
    kept = connection.execute("select * from analytics_refresh.erasures order by entry").fetchall()
    assert "erasures stays" in uninstall(connection)[0]
    left = (
        'select array_agg(c.relname::text order by c.relname::text collate "C") from pg_class c'
        " where c.relnamespace = 'analytics_refresh'::regnamespace"
    )
    assert value(connection, left) == ["erasures", "erasures_entry_seq", "erasures_pkey"]
    # as without our schema: nothing is recorded, nothing fails
    assert command(dsn, "refresh", **SETTINGS).returncode == 0
    assert command(dsn, "status", **SETTINGS).returncode in (0, 1)
    assert migrate(connection).found == "older install"
    assert connection.execute("select * from analytics_refresh.erasures order by entry").fetchall() == kept
    assert uninstall(connection)[0].startswith("history, alerts")


@pytest.mark.nightly
def test_R11_again_after_a_restore(
    databases: Callable[..., str], admin_dsn: str, dsn: str, connection: Connection, key: Path, tmp_path: Path
) -> None:
    """A copy of before has lost the receipts: with their file each is erased again, and what came later stays."""
    fill(connection)
    connection.close()
    restored = databases(copy_of(dsn, admin_dsn))
    receipts = tmp_path / "receipts.jsonl"
    receipts.write_text(erase(dsn, key, "--user", "person").stdout + erase(dsn, key, "--trigger", "other").stdout)
    with psycopg.connect(restored, autocommit=True) as again:
        again.execute("insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
            " values ('later', 'later job', 'alone', 'rest', 'success', now() + interval '1 hour')")  # fmt: skip
        assert receipt_of_none(erase(restored, key, "--replay")) == []
        done = erase(restored, key, "--replay", "--receipts", str(receipts))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)["receipts"]
        assert [(receipt["scope"], receipt["rows_erased"]) for receipt in found] == [("user", 12), ("trigger", 6)]
        assert found_by_sql(again, samples=False) == []
        assert value(again, "select job_id from action_results where id = 'later'") == "later job"
        # the table knows by now
        assert receipt_of_none(erase(restored, key, "--replay")) == []
    another = make_key(tmp_path)
    shown = command(
        restored, "erase", "--replay", "--dry-run", "--format", "json", **SETTINGS, retention__erasure_key_file=another
    )
    assert json.loads(shown.stdout)["other_keys"] == [found[0]["key_id"]]
    receipts.write_text("nonsense")
    refused = command(restored, "erase", "--replay", "--receipts", str(receipts), "--dry-run", **SETTINGS,
        retention__erasure_key_file=another)  # fmt: skip
    assert (refused.returncode, "does not hold" in refused.stderr) == (64, True)


def receipt_of_none(done: Any) -> list[Any]:
    """The receipts of a run that had nothing to do."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["receipts"]
    assert isinstance(found, list)
    return found


@pytest.mark.slow
def test_the_role_may_do_what_it_must_and_no_more(dsn: str, connection: Connection, role: str) -> None:
    """It reads no failure, adds no row, changes no time or status and no receipt."""
    freeze(connection)
    with psycopg.connect(granted(dsn, role), autocommit=True) as own:
        for statement in (
            "select error_message from recent_failures",
            "select id, status from action_results",
            "insert into action_results (id, job_id, action_type, status) values ('x', 'x', 'x', 'x')",
            "update action_results set executed_at = now()",
            "update action_results set status = 'success'",
            "truncate action_results",
            "delete from analytics_refresh.runs",
            "update analytics_refresh.runs set outcome = 'ok'",
            "update analytics_refresh.erasures set actor = 'x'",
            "delete from analytics_refresh.erasures",
            "select username from users",
            "update triggers set user_id = null",
            "delete from analytics_refresh.frozen_triggers",
            "update analytics_refresh.incremental set built = false",
            "create table analytics_refresh.x ()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                own.execute(statement)


_GRANTS = """
select format('revoke %s on %s from %s', a.privilege_type, c.oid::regclass, %s::text)
from pg_class c, aclexplode(c.relacl) a where a.grantee = %s::regrole
union all
select format('revoke %s (%I) on %s from %s', a.privilege_type, t.attname, t.attrelid::regclass, %s::text)
from pg_attribute t, aclexplode(t.attacl) a where a.grantee = %s::regrole
union all
select format('revoke execute on function %s from %s', p.oid::regprocedure, %s::text)
from pg_proc p, aclexplode(p.proacl) a where a.grantee = %s::regrole
union all
select format('revoke usage on schema %s from %s', n.nspname, %s::text)
from pg_namespace n, aclexplode(n.nspacl) a where a.grantee = %s::regrole
order by 1
"""


@pytest.mark.nightly
@pytest.mark.parametrize("version", [15, 18])
def test_every_right_of_the_role_is_needed(version: int, tmp_path: Path) -> None:
    """Without any one of its grants an erasure fails, or leaves the refresh at its end unrecorded; with all it does."""
    if not PROGRAMS[version].exists():
        pytest.skip(f"PostgreSQL {version} is not installed")
    server = Server(programs=PROGRAMS[version]).start()
    role, key = "analytics_erasure", make_key(tmp_path)

    def works(database: str) -> bool:
        dsn = as_role(psycopg.conninfo.make_conninfo(server.dsn(), dbname=database), role)
        for words in (("--trigger", "alone", "--mode", "delete"), ("--organization", "o1")):
            given: dict[str, Any] = SETTINGS | {"retention__erasure_key_file": key}
            shown = command(dsn, "erase", *words, "--dry-run", "--format", "json", **given)
            if shown.returncode != 0:
                return False
            if command(dsn, "erase", *words, "--confirm", json.loads(shown.stdout)["token"], **given).returncode != 0:
                return False
        with psycopg.connect(server.dsn(), dbname=database) as connection:
            recorded = "select count(*) from analytics_refresh.last_refresh where rows_refreshed is not null"
            aged = (
                "select count(*) from analytics_refresh.last_refresh where last_checked_at <"
                " (select max(e.noted_at) from analytics_refresh.erasures e where e.step = 'begun')"
            )
            return (value(connection, recorded), value(connection, aged)) == (4, 0)

    try:
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            migrate(connection)
            fill(connection, rows=60, step="1 day")
            freeze(connection)
            psql(server.dsn(), "erasure.sql")
            connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
            connection.execute("update analytics_refresh.last_refresh set last_success_at = now() - interval '1 day'")
            grants = [row[0] for row in connection.execute(_GRANTS.replace("%s::", "%(role)s::").replace("%s", "%%s")
                .replace("%I", "%%I"), {"role": role})]  # fmt: skip
        needless = []
        with psycopg.connect(server.dsn(), dbname="template1", autocommit=True) as admin:
            for revoke in ["", *grants]:
                admin.execute("create database copied template postgres")
                if revoke:
                    with psycopg.connect(server.dsn(), dbname="copied", autocommit=True) as connection:
                        connection.execute(revoke)
                if works("copied") == bool(revoke):
                    needless.append(revoke or "with all of them")
                admin.execute("drop database copied with (force)")
        # what everyone may anyway, as long as nobody took it from them
        everyone = [f"revoke usage on schema public from {role}"]
        everyone += [f"revoke execute on function refresh_action_analytics() from {role}"] if version >= 17 else []
        assert sorted(needless) == sorted(everyone), "\n".join(needless)
        assert len(grants) > 20
    finally:
        server.destroy()


def test_a_role_without_rights_is_told_which_file_gives_them(
    dsn: str, connection: Connection, key: Path, role: str
) -> None:
    """The daemon's role erases nothing."""
    psql(dsn, "grants.sql", "-v", f"role={role}")
    given: dict[str, Any] = SETTINGS | {"retention__erasure_key_file": key}
    refused = command(as_role(dsn, role), "erase", "--user", "person", "--dry-run", **given)
    assert (refused.returncode, "deploy/sql/erasure.sql" in refused.stderr) == (1, True)


def _case(version: int, mode: str, mark: pytest.MarkDecorator) -> object:
    missing = pytest.mark.skipif(not PROGRAMS[version].exists(), reason=f"PostgreSQL {version} is not installed")
    return pytest.param(version, mode, marks=[missing, mark])


@pytest.mark.parametrize(
    ("version", "mode"),
    [
        _case(15, "plain redact", pytest.mark.nightly),
        _case(15, "frozen delete", pytest.mark.nightly),
        _case(18, "plain redact", pytest.mark.nightly),
        _case(18, "frozen delete", pytest.mark.slow),
    ],
)
def test_nothing_is_left_in_the_servers_files(version: int, mode: str, tmp_path: Path) -> None:
    """After the commands that the receipt names, no table, view, index, sample or file holds anything of the person."""
    server = Server(programs=PROGRAMS[version]).start()
    try:
        create_application(server.dsn())
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            migrate(connection)
            fill(connection, rows=60, step="1 day")
            if mode == "frozen delete":
                freeze(connection)
            refresh(connection)
            connection.execute("analyze")
            connection.execute("checkpoint")
            assert found_in_files(server.data) != []
            psql(server.dsn(), "erasure.sql")
            key = make_key(tmp_path)
            done = erase(as_role(server.dsn(), "analytics_erasure"), key, "--user", "person", "--mode", mode.split()[1])
            assert receipt_of(done)["outcome"] == "ok"
            assert found_by_sql(connection, samples=False) == []
            for cleaning in json.loads(done.stdout)["commands"]:
                connection.execute(cleaning)
            assert found_by_sql(connection) == []
            assert found_in_files(server.data) == []
            assert CANARY not in done.stdout + done.stderr
            if mode == "frozen delete":
                assert verify(connection).ok
    finally:
        server.destroy()
