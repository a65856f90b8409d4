"""`incident` on the log of a real daemon that met real trouble, in every form in which log tools print it."""

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, command
from tests.support.faults import FAST, FaultServer
from tests.support.receivers import receiver
from tests.support.waiting import eventually

VIEWS = ["action_metrics_hourly", "action_type_distribution", "recent_failures", "trigger_performance_summary"]
pytestmark = pytest.mark.timeout(400)
POD = "analytics-refreshd-7c9f-x2x"


@pytest.fixture(scope="module")
def troubled() -> Iterator[list[str]]:
    """The log of one daemon: a view's lock held, then the refresh function gone, then the server stopped."""
    pristine = FaultServer()
    fault_server = FaultServer(pristine)
    try:
        fault_server.server.start()
        with receiver(200) as pager:
            yield _log_of_trouble(fault_server, f"{pager.url}/pager")
    finally:
        fault_server.destroy()
        pristine.destroy()


def _log_of_trouble(fault_server: FaultServer, pager: str) -> list[str]:
    settings = FAST | {
        "schedule__interval": "4s",
        "service__name": "shop",
        "service__replica": "r1",
        "staleness__max_age": "9s",
        "refresh__lock_timeout": "2800ms",
        "refresh__statement_timeout": "3100ms",
        "refresh__deadline": "3400ms",
        "alerts__database_unavailable_for": "1s",
        "receivers__pager__type": "webhook",
        "receivers__pager__url": pager,
    }

    with Daemon(fault_server.dsn, **settings) as daemon:

        def healthy_again(runs: int = 5) -> None:
            # three intervals of peace, so that the next trouble is an incident of its own
            start = len(daemon.lines)
            eventually(
                lambda: (
                    sum(
                        line["event"] == "refresh.finished" and line["outcome"] == "ok" for line in daemon.lines[start:]
                    )
                    >= 5
                ),
                every=0.1,
            )

        def stale(line: dict[str, Any]) -> bool:
            return bool(line["alert"] == "AnalyticsViewStale" and line["status"] == "firing")

        healthy_again()
        with fault_server.connect() as holder:
            holder.execute("set application_name = 'nightly-etl'")
            begun = str(daemon.lines[-1]["timestamp"])
            with holder.transaction():
                holder.execute("refresh materialized view concurrently recent_failures")
                daemon.wait_for("view.blocked")
                daemon.wait_for("alert.delivered", lambda line: line["timestamp"] > begun and stale(line))
        healthy_again()
        with fault_server.connect() as connection:
            connection.execute("alter function refresh_action_analytics() rename to hidden")
            daemon.wait_for("refresh.finished", lambda line: line["sqlstate"] == "42883")
            connection.execute("alter function hidden() rename to refresh_action_analytics")
        healthy_again()
        fault_server.server.stop("fast")
        daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsDatabaseUnavailable")
        # an outage between two slots is over when the server answers; this one is to cost a refresh
        eventually(
            lambda: any(
                line["event"] in ("refresh.skipped", "refresh.finished") and line["reason"] == "connect"
                for line in daemon.lines
            )
        )
        fault_server.server.start()
        daemon.wait_for("database.restored")
        healthy_again(runs=1)
        assert daemon.stop() == 0
        return list(daemon.raw)


def review(text: bytes, *words: str) -> str:
    """What `incident` prints for a log on standard input."""
    done = subprocess.run(
        [sys.executable, "-m", "analytics_refreshd", "incident", "--log", "-", *words],
        input=text,
        capture_output=True,
        timeout=60,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def read_back(log: list[str], form: Callable[[str], str] = str) -> dict[str, Any]:
    """The review as JSON."""
    text = "".join(form(line) + "\n" for line in log)
    parsed: dict[str, Any] = json.loads(review(text.encode(), "--format", "json"))
    return parsed


def moment(text: str) -> datetime:
    """A time of the log or the review."""
    return datetime.fromisoformat(text)


def parts(incidents: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The three troubles, in the order in which they were made; before them the views were old when the daemon came."""
    assert incidents[0]["began_with"] == "view.stale"
    assert incidents[0]["last_ok_before_at"] is None
    locked = next(one for one in incidents if one["blockers"])
    missing = next(one for one in incidents if (one["first_error"] or {}).get("sqlstate") == "42883")
    stopped = next(one for one in incidents if "AnalyticsDatabaseUnavailable" in {it["alert"] for it in one["alerts"]})
    assert locked["started_at"] < missing["started_at"] < stopped["started_at"]
    return locked, missing, stopped


def test_review_of_three_troubles(troubled: list[str]) -> None:
    """A held lock, a missing function and a stopped server are three incidents, told as they were."""
    result = read_back(troubled)
    lines = [json.loads(line) for line in troubled]
    assert (result["lines"], result["events"], result["cut_lines"], result["foreign_lines"]) == (len(lines),) * 2 + (
        0,
        0,
    )
    (log,) = result["databases"]
    assert (log["database"], log["replicas"], log["interval_seconds"]) == ("shop", ["r1"], 4.0)
    locked, missing, stopped = parts(result["incidents"])

    assert locked["views"] == ["recent_failures"]
    assert locked["reasons"] == {"lock_timeout": locked["runs"]["partial"]}
    assert locked["runs"]["ok"] == 1
    assert (locked["first_sqlstate"]["sqlstate"], locked["first_sqlstate"]["view"]) == ("55P03", "recent_failures")
    assert [item["application"] for item in locked["blockers"]] == ["nightly-etl"]
    assert [item["view"] for item in locked["stale"]] == ["recent_failures"]
    assert 0 < locked["stale"][0]["stale_seconds"] < locked["duration_seconds"]
    stale = next(item for item in locked["alerts"] if item["alert"] == "AnalyticsViewStale")
    assert {item["status"] for item in stale["deliveries"]} == {"firing", "resolved"}
    assert stale["resolved_at"] is not None
    first = next(line for line in lines if line.get("outcome") == "partial")
    assert moment(locked["started_at"]) == moment(first["started_at"])
    assert 0 < locked["detected_after_seconds"] <= locked["delivered_after_seconds"] < locked["recovered_after_seconds"]

    assert missing["first_error"]["sqlstate"] == "42883"
    assert sorted(missing["views"]) == VIEWS
    assert missing["runs"]["ok"] == 1
    assert "AnalyticsContractBroken" in {item["alert"] for item in missing["alerts"]}

    assert stopped["began_with"] in ("database.lost", "refresh.finished failed")
    restored = [
        line
        for line in lines
        if line["event"] == "database.restored"
        and moment(stopped["started_at"]) <= moment(line["timestamp"]) <= moment(stopped["ended_at"])
    ]
    (away,) = stopped["away"]
    assert (away["replica"], away["times"]) == ("r1", len(restored))
    assert away["seconds"] == sum(line["seconds"] for line in restored)
    assert stopped["missed_slots"] == sum(line["missed_slots"] for line in restored)
    assert "AnalyticsDatabaseUnavailable" in {item["alert"] for item in stopped["alerts"]}
    assert "leader.acquired" in {item["event"] for item in stopped["leaders"]}

    for one in (locked, missing, stopped):
        end = moment(one["ended_at"])
        assert any(
            line["event"] in ("refresh.finished", "database.restored") and moment(line["timestamp"]) == end
            for line in lines
        )


def test_markdown_and_table_tell_it(troubled: list[str]) -> None:
    """Markdown, the default, and the table carry the same facts for a reader."""
    text = "".join(line + "\n" for line in troubled).encode()
    markdown, table = review(text), review(text, "--format", "table")
    for shown in (markdown, table):
        for fact in ("55P03", "nightly-etl", "42883", "AnalyticsDatabaseUnavailable", "delivered to pager"):
            assert fact in shown
    assert markdown.count("\n## ") == 4
    assert "| Time to recover |" in markdown
    assert table.splitlines()[0].split()[:3] == ["incident", "database", "start"]
    assert "\x1b" not in markdown + table


@pytest.mark.nightly
def test_pause_and_kill_of_a_real_daemon() -> None:
    """A pause, a server lost within it and a kill -9 are told as they were, from the fields that a daemon writes."""
    pristine = FaultServer()
    fault_server = FaultServer(pristine)
    settings = FAST | {"service__name": "shop", "service__replica": "r1", "alerts__database_unavailable_for": "1s"}
    try:
        fault_server.server.start()
        with Daemon(fault_server.dsn, **settings) as daemon:
            # three intervals of peace after the views were old at the start, so that the loss is an incident of its own
            daemon.wait_for("refresh.finished", lambda line: line["outcome"] == "ok", count=5)
            words = ("pause", "--for", "1h", "--reason", "nightly load")
            assert command(fault_server.dsn, *words, **settings).returncode == 0
            daemon.wait_for("view.stale", lambda line: line["last_success_at"] > daemon.lines[0]["timestamp"])
            fault_server.server.stop("fast")
            daemon.wait_for("alert.firing", lambda line: line["alert"] == "AnalyticsDatabaseUnavailable")
            fault_server.server.start()
            daemon.wait_for("database.restored")
            assert command(fault_server.dsn, "resume", **settings).returncode == 0
            daemon.wait_for("refresh.resumed")
            resumed = daemon.lines[-1]["timestamp"]
            daemon.wait_for("refresh.finished", lambda line: line["timestamp"] > resumed and line["outcome"] == "ok")
            pid = daemon.process.pid
            assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
        with Daemon(fault_server.dsn, **settings) as second:
            second.wait_for("refresh.finished", lambda line: line["outcome"] == "ok")
            assert second.stop() == 0
            log = [*daemon.raw, *second.raw]
    finally:
        fault_server.destroy()
        pristine.destroy()
    result = read_back(log)
    lost = next(json.loads(line) for line in log if '"database.lost"' in line)
    found = next(item for item in result["incidents"] if item["began_with"] == "database.lost")
    assert moment(found["started_at"]) == moment(lost["timestamp"])
    assert [item["reason_text"] for item in found["pauses"]] == ["nightly load"]
    crashes = [*result["databases"][0]["crashes_outside"], *(c for i in result["incidents"] for c in i["crashes"])]
    assert [(item["replica"], item["last_pid"], item["pid"]) for item in crashes] == [("r1", pid, second.process.pid)]


def journald(line: str) -> str:
    """As `journalctl -o json` prints it."""
    return json.dumps({"__REALTIME_TIMESTAMP": "1", "_SYSTEMD_UNIT": "analytics-refreshd.service", "MESSAGE": line})


def journald_bytes(line: str) -> str:
    """The same where journald takes the message for binary."""
    return json.dumps({"PRIORITY": "6", "MESSAGE": list(line.encode())})


def kubectl(line: str) -> str:
    """As `kubectl logs --prefix --timestamps` prints it."""
    return f"[pod/{POD}/daemon] {datetime.now(UTC).isoformat()} {line}"


@pytest.mark.parametrize("form", [journald, journald_bytes, kubectl])
def test_journald_and_kubectl_forms(troubled: list[str], form: Callable[[str], str]) -> None:
    """What journald and Kubernetes print of the log gives the same review."""
    plain, dressed = read_back(troubled), read_back(troubled, form)
    assert dressed == plain


def test_file_window_and_compression(troubled: list[str], tmp_path: Path) -> None:
    """A compressed file is read; a window shows the incidents that touch it."""
    path = tmp_path / "log.gz"
    path.write_bytes(gzip.compress("".join(line + "\n" for line in troubled).encode()))
    locked, missing, _ = parts(read_back(troubled)["incidents"])
    done = subprocess.run(
        [sys.executable, "-m", "analytics_refreshd", "incident", "--log", str(path), "--format", "json",
         "--since", missing["started_at"], "--until", missing["ended_at"]],
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert [item["started_at"] for item in json.loads(done.stdout)["incidents"]] == [missing["started_at"]]
    assert locked["ended_at"] < missing["started_at"]


@pytest.mark.quick
@pytest.mark.parametrize("words", [
    ("--since", "yesterday"),
    ("--since", "2026-03-01T02:00:00"),
    ("--since", "1h", "--until", "2h"),
    ("--log", "absent.log"),
    ("--format", "csv"),
])  # fmt: skip
def test_wrong_usage_exits_64(words: tuple[str, ...]) -> None:
    """What cannot be read or understood ends with one sentence and exit 64."""
    done = subprocess.run(
        [sys.executable, "-m", "analytics_refreshd", "incident", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr
