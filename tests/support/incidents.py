"""What breaks a database or its daemons, one function an incident: broken on entry, mended on exit.

Each yields what must be told while it lasts, and what may. `AnalyticsViewStale` is never named: whether it must or may
fire follows from what the views hold.
"""

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.support.faults import down, hung, start_again
from tests.support.installs import put_older_function_back
from tests.support.postgres import Server
from tests.support.soak import Replica
from tests.support.truth import AWAY, AlertOf
from tests.support.waiting import eventually

FAILED, BROKEN, HISTORY = "AnalyticsRefreshFailed", "AnalyticsContractBroken", "AnalyticsHistoryFailing"
FULL = "AnalyticsDatabaseDiskFull"
PLAIN, INCREMENTAL, OLDER = MODES = ("ours", "incremental", "older")
ROLE = "soak"
Choice = TypeVar("Choice")
ROLLUPS = tuple(view for view in VIEWS if view != "recent_failures")


@dataclass(frozen=True)
class Expected:
    """What an incident is told by: `must` holds groups of alerts, one of each of which has to fire."""

    must: tuple[frozenset[AlertOf], ...] = ()
    may: frozenset[AlertOf] = frozenset()


def told(*alerts: AlertOf, also: Sequence[AlertOf] = ()) -> Expected:
    """Each of these alerts must fire; `also` may."""
    return Expected(tuple(frozenset([alert]) for alert in alerts), frozenset([*alerts, *also]))


NOTHING = Expected()


def _unless_refused(
    connection: psycopg.Connection[Any], statement: LiteralString | sql.Composed
) -> psycopg.Cursor[Any] | None:
    try:
        return connection.execute(statement)
    except psycopg.errors.InternalError as error:
        if "concurrently updated" not in str(error):
            raise
        return None


@dataclass
class Scene:
    """A server of one mode with two daemons on it, and a chance of its own."""

    server: Server
    mode: str
    isolation: str
    replicas: Sequence[Replica]
    chance: random.Random
    drawn: list[str] = field(default_factory=list)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """An autocommit superuser connection."""
        return psycopg.connect(self.server.dsn(), autocommit=True, connect_timeout=10, **options)

    def execute(self, *statements: LiteralString | sql.Composed) -> list[Any]:
        """Run statements as a superuser; returns the rows of the last.

        One whose right or name meets a refresh in its last moment is refused, and made again as a person would.
        """
        with self.connect() as connection:
            for statement in statements:
                cursor = eventually(partial(_unless_refused, connection, statement))
            return cursor.fetchall() if cursor.description else []

    def one_of(self, choices: Sequence[Choice]) -> Choice:
        """Draw one, and note which."""
        drawn = self.chance.choice(choices)
        self.drawn.append(str(drawn))
        return drawn

    def view(self) -> str:
        """One of the four."""
        return self.one_of(VIEWS)

    def migrate(self) -> None:
        """As the command does: in incremental mode its functions and triggers follow."""
        with self.connect() as connection:
            migrate(connection)
            if self.mode == INCREMENTAL:
                incremental.install(connection)

    def end_sessions(self) -> None:
        """End the daemons' sessions, so that new ones get what was set for their role."""
        self.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where application_name like 'analytics-refreshd/%'"
        )


Incident = Callable[[Scene], AbstractContextManager[Expected]]
INCIDENTS: dict[str, tuple[Incident, tuple[str, ...]]] = {}


def incident(*modes: str) -> Callable[[Callable[[Scene], Iterator[Expected]]], Incident]:
    """Register an incident for these modes, all by default."""

    def register(function: Callable[[Scene], Iterator[Expected]]) -> Incident:
        made = contextmanager(function)
        INCIDENTS[function.__name__] = (made, modes or MODES)
        return made

    return register


def of_mode(mode: str) -> list[str]:
    """Name the incidents that a mode can have."""
    return sorted(name for name, (_, modes) in INCIDENTS.items() if mode in modes)


def _refresh_by_hand(connection: psycopg.Connection[Any], how: LiteralString, view: str) -> None:
    """Refresh as a person would: again, where the answer is that another session refreshes and to run it again."""
    refresh = sql.SQL("refresh materialized view " + how + "{}").format(sql.Identifier(view))

    def done() -> bool:
        try:
            with connection.transaction():
                connection.execute(refresh)
        except psycopg.errors.LockNotAvailable:
            return False
        return True

    eventually(done)


# -- locks ------------------------------------------------------------------------------------------------------------


@incident()
def a_view_is_locked(scene: Scene) -> Iterator[Expected]:
    """Another session holds what a refresh of it needs."""
    view = scene.view()
    with scene.connect(application_name="nightly-etl") as holder, holder.transaction(force_rollback=True):
        how = scene.one_of(["concurrently ", ""])
        _refresh_by_hand(holder, how, view)
        # in incremental mode a refresh folds first, and whoever holds the fold keeps the other rollups' views, too
        folded = scene.mode == INCREMENTAL and view in ROLLUPS
        yield told((FAILED, view), also=[(FAILED, each) for each in ROLLUPS] if folded else [])


@incident(PLAIN, INCREMENTAL)
def a_table_of_ours_is_locked(scene: Scene) -> Iterator[Expected]:
    """A VACUUM FULL or pg_repack of our own tables."""
    table = scene.one_of(["runs", "view_results", "last_refresh", "alerts", "deliveries", "pauses"])
    with scene.connect(application_name="pg_repack") as holder, holder.transaction(force_rollback=True):
        holder.execute(
            sql.SQL("lock table analytics_refresh.{} in access exclusive mode").format(sql.Identifier(table))
        )
        yield told((HISTORY, "")) if table == "runs" else Expected(may=frozenset({(HISTORY, "")}))


# -- what the contract needs ------------------------------------------------------------------------------------------


@incident()
def a_view_is_renamed_away(scene: Scene) -> Iterator[Expected]:
    """A migration of the application's moved it, and moves it back."""
    view, away = scene.view(), sql.Identifier("moved_away")
    rename = sql.SQL("alter materialized view {} rename to {}")
    scene.execute(rename.format(sql.Identifier(view), away))
    yield told((FAILED, view), also=[(BROKEN, "")])
    scene.execute(rename.format(away, sql.Identifier(view)))


@incident(PLAIN, INCREMENTAL)
def a_view_is_dropped(scene: Scene) -> Iterator[Expected]:
    """Somebody drops it; `migrate` creates it again."""
    view = scene.view()
    scene.execute(sql.SQL("drop materialized view {} cascade").format(sql.Identifier(view)))
    yield told((FAILED, view), also=[(BROKEN, "")])
    scene.migrate()


@incident(INCREMENTAL)
def an_older_function_is_put_back(scene: Scene) -> Iterator[Expected]:
    """It refreshes the views, and folds nothing."""
    with scene.connect() as connection:
        put_older_function_back(connection)
        connection.execute(
            sql.SQL("grant execute on function refresh_action_analytics() to {}").format(sql.Identifier(ROLE))
        )
    # by view, the daemon calls another function
    expected = told(*((FAILED, view) for view in ROLLUPS), (BROKEN, ""))
    yield expected if scene.isolation == "cycle" else Expected(may=expected.may)
    scene.migrate()


@incident()
def a_function_reports_success_and_does_nothing(scene: Scene) -> Iterator[Expected]:
    """The worst of liars."""
    before = scene.execute(
        "select pg_get_functiondef(oid) from pg_proc where proname like 'refresh_action_analytics%'"
        " and pronamespace = 'public'::regnamespace"
    )
    rows = " union all ".join(f"select '{view}', 1, 1::bigint, true, null::text" for view in VIEWS)
    scene.execute(
        sql.SQL(
            "create or replace function refresh_action_analytics() returns table (view_name text,"
            " refresh_duration_ms integer, rows_refreshed bigint, success boolean, error_message text)"
            " language sql as {}"
        ).format(sql.Literal(rows))
    )
    if len(before) > 1:
        scene.execute(
            "create or replace function refresh_action_analytics_view(inout view_name text,"
            " out refresh_duration_ms integer, out rows_refreshed bigint, out success boolean, out error_message text)"
            " language sql as $$select view_name, 1, 1::bigint, true, null::text$$"
        )
    yield told(*((FAILED, view) for view in VIEWS), also=[(BROKEN, "")])
    for (definition,) in before:
        scene.execute(definition)


@incident()
def a_right_is_revoked(scene: Scene) -> Iterator[Expected]:
    """The daemon's role loses what it needs of one view, or the function."""
    view, role = scene.view(), sql.Identifier(ROLE)
    what = scene.one_of(["select", "maintain", "execute"])
    if what == "execute":
        called = "refresh_action_analytics()" if scene.isolation == "cycle" else "refresh_action_analytics_view(text)"
        on: sql.Composable = sql.SQL("function {}").format(sql.SQL(called))
        expected = told(*((FAILED, each) for each in VIEWS), also=[(BROKEN, "")])
    else:
        on = sql.Identifier(view)
        expected = told((FAILED, view), also=[(BROKEN, "")])
    if what == "select" and scene.mode != OLDER:
        # our functions need not count what they refreshed
        expected = Expected(may=expected.may)
    names = {"what": sql.SQL(what), "on": on, "role": role}
    if what == "select":
        # with the view's own go those of its columns
        columns = scene.execute(
            sql.SQL(
                "select attname from pg_attribute where attrelid = {}::regclass and attnum > 0 and attacl is not null"
            ).format(sql.Literal(view))
        )
        scene.execute(sql.SQL("revoke select on {on} from {role}").format(**names))
        yield expected
        for (column,) in columns:
            statement = sql.SQL("grant select ({column}) on {on} to {role}")
            scene.execute(statement.format(column=sql.Identifier(column), **names))
        if not columns:
            scene.execute(sql.SQL("grant select on {on} to {role}").format(**names))
        return
    scene.execute(sql.SQL("revoke {what} on {on} from {role}").format(**names))
    if what == "execute":
        scene.execute(sql.SQL("revoke execute on {on} from public").format(**names))
    yield expected
    scene.execute(sql.SQL("grant {what} on {on} to {role}").format(**names))


@incident(INCREMENTAL)
def the_capture_is_switched_off(scene: Scene) -> Iterator[Expected]:
    """As a bulk load does it: changes are lost meanwhile."""
    scene.execute("alter table action_results disable trigger user")
    yield told((BROKEN, ""), also=[(FAILED, "*")])
    scene.execute("alter table action_results enable trigger user")
    with scene.connect() as connection:
        incremental.install(connection)
        incremental.rebuild(connection)


# -- rows -------------------------------------------------------------------------------------------------------------


@incident()
def a_row_is_out_of_range(scene: Scene) -> Iterator[Expected]:
    """A duration of a year, or a time that no calendar has: an older install's views cannot hold all of them."""
    column, given = scene.one_of(
        [
            ("duration_ms", "2147483647"),
            ("retry_count", "2147483647"),
            ("executed_at", "infinity"),
            ("executed_at", "-infinity"),
            ("executed_at", "20000-01-01"),
        ]
    )
    scene.execute(
        sql.SQL(
            "insert into action_results (id, job_id, trigger_id, action_type, status, {}, response_data)"
            " values ('out of range', 'j', 'absurd', 'absurd', 'success', {}, null)"
        ).format(sql.Identifier(column), sql.Literal(given))
    )
    fails = scene.mode == OLDER and column == "duration_ms"
    views = [(FAILED, view) for view in ROLLUPS]
    yield told(*views) if fails else Expected(may=frozenset(views if scene.mode == OLDER else []))
    scene.execute("delete from action_results where id = 'out of range'")


@incident()
def somebody_refreshes_by_hand(scene: Scene) -> Iterator[Expected]:
    """A cron job that nobody remembers."""
    yield NOTHING
    with scene.connect() as connection:
        for _ in range(3):
            view = scene.view()
            _refresh_by_hand(connection, scene.one_of(["", "concurrently "]), view)


# -- sessions ---------------------------------------------------------------------------------------------------------

_SETTINGS = (
    ("datestyle", "German"), ("intervalstyle", "sql_standard"), ("timezone", "Asia/Kathmandu"),
    ("quote_all_identifiers", "on"), ("bytea_output", "escape"), ("extra_float_digits", "-10"),
    ("statement_timeout", "50"), ("lock_timeout", "1"), ("transaction_timeout", "100"),
    ("idle_in_transaction_session_timeout", "50"), ("idle_session_timeout", "300"),
    ("default_transaction_isolation", "serializable"), ("default_transaction_deferrable", "on"),
    ("client_encoding", "LATIN1"), ("search_path", "nowhere"), ("row_security", "off"),
    ("default_transaction_read_only", "on"), ("client_min_messages", "debug1"), ("lc_messages", "C"),
    ("enable_hashjoin", "off"), ("enable_mergejoin", "off"), ("work_mem", "64kB"), ("temp_file_limit", "0"),
    ("statement_timeout", "1"), ("vacuum_cost_delay", "10"), ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"), ("escape_string_warning", "off"), ("array_nulls", "off"), ("xmloption", "document"),
    ("check_function_bodies", "off"), ("transform_null_equals", "on"), ("plan_cache_mode", "force_generic_plan"),
)  # fmt: skip


@incident()
def the_roles_settings_change(scene: Scene) -> Iterator[Expected]:
    """What a hoster or an administrator sets for a role or the database: new sessions begin with it."""
    name, given = scene.one_of(_SETTINGS)
    # of this role alone: whoever mends it must not be hit as well
    where = sql.SQL(scene.one_of(["role {}", "role {} in database postgres"])).format(sql.Identifier(ROLE))
    setting = sql.Identifier(name)
    scene.execute(sql.SQL("alter {} set {} = {}").format(where, setting, sql.Literal(given)))
    scene.end_sessions()
    # nothing is told of it, unless it says that nobody may write
    yield Expected(may=frozenset({(AWAY, "")}) if name == "default_transaction_read_only" else frozenset())
    with scene.connect() as connection:
        connection.execute("set default_transaction_read_only = off")
        connection.execute(sql.SQL("alter {} reset {}").format(where, setting))
    scene.end_sessions()


@incident()
def the_server_turns_read_only(scene: Scene) -> Iterator[Expected]:
    """As hosted ones do on a full disk."""
    for given in ("on", "off"):
        with scene.connect() as connection:
            connection.execute("set default_transaction_read_only = off")
            statement = sql.SQL("alter system set default_transaction_read_only = {}")
            connection.execute(statement.format(sql.SQL(given)))
            connection.execute("select pg_reload_conf()")
        if given == "on":
            yield told((AWAY, ""))


@incident()
def a_person_cancels_refreshes(scene: Scene) -> Iterator[Expected]:
    """Whoever watches pg_stat_activity and dislikes what is there."""
    with scene.connect() as holder, scene.connect() as other:
        with holder.transaction(force_rollback=True):
            _refresh_by_hand(holder, "concurrently ", scene.view())
            waiting: LiteralString = (
                "select pg_cancel_backend(pid) from pg_stat_activity where wait_event_type = 'Lock'"
                " and application_name like 'analytics-refreshd/%'"
            )
            eventually(lambda: other.execute(waiting).fetchall())
    yield NOTHING


@incident()
def sessions_are_ended(scene: Scene) -> Iterator[Expected]:
    """All of the daemons' sessions at once, as a pooler's or an administrator's script does."""
    scene.end_sessions()
    yield NOTHING


@incident()
def no_session_is_to_be_had(scene: Scene) -> Iterator[Expected]:
    """The role may log in no more, or its password was changed: what is there goes on until it ends.

    Where sessions end one after the other, a standby may lead for a moment, and lose its sessions in its first run.
    """
    apart = float(scene.one_of(["0", "0.7"]))
    scene.execute(sql.SQL("alter role {} nologin").format(sql.Identifier(ROLE)))
    with scene.connect() as connection:
        ours = connection.execute(
            "select pid from pg_stat_activity where application_name like 'analytics-refreshd/%'"
            " order by application_name <> 'analytics-refreshd/leader', random()"
        ).fetchall()
        for (pid,) in ours:
            connection.execute("select pg_terminate_backend(%s, 5000), pg_sleep(%s)", [pid, apart])
    yield told((AWAY, ""))
    scene.execute(sql.SQL("alter role {} login").format(sql.Identifier(ROLE)))


@incident()
def the_disk_is_full(scene: Scene) -> Iterator[Expected]:
    """What a refresh writes on the way finds no room. Takes root, for a file system of one page."""
    folder = scene.server.folder / "small"
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", "size=4k,mode=0777", "tmpfs", str(folder)]
    if subprocess.run(words, check=False, capture_output=True).returncode:
        yield NOTHING
        return
    try:
        space = folder / "space"
        space.mkdir()
        if scene.server.user:
            shutil.chown(space, scene.server.user)
        role = sql.Identifier(ROLE)
        scene.execute(sql.SQL("create tablespace small location {}").format(sql.Literal(str(space))))
        scene.execute(sql.SQL("grant create on tablespace small to {}").format(role))
        scene.execute(sql.SQL("alter role {} set temp_tablespaces = 'small'").format(role))
        scene.end_sessions()
        yield told((FULL, ""), also=[(FAILED, "*")])
        scene.execute(sql.SQL("alter role {} reset temp_tablespaces").format(role))
        scene.end_sessions()
        scene.execute(sql.SQL("revoke create on tablespace small from {}").format(role), "drop tablespace small")
        # a server that crashes later would look for the folder of what it makes again
        scene.execute("checkpoint")
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)


# -- processes --------------------------------------------------------------------------------------------------------


@incident()
def the_server_hangs(scene: Scene) -> Iterator[Expected]:
    """It takes connections and answers nothing."""
    with hung(scene.server):
        yield told((AWAY, ""))


@incident()
def the_server_is_down(scene: Scene) -> Iterator[Expected]:
    """Stopped in one of three ways, and started again."""
    with down(scene.server, scene.one_of(["immediate", "fast"])):
        yield told((AWAY, ""))


@incident()
def the_server_restarts(scene: Scene) -> Iterator[Expected]:
    """As a minor upgrade does: mostly too short to tell of."""
    scene.server.stop("fast")
    start_again(scene.server)
    yield Expected(may=frozenset({(AWAY, "")}))


@incident()
def the_leader_is_killed(scene: Scene) -> Iterator[Expected]:
    """SIGKILL; the other one takes over, and this one comes back."""
    leader = next((each for each in scene.replicas if _leads(each)), scene.replicas[0])
    leader.kill()
    yield NOTHING
    leader.start()


@incident()
def the_standby_is_killed(scene: Scene) -> Iterator[Expected]:
    """Nobody misses it."""
    standby = next((each for each in scene.replicas if not _leads(each)), scene.replicas[0])
    standby.kill()
    yield NOTHING
    standby.start()


def _leads(replica: Replica) -> bool:
    return replica.now.metric("analytics_leader") == 1.0


# -- the database around us -------------------------------------------------------------------------------------------


@incident()
def a_publication_of_all_tables_appears(scene: Scene) -> Iterator[Expected]:
    """Every table of ours is written as before."""
    scene.execute("create publication everything for all tables")
    yield NOTHING
    scene.execute("drop publication everything")
