"""Minutes of random faults, twenty stops at random moments, and the budget of log lines."""

import os
import random
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psutil
import pytest

from tests.support.daemon import Daemon, Settings
from tests.support.faults import Connection, our_sessions, refreshes_under_way, value
from tests.support.installs import stretch
from tests.support.postgres import free_port
from tests.support.receivers import receiver
from tests.support.soak import Cluster, Soak, Watch
from tests.support.waiting import eventually

SECONDS = float(os.environ.get("REFRESHD_TEST_SOAK_SECONDS", "120"))
SEED = int(os.environ.get("REFRESHD_TEST_SOAK_SEED", "20261123"))
SLOTS = 96

pytestmark = pytest.mark.nightly


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A primary with a hot standby."""
    made = Cluster()
    yield made
    made.destroy()


@pytest.mark.timeout(int(SECONDS) + 300)
def test_soak_of_random_faults(cluster: Cluster) -> None:
    """Kills, terminations, suspensions, a promotion, locks, full history, a dead receiver: every promise holds.

    Never two refreshes at once; every slot outside of a fault is in history or log; the alert of a view that stays
    broken is delivered, not resolved until it is mended, and resolved then; no connection, thread or memory is leaked.
    REFRESHD_TEST_SOAK_SECONDS sets for how long, REFRESHD_TEST_SOAK_SEED which faults.
    """
    cluster.execute(
        "create function full() returns trigger language plpgsql as"
        " $$ begin raise exception 'no space left on device' using errcode = '53100'; end $$"
    )
    with receiver() as pager:
        soak = Soak(cluster, pager, SEED)
        try:
            for replica in soak.replicas:
                replica.start()
            soak.settled()
            with Watch(cluster) as watch:
                _rage(soak)
            _judge(soak, watch)
            assert [replica.now.stop() for replica in soak.replicas] == [0, 0]
        except BaseException:
            print("faults:", soak.done)
            for line in sorted(soak.lines, key=lambda line: str(line["timestamp"])):
                if line["event"] != "config.loaded":
                    print(line)
            raise
        finally:
            for replica in soak.replicas:
                for daemon in replica.processes:
                    daemon.__exit__(None, None, None)


def _rage(soak: Soak) -> None:
    """Break one view to the end, everything else at random, with the promotion half-way; then mend the view."""
    began, began_at = time.monotonic(), datetime.now(UTC)
    soak.cluster.execute("drop index idx_recent_failures_unique")
    eventually(lambda: _told(soak))
    memory = {replica.name: _memory(replica.now) for replica in soak.replicas}
    promoted = False
    while time.monotonic() - began < SECONDS:
        soak.step()
        if not promoted and time.monotonic() - began > SECONDS * 0.45:
            promoted = True
            soak.promote()
    soak.settled()
    ended_at = datetime.now(UTC)
    assert _told(soak)[-1]["status"] == "firing"
    assert {page["status"] for page in _told(soak)} == {"firing"}, "resolved while it was true"
    assert {page["key"] for page in _told(soak)} == {_told(soak)[0]["key"]}, "one episode, one key"
    soak.cluster.execute("create unique index idx_recent_failures_unique on recent_failures (id)")
    eventually(lambda: _told(soak)[-1]["status"] == "resolved")
    assert soak.unexplained_slots(began_at, ended_at) == []
    for replica in soak.replicas:
        # a process that was there before has had its whole life to grow
        assert _memory(replica.now) < max(memory.values()) + 40_000_000


def _told(soak: Soak) -> list[dict[str, str]]:
    """What the receiver accepted of the broken view's alert."""
    wanted = ("AnalyticsRefreshFailed", "recent_failures")
    return [one for got in list(soak.pager.got) for one in got.alerts if (one["alert"], one["view"]) == wanted]


def _memory(daemon: Daemon) -> int:
    return int(psutil.Process(daemon.process.pid).memory_info().rss)


def _judge(soak: Soak, watch: Watch) -> None:
    """What must hold afterwards."""
    assert watch.most == 1
    assert watch.samples > 100
    eventually(lambda: [r.now.metric("analytics_leader") for r in soak.replicas].count(1.0) == 1)
    eventually(lambda: all(r.now.metric("analytics_history_pending") == 0 for r in soak.replicas))
    # every alert that was ever told is over, and was told to be over
    eventually(lambda: all(state == "resolved" for state in _last_states(soak).values()))
    assert soak.cluster.execute("select count(*) from analytics_refresh.runs where outcome is null") in [(0,), (1,)]
    for replica in soak.replicas:
        process = psutil.Process(replica.now.process.pid)
        assert process.num_threads() < 25
    # three connections each, and one of ours
    with soak.cluster.connect() as connection:
        eventually(lambda: our_sessions(connection) <= 6)
    for line in soak.lines:
        assert "defect" not in str(line.get("message", ""))


def _last_states(soak: Soak) -> dict[str, str]:
    return {one["key"]: one["status"] for got in list(soak.pager.got) for one in got.alerts}


def test_sigterm_at_twenty_random_moments(dsn: str, stretched: Connection) -> None:
    """Whenever the stop comes, the exit is 0 within ten seconds, and no query of ours goes on on the server."""
    chance = random.Random(SEED)
    stretch(stretched, "recent_failures", 0.4)
    for _ in range(10):
        codes: list[int] = []

        def live(name: str, seconds: float, codes: list[int] = codes) -> None:
            with Daemon(dsn, schedule__interval="1s", service__replica=name) as daemon:
                daemon.wait_for("daemon.started")
                daemon.process.poll()
                time.sleep(seconds)
                codes.append(daemon.stop())

        lives = [threading.Thread(target=live, args=(name, chance.uniform(0, 2.5))) for name in ("one", "two")]
        for thread in lives:
            thread.start()
        for thread in lives:
            thread.join(60)
        assert codes == [0, 0]
        assert our_sessions(stretched) == 0
        assert refreshes_under_way(stretched) == 0
    assert value(stretched, "select count(*) from analytics_refresh.runs where outcome is null") == 0


@pytest.mark.timeout(400)
def test_log_budget_of_a_quiet_day_and_of_a_dead_database(dsn: str, connection: Connection) -> None:
    """A quiet day (288 slots) is at most 600 lines, eight hours without a database (96 slots) at most 100.

    Scaled: a slot a second, the limits that are counted in time scaled with it.
    """
    nowhere = f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"
    scaled: Settings = {
        "schedule__interval": "1s",
        "staleness__max_age": "1h",
        "alerts__database_unavailable_for": "1s",
    }
    with Daemon(dsn, **scaled) as quiet, Daemon(nowhere, **scaled) as lonely:
        quiet.wait_for("refresh.finished", count=SLOTS, within=200)
        lonely.wait_for("alert.firing")
        lines, lines_without = len(quiet.lines), len(lonely.lines)
        assert quiet.stop() == 0
        assert lonely.stop() == 0
    assert lines <= 600 * SLOTS / 288
    assert lines_without <= 100
