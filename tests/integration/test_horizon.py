"""The frozen horizon, case by case: what it keeps, what it counts, what it refuses."""

import gzip
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from analytics_refreshd.core.errors import MigrationError, UsageError
from analytics_refreshd.postgres.check.run import CheckSettings, Level, run_checks
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.incremental.horizon import checksums
from analytics_refreshd.postgres.incremental.install import Retention
from analytics_refreshd.postgres.incremental.verify import verify
from analytics_refreshd.postgres.migrate.run import migrate, uninstall
from tests.support import warm
from tests.support.adapters import connector, status_reader
from tests.support.horizon import (
    FROZEN_VIEWS,
    ask,
    connect,
    create_oracle,
    horizon,
    keep_rows,
    learn,
    refresh_and_ask,
    total,
)
from tests.support.incremental import build_reason, differences_after_refresh, refresh_and_compare
from tests.support.postgres import dump_and_restore
from tests.support.states import NOW

Connection = psycopg.Connection[Any]

_DAY = 86400.0


@pytest.fixture(scope="module")
def dsn_template(templates: Callable[..., str], migrated_template: str) -> str:
    """A database with actions of 100 days, one each 2 hours, of which those before 39 days are frozen."""
    dsn = templates(migrated_template)
    with connect(dsn) as connection:
        connection.execute(
            "insert into triggers (id) values ('early'), ('busy'), ('late');"
            " insert into action_results"
            " (id, job_id, trigger_id, action_type, status, executed_at, duration_ms, retry_count)"
            " select 'row ' || i, 'job', case when i > 900 then 'early' when i < 300 then 'late' else 'busy' end,"
            " (array['rest', 'mcp'])[1 + i % 2], (array['success', 'failed', 'retrying'])[1 + i % 3],"
            " now() - i * interval '2 hours', i * 7 % 1000, i % 4 from generate_series(1, 1200) i"
        )
        incremental.install(connection, retention=Retention(40 * _DAY))
        create_oracle(connection)
    return dsn


def delete_older(connection: Connection, days: float) -> int:
    """Delete what is older, as any job does; return how many rows went."""
    query = "delete from action_results where executed_at < now() - %s * interval '24 hours'"
    return connection.execute(query, [days]).rowcount


def rebuilt_at(connection: Connection) -> Any:
    """When the rollups were last built."""
    return connection.execute("select built_at from analytics_refresh.incremental").fetchone()


def command(dsn: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `analytics-refreshd` on the database."""
    environment = {**os.environ, "ANALYTICS_REFRESHD_DATABASE__URL": dsn}
    return warm.run(words, environment)


@pytest.mark.quick
def test_rows_go_and_figures_stay(connection: Connection) -> None:
    """Rows older than the horizon go, whoever deletes them: hours and triggers keep every figure, the rest is exact."""
    found = horizon(connection)
    assert found is not None
    assert timedelta(0) <= datetime.now(UTC) - timedelta(days=39) - found < timedelta(hours=3)
    assert delete_older(connection, 40) > 700
    # a session that skips ordinary triggers changes nothing
    connection.execute("set session_replication_role = replica")
    assert delete_older(connection, 39.1) > 5
    connection.execute("reset session_replication_role")
    assert not refresh_and_ask(connection)
    assert total(connection) == 1200
    assert verify(connection).ok
    connection.execute("delete from action_results where id = 'row 3'")
    assert not refresh_and_ask(connection)
    assert total(connection) == 1199


@pytest.mark.slow
def test_rows_deleted_while_nobody_folded_are_kept(connection: Connection) -> None:
    """A daemon that was away for days finds the deleted rows in the deltas; those changed or moved before, too."""
    connection.execute("update action_results set status = 'success', duration_ms = 5 where id = 'row 430'")
    connection.execute("update action_results set executed_at = now() - interval '35.3 days' where id = 'row 431'")
    connection.execute("update action_results set executed_at = now() - interval '3 days' where id = 'row 432'")
    # the first of a trigger moves to another, the next is deleted
    connection.execute("insert into triggers (id) values ('new')")
    connection.execute("update action_results set trigger_id = 'new' where id in ('row 428', 'row 427', 'row 100')")
    assert not refresh_and_ask(connection)
    built = rebuilt_at(connection)
    keep_rows(connection, 35 * 24)
    connection.execute("update action_results set trigger_id = null where id = 'row 428'")
    assert delete_older(connection, 35) > 40
    assert not refresh_and_ask(connection)
    assert rebuilt_at(connection) == built
    assert connection.execute("select count(*) from analytics_refresh.deltas").fetchone() == (0,)
    assert total(connection) == 1200
    assert verify(connection).ok


@pytest.mark.slow
@pytest.mark.parametrize("marked", [False, True])
def test_a_verification_sees_what_the_next_fold_freezes(connection: Connection, marked: bool) -> None:
    """`--verify` with deletions and a horizon that wait: exact, and nothing is left changed by it."""
    keep_rows(connection, 35 * 24)
    delete_older(connection, 35)
    if marked:
        connection.execute("insert into analytics_refresh.rebuild_marks (reason) values ('a test')")
    before = horizon(connection)
    assert verify(connection).ok
    assert horizon(connection) == before
    assert not refresh_and_ask(connection)


@pytest.mark.slow
def test_truncate_and_rebuild_keep_what_is_frozen(connection: Connection) -> None:
    """TRUNCATE empties what came after the horizon; a rebuild finds the frozen figures again."""
    connection.execute("call analytics_refresh.rebuild('a test')")
    assert not refresh_and_ask(connection)
    connection.execute("truncate action_results")
    assert not refresh_and_ask(connection)
    assert (total(connection),) == connection.execute("select sum(n) from analytics_refresh.frozen_hours").fetchone()
    assert total(connection) > 700
    assert verify(connection).ok


@pytest.mark.slow
def test_late_rows_are_counted_and_left_out(connection: Connection) -> None:
    """Rows that come before the horizon, or are changed there, change no figure and fail no writer."""
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at) values"
        " ('late 1', 'job', 'busy', 'rest', 'success', now() - interval '50 days'),"
        " ('late 2', 'job', 'busy', 'rest', 'success', '-infinity')"
    )
    connection.execute("update action_results set duration_ms = 1 where id in ('row 1100', 'row 1101', 'row 1102')")
    connection.execute("delete from triggers where id = 'early'")
    delete_older(connection, 99.9)
    assert not refresh_and_ask(connection)
    late = connection.execute("select late_rows_total, late_rows_at is not null from analytics_refresh.incremental")
    # two came, and 300 lost their trigger, three of which were changed before
    assert late.fetchone() == (302, True)
    assert connection.execute(
        "select total_executions from trigger_performance_summary where trigger_id = 'early'"
    ).fetchone() == (300,)
    connection.execute("call analytics_refresh.rebuild('a test')")
    assert not ask(connection)


@pytest.mark.slow
def test_late_rows_that_are_applied_count_for_ever(connection: Connection) -> None:
    """With `late_rows = "apply"` a row inserted before the horizon is frozen at once, and again if inserted again."""
    row = connection.execute("select to_jsonb(r) from action_results r where id = 'row 1100'").fetchone()
    assert row is not None
    delete_older(connection, 40)
    assert not refresh_and_ask(connection)
    again = "insert into action_results select (jsonb_populate_record(null::action_results, %s::jsonb)).*"
    connection.execute(again, [json.dumps(row[0])])
    learn(connection)
    # what came before is folded as it was meant
    incremental.install(connection, retention=Retention(40 * _DAY, "apply"))
    assert not refresh_and_ask(connection)
    assert total(connection) == 1200
    built = rebuilt_at(connection)
    connection.execute("delete from action_results where id = 'row 1100'")
    connection.execute(again, [json.dumps(row[0])])
    for age in ("90 days", "41 days", "4000 days"):
        connection.execute(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms) values"
            " (%s, 'job', 'late', 'fax', 'failed', now() - %s::interval, 7),"
            " (%s, 'job', 'busy', 'rest', 'failed', now() - %s::interval, 2)",
            [age, age, f"again {age}", age],
        )
    connection.execute("update action_results set duration_ms = 1 where id = '41 days'")
    assert not refresh_and_ask(connection)
    assert (total(connection), rebuilt_at(connection)) == (1207, built)
    delete_older(connection, 40)
    assert not refresh_and_ask(connection)
    assert verify(connection).ok
    connection.execute("call analytics_refresh.rebuild('a test')")
    assert not refresh_and_ask(connection)
    assert total(connection) == 1207


@pytest.mark.slow
def test_where_the_horizon_is_is_told(dsn: str, connection: Connection) -> None:
    """`status`, evaluation and `check` say until when figures are frozen, and how many rows came before."""

    frozen_until = horizon(connection)
    with status_reader(dsn) as reader:
        assert (reader.delta().frozen_until, reader.delta().late_rows) == (frozen_until, 0)
        connection.execute("update action_results set duration_ms = 1 where id in ('row 1100', 'row 1101')")
        assert not refresh_and_ask(connection)
        frozen_until = horizon(connection)
        assert (reader.delta().frozen_until, reader.delta().late_rows) == (frozen_until, 2)
    words = f"frozen until {frozen_until:%Y-%m-%d %H:%M} UTC"
    told = [each for each in run_checks(connector(dsn), CheckSettings(), lambda: NOW) if each.name == "incremental"]
    assert any(words in each.text for each in told if each.level is Level.OK)
    late = f"2 rows came before {frozen_until:%Y-%m-%d %H:%M} UTC"
    assert any(each.text.startswith(late) for each in told if each.level is Level.WARNING)
    assert f"frozen until {frozen_until:%Y-%m-%d}" in command(dsn, "status").stdout


@pytest.mark.slow
def test_R05_rows_without_time_are_never_frozen(connection: Connection) -> None:
    """A row without executed_at counts as long as it is there."""
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at) values"
        " ('timeless', 'job', 'busy', 'rest', 'success', null)"
    )
    assert not refresh_and_ask(connection)
    connection.execute("delete from action_results where id = 'timeless'")
    assert not refresh_and_ask(connection)
    assert total(connection) == 1200


@pytest.mark.slow
def test_R12_off_and_on(connection: Connection) -> None:
    """Off, the horizon stays, and what is deleted after it leaves; on again, it goes on from there."""
    before = horizon(connection)
    assert incremental.install(connection, retention=Retention(None))
    delete_older(connection, 38)
    assert not refresh_and_ask(connection)
    assert total(connection) < 1200
    assert horizon(connection) == before
    delete_older(connection, 36)
    learn(connection)
    assert incremental.install(connection, retention=Retention(35 * _DAY))
    assert not refresh_and_ask(connection)
    assert str(horizon(connection)) > str(before)
    assert incremental.install(connection, retention=Retention(35 * _DAY)) == ()
    assert incremental.install(connection) == ()
    assert verify(connection).ok


def set_clock(connection: Connection, hours: int) -> None:
    """Let what folds and freezes see a clock that is so many hours ahead."""
    functions = connection.execute(
        "select pg_get_functiondef(p.oid) from pg_proc p where p.pronamespace = 'analytics_refresh'::regnamespace"
        " and p.prosrc ~ '(^|[^_.a-z])now[(][)]'"
    ).fetchall()
    assert len(functions) > 2
    for (text,) in functions:
        connection.execute(re.sub(r"(?<![\w.])now\(\)", f"(now() + interval '{hours} hours')", text))


@pytest.mark.slow
def test_R06_a_clock_that_steps_makes_no_figure_wrong(connection: Connection) -> None:
    """Two days ahead for a refresh, then two behind, then right: the horizon never goes back, no row counts twice."""
    before = horizon(connection)
    learn(connection)
    set_clock(connection, 48)
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    ahead = horizon(connection)
    assert before is not None
    assert ahead == before + timedelta(days=2)
    incremental.install(connection)
    delete_older(connection, 38)
    # after the horizon of the right clock, and before that which the wrong one left
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at)"
        " values ('between', 'job', 'busy', 'rest', 'success', now() - interval '38 days')"
    )
    assert not refresh_and_ask(connection)
    set_clock(connection, -48)
    connection.execute(
        "insert into action_results (id, job_id, action_type, status) values ('n', 'job', 'rest', 'failed')"
    )
    learn(connection)
    assert not connection.execute("select * from refresh_action_analytics() where not success").fetchall()
    incremental.install(connection)
    assert not refresh_and_ask(connection)
    assert horizon(connection) == ahead
    assert total(connection) == 1201
    late = connection.execute("select late_rows_total from analytics_refresh.incremental").fetchone()
    assert late == (1,)
    assert verify(connection).ok


@pytest.mark.slow
def test_what_others_change_of_it_is_found(connection: Connection) -> None:
    """A frozen figure that something else changed is a difference; where the first was is the only place to get it."""
    for change in (
        "update analytics_refresh.frozen_durations set n = n + 1 where duration_ms = 7",
        "delete from analytics_refresh.frozen_hours where n = 1 and status = 'failed'",
        "update analytics_refresh.frozen_triggers set first_at = first_at + interval '1s' where trigger_id = 'busy'",
        "insert into analytics_refresh.frozen_types values ('fax', 1, now())",
    ):
        with connection.transaction(force_rollback=True):
            assert connection.execute(change).rowcount
            kept, there = checksums(connection)
            assert kept != there
    assert verify(connection).ok
    connection.execute("update analytics_refresh.frozen_retries set n = n + 1")
    report = verify(connection)
    assert not report.ok
    assert "what is frozen" in [view.view_name for view in report.views if view.extra]


@pytest.mark.slow
def test_going_back_is_refused_unless_the_day_is_named(dsn: str, connection: Connection) -> None:
    """`--plain` and `--uninstall` exit 64 and say what would go, unless --discard-frozen names the horizon."""
    found = horizon(connection)
    assert found is not None
    for words in (["--plain"], ["--uninstall"], ["--plain", "--discard-frozen", "2020-01-01"]):
        done = command(dsn, "migrate", *words)
        assert done.returncode == 64, done.stderr
        assert "executions of 2 triggers since" in done.stderr
        assert f"--discard-frozen {found:%Y-%m-%d}" in done.stderr
    assert not ask(connection)
    with pytest.raises(UsageError):
        uninstall(connection)
    done = command(dsn, "migrate", "--plain", "--discard-frozen", f"{found:%Y-%m-%d}")
    assert done.returncode == 0, done.stderr
    assert connection.execute("select to_regclass('analytics_refresh.frozen_hours')").fetchone() == (None,)
    assert not differences_after_refresh(connection)
    incremental.install(connection)
    assert connection.execute("select to_regclass('analytics_refresh.frozen_hours')").fetchone() == (None,)
    assert not refresh_and_compare(connection)


@pytest.mark.slow
def test_a_horizon_that_froze_nothing_refuses_nothing(connection: Connection) -> None:
    """Going back is free while nothing is frozen."""
    connection.execute("update analytics_refresh.incremental set frozen_until = '-infinity', retained = null")
    incremental.uninstall_to_plain(connection)
    assert uninstall(connection)


@pytest.mark.slow
def test_R11_a_dump_and_restore_keep_it(
    dsn: str, connection: Connection, databases: Callable[..., str], tmp_path: Path
) -> None:
    """What is frozen travels with a dump; the rebuild after the restore finds it, and the horizon goes on."""
    delete_older(connection, 40)
    assert not refresh_and_ask(connection)
    target = databases()
    dump_and_restore(dsn, target, connection.info.server_version // 10000, tmp_path / "dump")
    with connect(target) as restored:
        assert not refresh_and_ask(restored)
        assert "changed" in str(build_reason(restored))
        assert verify(restored).ok
        keep_rows(restored, 35 * 24)
        delete_older(restored, 35)
        assert not refresh_and_ask(restored)
        assert total(restored) == 1200


@pytest.mark.nightly
def test_exported_figures_are_taken_in_elsewhere(
    dsn: str, connection: Connection, databases: Callable[..., str], migrated_template: str, tmp_path: Path
) -> None:
    """A file of frozen figures makes another database with the rows after the horizon show what this one shows."""
    connection.execute(
        "insert into analytics_refresh.rebuild_marks (reason) values ('a test');"
        " update action_results set trigger_id = null, duration_ms = null where id = 'row 1'"
    )
    assert not refresh_and_ask(connection)
    file, other = tmp_path / "frozen.gz", databases(migrated_template)
    exported = command(dsn, "migrate", "--export-frozen", str(file))
    assert exported.returncode == 0, exported.stderr
    assert command(dsn, "migrate", "--export-frozen", str(file)).returncode == 64
    with connect(other) as target:
        assert "run migrate --incremental first" in command(other, "migrate", "--import-frozen", str(file)).stderr
        target.execute("insert into triggers (id) values ('late'), ('busy'), ('early')")
        rows = "copy (select * from action_results where executed_at > now() - interval '45 days') to stdout"
        with connection.cursor().copy(rows) as out, target.cursor().copy("copy action_results from stdin") as into:
            for part in out:
                into.write(part)
        incremental.install(target)
        text = gzip.decompress(file.read_bytes()).decode()
        changed = text.replace('"n": 1', '"n": 2', 1)
        later = text.replace('"frozen_until": "20', '"frozen_until": "21', 1)
        for wrong in ("", "{}\n", changed, later, text[: len(text) // 2], text + "[]\n", text + text):
            (tmp_path / "wrong").write_text(wrong)
            refused = command(other, "migrate", "--import-frozen", str(tmp_path / "wrong"))
            assert (refused.returncode, "Traceback" in refused.stderr) == (64, False), refused.stderr
        assert not refresh_and_compare(target)
        taken = command(other, "migrate", "--import-frozen", str(file))
        assert taken.returncode == 0, taken.stderr
        assert f"before {horizon(connection):%Y-%m-%d %H:%M} UTC" in taken.stdout
        target.execute("select * from refresh_action_analytics()")
        for view in FROZEN_VIEWS:
            query = f"select v::text from {view} v order by 1"
            assert target.execute(query).fetchall() == connection.execute(query).fetchall()
        assert verify(target).ok
        again = command(other, "migrate", "--import-frozen", str(file))
        assert again.returncode == 64
        day = f"{horizon(target):%Y-%m-%d}"
        assert command(other, "migrate", "--import-frozen", str(file), "--discard-frozen", day).returncode == 0
        incremental.install(target, retention=Retention(35 * _DAY))
        delete_older(target, 35)
        target.execute("select * from refresh_action_analytics()")
        assert total(target) == 1200
        assert verify(target).ok


@pytest.mark.slow
def test_an_older_installation_is_upgraded_in_place(databases: Callable[..., str], migrated_template: str) -> None:
    """An incremental installation without any of it needs no rebuild for it; changes that wait are folded first."""
    with connect(databases(migrated_template)) as connection:
        incremental.install(connection)
        connection.execute(
            "insert into action_results (id, job_id, action_type, status, executed_at)"
            " select 'row ' || i, 'job', 'rest', 'success', now() - i * interval '1 day' from generate_series(0, 99) i"
        )
        connection.execute("select analytics_refresh.fold()")
        connection.execute("delete from action_results where id = 'row 90'")
        connection.execute(
            "alter table analytics_refresh.incremental drop column frozen_until, drop column retained,"
            " drop column late_rows_total, drop column late_rows_at, drop column frozen_checksum;"
            " alter table analytics_refresh.deltas drop column cause"
        )
        built_at = connection.execute("select built_at from analytics_refresh.incremental").fetchone()
        migrate(connection)
        assert incremental.install(connection, retention=Retention(50 * _DAY))
        connection.execute("delete from action_results where executed_at < now() - interval '50 days'")
        connection.execute("select * from refresh_action_analytics()")
        assert total(connection) == 99
        assert connection.execute("select built_at from analytics_refresh.incremental").fetchone() == built_at
        assert verify(connection).ok


@pytest.fixture
def partitioned(databases: Callable[..., str], migrated_template: str) -> Iterator[Connection]:
    """Actions in months, three of them before the horizon, all with capture; the oracle beside them."""
    first = (datetime.now(UTC) - timedelta(days=190)).date().replace(day=1)
    months = [first]
    while len(months) < 9:
        months.append((months[-1] + timedelta(days=32)).replace(day=1))
    with connect(databases(migrated_template)) as connection:
        connection.execute(
            "alter table action_results rename to old; create table action_results (like old including defaults)"
            " partition by range (executed_at)"
        )
        for start, end in pairwise(months):
            connection.execute(
                f"create table month_{start:%Y_%m} partition of action_results for values from ('{start}') to ('{end}')"
            )
        connection.execute(
            "insert into action_results (id, job_id, trigger_id, action_type, status, executed_at, duration_ms)"
            " select 'row ' || i, 'job', 'busy', 'rest', 'success', now() - i * interval '6 hours', i % 50"
            " from generate_series(1, 640) i"
        )
        migrate(connection, recreate_views=True)
        incremental.install(connection, replace=True, retention=Retention(70 * _DAY))
        create_oracle(connection)
        yield connection


def month_of(days: float) -> str:
    """Name the partition of so many days ago."""
    return f"month_{datetime.now(UTC) - timedelta(days=days):%Y_%m}"


@pytest.mark.slow
def test_a_frozen_month_is_dropped_without_a_rebuild(partitioned: Connection) -> None:
    """DROP and DETACH of months wholly before the horizon change nothing; rows that came after count as ever."""
    before = rebuilt_at(partitioned)
    partitioned.execute(f"drop table {month_of(155)}")
    partitioned.execute(f"alter table action_results detach partition {month_of(125)}")
    partitioned.execute(f"delete from {month_of(125)}")
    partitioned.execute(
        "insert into action_results (id, job_id, action_type, status) values ('new', 'j', 'rest', 'failed')"
    )
    assert not refresh_and_ask(partitioned)
    assert rebuilt_at(partitioned) == before
    assert total(partitioned) == 641
    assert verify(partitioned).ok
    partitioned.execute("call analytics_refresh.rebuild('a test')")
    assert not refresh_and_ask(partitioned)


@pytest.mark.slow
def test_R10_a_month_that_was_not_frozen_is_missed_until_somebody_decides(partitioned: Connection) -> None:
    """Dropping one is no rebuild: the views keep their figures and say both ways out, and either of them works."""
    before = rebuilt_at(partitioned)
    month = month_of(45)
    query = "select pg_get_expr(relpartbound, oid) from pg_class where relname = %s"
    bound = partitioned.execute(query, [month]).fetchone()
    assert bound is not None
    partitioned.execute(f"alter table action_results detach partition {month}")
    failed = partitioned.execute("select error_message from refresh_action_analytics() where not success").fetchall()
    assert len(failed) == 3
    assert "attach it again, or let its figures go with call analytics_refresh.rebuild()" in failed[0][0]
    assert rebuilt_at(partitioned) == before
    found = incremental.state(partitioned)
    assert ["is gone" in text for text in found.obstacles] == [True]
    with pytest.raises(MigrationError, match="attach it again"):
        verify(partitioned)
    partitioned.execute(f"alter table action_results attach partition {month} {bound[0]}")
    assert not refresh_and_ask(partitioned)
    partitioned.execute(f"drop table {month}")
    partitioned.execute(
        "delete from oracle.action_results o"
        " where not gone and not exists (select from action_results a where a.id = o.id)"
    )
    partitioned.execute("call analytics_refresh.rebuild()")
    assert not refresh_and_ask(partitioned)
    assert not incremental.state(partitioned).obstacles
