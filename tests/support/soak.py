"""Two daemons on a primary with a standby, a list of faults, and a watch over the promise of one refresh at a time."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg

from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support.daemon import Daemon, Settings
from tests.support.postgres import Server
from tests.support.receivers import Receiver
from tests.support.waiting import eventually

INTERVAL = timedelta(seconds=2)
_REFRESHING = (
    "select count(distinct pid) from pg_locks join pg_stat_activity using (pid) join pg_class c on c.oid = relation"
    " where mode = 'ExclusiveLock' and granted and relkind = 'm' and application_name like 'analytics-refreshd/%'"
    " and not pg_is_in_recovery()"
)
"""How many of our sessions hold the lock that refreshing a view takes."""


@dataclass
class Gap:
    """A time in which nobody can be expected to refresh, and why. Open until `ends_at` is known."""

    why: str
    began_at: datetime
    ends_at: datetime | None = None


class Cluster:
    """A primary and its hot standby, each a migrated server of its own; `promote` changes their places for good."""

    def __init__(self) -> None:
        self.primary = Server().start()
        create_application(self.primary.dsn())
        with self.connect() as connection:
            migrate(connection, app_schema="public")
        self.standby = self.primary.standby().start()
        self.dsn = (
            f"postgresql://postgres@127.0.0.1:{self.primary.port},127.0.0.1:{self.standby.port}/postgres"
            "?target_session_attrs=read-write"
        )

    def connect(self) -> psycopg.Connection[Any]:
        """An autocommit superuser connection to the primary."""
        return psycopg.connect(self.primary.dsn(), autocommit=True, connect_timeout=5)

    def execute(self, statement: LiteralString) -> Any:
        """Run one statement on the primary; returns its first row, if any."""
        with self.connect() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchone() if cursor.description else None

    def promote(self) -> None:
        """Stop the primary, make the standby the primary."""
        self.primary.stop("fast")
        self.primary, self.standby = self.standby, self.primary
        self.primary.promote()

    def destroy(self) -> None:
        """Remove both."""
        self.primary.destroy()
        self.standby.destroy()


class Watch:
    """Counts, many times a second, how many of our sessions refresh on the primary."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self.samples = 0
        self.seen_refreshing = 0
        self.most = 0
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(15)

    def _work(self) -> None:
        while not self._over.is_set():
            with suppress(psycopg.Error), self._cluster.connect() as connection:
                while not self._over.wait(0.02):
                    row = connection.execute(_REFRESHING).fetchone()
                    count = int(row[0]) if row else 0
                    self.samples += 1
                    self.seen_refreshing += bool(count)
                    self.most = max(self.most, count)
            self._over.wait(0.1)


@dataclass
class Replica:
    """One of the two daemons through all its processes: each restart is another one."""

    name: str
    settings: Settings
    dsn: str
    processes: list[Daemon] = field(default_factory=list)

    @property
    def now(self) -> Daemon:
        """The process that runs at this moment."""
        return self.processes[-1]

    def start(self) -> None:
        """Start another process."""
        daemon = Daemon(self.dsn, **self.settings, service__replica=self.name)
        daemon.__enter__()
        self.processes.append(daemon)

    def kill(self) -> None:
        """kill -9."""
        self.now.process.kill()
        self.now.process.wait(30)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What all its processes logged."""
        return [line for daemon in self.processes for line in list(daemon.lines)]


class Soak:
    """The whole: what is broken at a given moment is up to `step`."""

    def __init__(self, cluster: Cluster, pager: Receiver, seed: int) -> None:
        settings: Settings = {
            "schedule__interval": "2s",
            "service__name": "soak",
            "staleness__max_age": "1h",
            "alerts__evaluate_every": "1s",
            "alerts__resolve_after_runs": 1,
            "receivers__pager__type": "webhook",
            "receivers__pager__url": pager.url,
        }
        self.cluster, self.pager = cluster, pager
        self.replicas = [Replica(name, settings, cluster.dsn) for name in ("one", "two")]
        self.random = random.Random(seed)
        self.gaps: list[Gap] = []
        self.done: list[str] = []
        self._faults: list[Callable[[], None]] = [
            self.kill,
            self.terminate,
            self.suspend,
            self.lock,
            self.full_history,
            self.receiver_down,
        ]

    @contextmanager
    def gap(self, why: str) -> Iterator[None]:
        """A time in which slots may pass without a refresh."""
        gap = Gap(why, datetime.now(UTC))
        self.gaps.append(gap)
        self.done.append(why)
        try:
            yield
        finally:
            gap.ends_at = datetime.now(UTC)

    def step(self) -> None:
        """One fault, chosen by the seed, and its end."""
        self.random.choice(self._faults)()

    def settled(self, within: float = 45.0) -> None:
        """Wait until somebody leads and has refreshed twice."""
        before = sum(1 for line in self.lines if line["event"] == "refresh.finished")
        eventually(
            lambda: sum(1 for line in self.lines if line["event"] == "refresh.finished") >= before + 2, within=within
        )

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What both daemons logged."""
        return [line for replica in self.replicas for line in replica.lines]

    def some(self) -> Replica:
        """One of the two."""
        return self.random.choice(self.replicas)

    def kill(self) -> None:
        """kill -9 of either daemon; a new process at once or a while later."""
        replica = self.some()
        with self.gap(f"kill {replica.name}"):
            replica.kill()
            time.sleep(self.random.choice([0.0, 3.0]))
            replica.start()
            self.settled()

    def terminate(self) -> None:
        """Terminate all our sessions, or those of one kind."""
        pattern = self.random.choice(["%", "%/leader", "%/status", "%/refresh"])
        with self.gap(f"terminate {pattern}"), self.cluster.connect() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where application_name like %s",
                (f"analytics-refreshd/{pattern}",),
            )
            self.settled()

    def suspend(self) -> None:
        """SIGSTOP either daemon, for less than its trust or for longer."""
        replica = self.some()
        seconds = self.random.choice([1.0, 4.0, 13.0])
        with self.gap(f"suspend {replica.name} for {seconds} s"):
            replica.now.process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            replica.now.process.send_signal(signal.SIGCONT)
            self.settled()

    def lock(self) -> None:
        """Another session holds a view's lock for longer than the lock timeout."""
        with self.gap("lock"), self.cluster.connect() as connection:
            with connection.transaction(force_rollback=True):
                connection.execute("refresh materialized view concurrently action_metrics_hourly")
                time.sleep(3)

    def full_history(self) -> None:
        """Nothing can be added to history for a while."""
        with self.gap("full history"):
            self.cluster.execute(
                "create trigger full_disk before insert on analytics_refresh.runs execute function full()"
            )
            time.sleep(4)
            self.cluster.execute("drop trigger full_disk on analytics_refresh.runs")

    def receiver_down(self) -> None:
        """The receiver refuses everything for a while."""
        with self.gap("receiver down"):
            self.pager.answer(503)
            time.sleep(3)
            self.pager.answer(200)

    def promote(self) -> None:
        """The primary goes away, the standby takes its place."""
        with self.gap("promote"):
            self.cluster.promote()
            self.settled(90)

    def unexplained_slots(self, began_at: datetime, ended_at: datetime) -> list[datetime]:
        """The slots that neither history nor any log knows, outside of the gaps and of what the log says of itself."""
        with self.cluster.connect() as connection:
            known = {
                row[0].replace(microsecond=0)
                for row in connection.execute(
                    "select scheduled_at from analytics_refresh.runs where scheduled_at is not null"
                )
            }
        for line in self.lines:
            if line.get("scheduled_at"):
                known.add(datetime.fromisoformat(line["scheduled_at"]).replace(microsecond=0))
        missing = []
        slot = datetime.fromtimestamp(-(-began_at.timestamp() // 2) * 2, UTC)
        while slot < ended_at:
            excused = any(
                gap.began_at - INTERVAL <= slot <= (gap.ends_at or ended_at) + INTERVAL
                for gap in self.gaps
                if gap.why.startswith(("kill", "terminate", "suspend", "promote"))
            )
            if slot not in known and not excused:
                missing.append(slot)
            slot += INTERVAL
        return missing
