"""Changes the marker row, reads it from the views, and asks the daemons all the while."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import psycopg

from analytics_refreshd.core.model import VIEWS
from tests.support import truth
from tests.support.receivers import Receiver
from tests.support.soak import Replica

_MARKER_SECONDS = 0.3
_READ_SECONDS = 0.2
_POLL_SECONDS = 0.35
_READ = {
    "action_metrics_hourly": "select max(total_retries) from action_metrics_hourly where action_type = 'marker'",
    "trigger_performance_summary": "select max(total_retries) from trigger_performance_summary"
    " where trigger_id = 'marker'",
    "recent_failures": "select max(retry_count) from recent_failures where id = 'marker'",
    "action_type_distribution": "select max(total_retries) from action_type_distribution where action_type = 'marker'",
}


def make_marker(connection: psycopg.Connection[Any]) -> None:
    """Create the marker row, and what keeps rates and percentiles ordinary."""
    connection.execute("insert into triggers (id) values ('marker'), ('absurd')")
    connection.execute(
        "insert into action_results (id, job_id, trigger_id, action_type, status, duration_ms, retry_count)"
        " values ('marker', 'j', 'marker', 'marker', 'failed', 5, 0)"
    )
    connection.execute(
        "insert into action_results (id, job_id, action_type, status, executed_at, duration_ms, retry_count)"
        " select 'ordinary ' || i, 'j', 'rest', 'success', now(), 5, 0 from generate_series(1, 100) i"
    )


def _parse(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    """The samples of `/metrics` by name."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for line in text.splitlines():
        if line.startswith("#") or " " not in line:
            continue
        head, _, number = line.rpartition(" ")
        name, _, inside = head.partition("{")
        labels = dict(part.split("=", 1) for part in inside.rstrip("}").split(",") if "=" in part)
        found.setdefault(name, []).append(({k: v.strip('"') for k, v in labels.items()}, float(number)))
    return found


class Watch:
    """Three threads for as long as the context lasts: the marker, the views, the daemons."""

    def __init__(self, dsn: str, replicas: Sequence[Replica], pager: Receiver) -> None:
        self._dsn, self._replicas, self._pager = dsn, replicas, pager
        self._over = threading.Event()
        self._wall = time.time() - time.monotonic()
        self.markers = [truth.Marker(float("-inf"), None)]
        self.shown: list[truth.Shown] = []
        self.said: list[truth.Said] = []
        self.defects: list[str] = []
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._mark, self._look, self._ask)
        ]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(30)

    def _guarded(self, work: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                work()
            except (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError):
                self._over.wait(0.2)  # the server is away
            except Exception as error:
                self.defects.append(f"the watch itself: {error!r}")
                raise

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self._dsn, autocommit=True, connect_timeout=5, application_name="truth")

    def _mark(self) -> None:
        with self._connect() as connection:
            while not self._over.wait(_MARKER_SECONDS):
                number, sent = len(self.markers), time.monotonic()
                self.markers.append(truth.Marker(sent, None))
                connection.execute("update action_results set retry_count = %s where id = 'marker'", [number])
                self.markers[number] = truth.Marker(sent, time.monotonic())

    def _look(self) -> None:
        with self._connect() as connection:
            connection.execute("set lock_timeout = '100ms'")
            while not self._over.wait(_READ_SECONDS):
                for view in VIEWS:
                    asked = time.monotonic()
                    # a view that is locked or gone shows what it showed before
                    with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
                        row = connection.execute(_READ[view]).fetchone()
                        number = int(row[0] or 0) if row else 0
                        self.shown.append(truth.Shown(asked, time.monotonic(), view, number))

    def _ask(self) -> None:
        while not self._over.wait(_POLL_SECONDS):
            for replica in self._replicas:
                with suppress(OSError, urllib.error.URLError, AssertionError, ValueError, KeyError):
                    self.said.append(self._poll(replica))

    def _poll(self, replica: Replica) -> truth.Said:
        daemon = replica.now
        if daemon.process.poll() is not None or not daemon.events("daemon.started"):
            raise OSError("it does not run")
        base, asked = f"http://127.0.0.1:{daemon.port}", time.monotonic()
        with urllib.request.urlopen(f"{base}/metrics", timeout=5) as answer:
            metrics = _parse(answer.read().decode())
        ended = time.monotonic() - metrics["analytics_evaluation_silent_seconds"][0][1]
        with urllib.request.urlopen(f"{base}/status.json", timeout=5) as answer:
            document = json.loads(answer.read())
        gauge = {
            (labels["alert"], labels.get("view", ""))
            for labels, number in metrics.get("analytics_alerts_firing", [])
            if number
        }
        firing = {(each["alert"], each["view"] or "") for each in document["alerts"] if each["state"] == "firing"}
        return truth.Said(
            asked,
            time.monotonic(),
            replica.name,
            document["role"],
            ended,
            document["database_up"],
            {each["view"]: (each["verdict"], each["age_seconds"]) for each in document["views"]},
            frozenset(gauge),
            frozenset(firing),
        )

    def _seconds(self, text: str) -> float:
        """A log line's or a message's time on the monotonic clock."""
        return datetime.fromisoformat(text).timestamp() - self._wall

    def logged(self) -> list[truth.Logged]:
        """Every alert's changes in all logs."""
        found = []
        for replica in self._replicas:
            for line in replica.lines:
                if line["event"] in ("alert.firing", "alert.resolved"):
                    found.append(
                        truth.Logged(
                            self._seconds(line["timestamp"]),
                            replica.name,
                            (line["alert"], line.get("view") or ""),
                            line["event"] == "alert.firing",
                            datetime.fromisoformat(line["active_at"]).timestamp(),
                        )
                    )
        return sorted(found, key=lambda line: line.at)

    def told(self) -> list[truth.Told]:
        """Every alert in every message that the webhook accepted."""
        return [
            truth.Told(
                self._seconds(one["sent_at"]),
                one["key"],
                (one["alert"], one["view"] or ""),
                one["status"] == "firing",
                datetime.fromisoformat(one["started_at"]).timestamp(),
            )
            for got in list(self._pager.got)
            for one in got.alerts
        ]

    def evaluations(self, since: float) -> int:
        """How many evaluations began and ended since a moment, of the replica that did most."""
        ends: dict[str, list[float]] = {}
        for each in list(self.said):
            known = ends.setdefault(each.replica, [])
            if each.evaluated > since and (not known or each.evaluated > known[-1] + 0.3):
                known.append(each.evaluated)
        return max((len(known) - 1 for known in ends.values() if known), default=0)

    def latest(self) -> list[truth.Said]:
        """What each replica said last."""
        return list({each.replica: each for each in list(self.said)}.values())

    def firing(self) -> set[truth.AlertOf]:
        """What fires by the logs."""
        return truth.firing(self.logged(), float("inf"))

    def all_show(self, since: float) -> bool:
        """Whether every view shows a marker that was sent after a moment."""
        newest = {each.view: each.number for each in list(self.shown)[-4 * len(VIEWS) :]}
        return set(newest) == set(VIEWS) and all(self.markers[number].sent > since for number in newest.values())

    def errors(self) -> list[str]:
        """The log lines that a person would look at, by time."""
        lines = [(line, replica.name) for replica in self._replicas for line in replica.lines]
        shown = [
            f"{self._seconds(line['timestamp']):.1f} {name} {line['event']} "
            + " ".join(
                str(line[key])[:300]
                for key in ("alert", "view", "part", "outcome", "reason", "error", "description")
                if line.get(key)
            )
            for line, name in lines
            if line["level"] in ("warning", "error") or line["event"].startswith(("alert.", "leader.", "database."))
        ]
        return sorted(shown, key=lambda text: float(text.split(" ", 1)[0]))
