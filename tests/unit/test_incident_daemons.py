"""Daemons that were killed or crashed: they write no line of it, the next one's start tells."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from analytics_refreshd.incident import markdown
from analytics_refreshd.incident.daemons import Daemons
from analytics_refreshd.incident.model import LIMIT, Crash
from analytics_refreshd.incident.review import review
from tests.support.log_lines import at, fold, line, run, text


def started(minutes: float, pid: int | None, replica: str = "r1") -> dict[str, Any]:
    """`daemon.started`."""
    return line(minutes, "daemon.started", replica=replica, pid=pid, interval_seconds=300.0)


def stopping(minutes: float) -> dict[str, Any]:
    """`daemon.stopping`."""
    return line(minutes, "daemon.stopping", reason="SIGTERM", running=False)


def failed(minutes: float) -> dict[str, Any]:
    """A run that failed."""
    return run(minutes, "failed", reason="deadlock", sqlstate="40P01", error="deadlock detected")


def killed() -> list[dict[str, Any]]:
    """A daemon that a kill -9 ends in an incident."""
    return [started(-5, 100), run(0), failed(5), line(6, "config.loaded"), started(6.1, 200), run(10)]


def test_start_without_a_stop_is_a_crash() -> None:
    """A daemon that ended without a word is told with both pids and its last line, which is none of its successor's."""
    (found,) = fold(killed()).incidents
    assert found.crashes == (Crash("r1", at(6.1), 200, at(5.1), 100, None),)
    assert (found.crash_count, found.other_events) == (1, {})


def test_start_after_a_stop_is_none() -> None:
    """A daemon that stopped, and a first one, are no crash; a start is counted, as the stop is."""
    stopped = line(6, "daemon.stopped", exit_code=0, seconds=0.1)
    (found,) = fold([started(-5, 100), run(0), failed(5), stopping(5.9), stopped, started(7, 200), run(10)]).incidents
    assert found.crashes == ()
    assert found.other_events == {"daemon.stopping": 1, "daemon.stopped": 1, "daemon.started": 1}
    two = [started(-5, 100), started(-4, 100, "r2"), run(0)]
    assert fold(two).crashes_outside == ()


def test_daemon_killed_while_it_stopped() -> None:
    """One that began to stop and was killed over it is told with that moment."""
    lines = [started(-5, 100), run(0), failed(5), stopping(6), stopping(6.1), started(7, 200), run(10)]
    (found,) = fold(lines).incidents
    assert found.crashes == (Crash("r1", at(7), 200, at(6.1), 100, at(6)),)


def test_crash_of_a_daemon_whose_start_is_not_in_the_log() -> None:
    """A replica that led was a daemon, whose pid is not known; a command's lines under its name are no daemon's."""
    led = [line(-1, "leader.acquired", epoch=1), line(0.5, "leader.lost", epoch=1), failed(5), started(7, None)]
    (found,) = fold([run(0), *led, run(10)]).incidents
    assert found.crashes == (Crash("r1", at(7), None, at(5.1), None, None),)
    (found,) = fold([run(0), stopping(1), failed(5), started(7, 200), run(10)]).incidents
    assert found.crashes == ()


def test_crash_belongs_to_the_incident_that_follows() -> None:
    """A view that nobody refreshed since a daemon died makes an incident, and the death is told in it."""
    stale = line(30.2, "view.stale", view="v", max_age_seconds=600.0, last_success_at=run(0)["timestamp"])
    log = fold([started(-5, 100), run(0), started(30, 200), stale, run(35)])
    (found,) = log.incidents
    assert (found.started_at, [item.last_pid for item in found.crashes]) == (at(10.1), [100])
    assert log.crashes_outside == ()


def test_crash_outside_of_incidents_is_listed_apart() -> None:
    """Where a death cost nothing it is no incident's, and told all the same, even when no run comes after it."""
    log = fold([started(-5, 100), run(0), started(2, 200), run(5), started(7, 300)])
    assert log.incidents == ()
    assert [(item.last_pid, item.pid) for item in log.crashes_outside] == [(100, 200), (200, 300)]


def test_crashes_are_bounded() -> None:
    """A daemon that is killed all night leaves bounded memory and the count, and so do pods under ever new names."""
    loop = [started(6 + n / 100, n) for n in range(LIMIT + 6)]
    (found,) = fold([run(0), failed(5), *loop, run(20)]).incidents
    assert (len(found.crashes), found.crash_count) == (LIMIT, LIMIT + 5)
    log = fold([run(0), *loop, run(20)])
    assert len(log.crashes_outside) == LIMIT
    assert f"5 crashes outside of incidents: the first {LIMIT} are kept" in log.missing
    daemons = Daemons()
    for n in range(20 * LIMIT):
        daemons.started(at(n), f"r{n}", {})
    assert len(daemons._lives) == 10 * LIMIT


def test_words_of_a_crash(tmp_path: Path) -> None:
    """The review says who started without the one before it having stopped, within an incident and outside."""
    path = tmp_path / "log"

    def said(lines: list[dict[str, Any]]) -> str:
        path.write_text(text(lines))
        return "\n".join(markdown.document(review([str(path)])))

    assert (
        "| Daemon killed or crashed | r1 (pid 200) started 2026-03-01 12:06:06Z though the one before it (pid 100) had"
        " not stopped; that one's last line: 2026-03-01 12:05:06Z |" in said(killed())
    )
    assert "which began to stop 2026-03-01 12:06:00Z had not" in said(
        [run(0), started(1, 1), stopping(6), started(7, 2)]
    )
    assert "<br>and 5 more |" in said(
        [run(0), failed(5), *(started(6 + n / 100, n) for n in range(LIMIT + 6)), run(20)]
    )
    outside = said([started(-5, 100), run(0), started(2, 200), run(5)])
    assert "## Daemons killed or crashed outside of incidents\n\n- shop: r1 (pid 200) started" in outside
    words = [sys.executable, "-m", "analytics_refreshd", "incident", "--log", str(path), "--format", "table"]
    table = subprocess.run(words, capture_output=True, check=True, text=True).stdout
    assert "daemon killed or crashed outside of incidents, shop: r1 (pid 200) started" in table
