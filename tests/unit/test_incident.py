"""Log lines folded into incidents, on hand-written logs."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

import pytest

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.incident.fields import slim
from analytics_refreshd.incident.fold import DatabaseFold
from analytics_refreshd.incident.model import Incident
from analytics_refreshd.incident.tracker import INCIDENTS_KEPT
from tests.support.log_lines import at, fold, line, lock_incident, run, stamp


def only(lines: list[dict[str, Any]]) -> Incident:
    """The one incident in these lines."""
    (found,) = fold(lines).incidents
    return found


def lost(minutes: float, **fields: Any) -> dict[str, Any]:
    """`database.lost`."""
    return line(minutes, "database.lost", level="warning", reason="connect", sqlstate=None,
                error="connection refused", **fields)  # fmt: skip


def restored(minutes: float, seconds: float, missed: int, **fields: Any) -> dict[str, Any]:
    """`database.restored`."""
    return line(minutes, "database.restored", seconds=seconds, missed_slots=missed, **fields)


def test_quiet_log_has_no_incident() -> None:
    """Runs that are ok, a pause and a skipped slot are no incident."""
    log = fold([run(0), line(3, "refresh.paused", reason_text="x"),
                line(5, "refresh.skipped", reason="paused", repeated=1), run(10)])  # fmt: skip
    assert log.incidents == ()
    assert log.runs == {"ok": 2, "skipped": 1}


def test_held_lock_is_reviewed_whole() -> None:
    """A held lock gives one review with every figure that is in the log."""
    found = asdict(only(lock_incident()))
    error = found["first_error"]
    assert found | {"first_error": None, "first_sqlstate": None} == {
        "database": "shop",
        "started_at": at(5),
        "ended_at": at(15.1),
        "duration_seconds": 606.0,
        "began_with": "refresh.finished partial",
        "last_ok_before_at": at(0.1),
        "parts": 1,
        "views": ("recent_failures",),
        "runs": {"partial": 2, "ok": 1},
        "skipped": {},
        "missed_slots": None,
        "reasons": {"lock_timeout": 2},
        "first_error": None,
        "first_sqlstate": None,
        "errors": (
            {
                "sqlstate": "55P03",
                "error": "canceling statement due to lock timeout",
                "reason": "lock_timeout",
                "views": ["recent_failures"],
                "first_at": at(5.4),
                "last_at": at(10.5),
                "times": 2,
            },
        ),
        "errors_beyond": 0,
        "blockers": (
            {
                "pid": 812,
                "application": "nightly-etl",
                "user": "etl",
                "state": "idle in transaction",
                "transaction_started_at": at(4),
                "visible": True,
                "views": ["recent_failures"],
                "first_at": at(5.1),
                "last_at": at(10.1),
                "waited_seconds": 4.0,
                "times": 2,
            },
        ),
        "retries": 0,
        "leader_changes": 0,
        "leaders": (),
        "crash_count": 0,
        "crashes": (),
        "away": (),
        "stale": (
            {
                "view": "recent_failures",
                "told_at": at(10.15),
                "since_at": at(10.05),
                "max_age_seconds": 600.0,
                "until_at": at(15.1),
                "stale_seconds": pytest.approx(303.0),
                "oldest_seconds": pytest.approx(903.0),
                "times": 1,
                "last_success_at": at(0.05),
                "open_since": None,
            },
        ),
        "pauses": (),
        "paused_seconds": 0.0,
        "asked": (),
        "alerts": (
            {
                "alert": "AnalyticsViewStale",
                "view": "recent_failures",
                "severity": "warning",
                "active_at": at(10.15),
                "fired_at": at(10.15),
                "resolved_at": at(15.2),
                "summary": "shop: recent_failures is 10 min old",
                "deliveries": [
                    {"receiver": "pager", "host": "hooks.example", "status": "firing", "at": at(10.2), "tries": 1},
                    {"receiver": "pager", "host": "hooks.example", "status": "resolved", "at": at(15.3), "tries": 2},
                ],
                "failed_deliveries": [],
            },
        ),
        "detected_after_seconds": pytest.approx(309.0),
        "delivered_after_seconds": pytest.approx(312.0),
        "recovered_after_seconds": pytest.approx(606.0),
        "failed_requests": None,
        "other_events": {},
        "lost_lines": 0,
        "missing": (),
    }
    assert error == found["first_sqlstate"]
    assert (error["at"], error["event"], error["view"], error["sqlstate"], error["error"]) == (
        at(5.4),
        "view.failed",
        "recent_failures",
        "55P03",
        "canceling statement due to lock timeout",
    )


def test_database_away() -> None:
    """An outage lasts until a run is ok again; slots that were folded are counted from database.restored."""
    found = only(
        [
            line(-6, "daemon.started", interval_seconds=300.0),
            run(0),
            lost(2),
            line(2.1, "leader.lost", reason="connection refused", epoch=1),
            line(5, "refresh.skipped", reason="connect", repeated=1),
            line(65, "refresh.skipped", reason="connect", repeated=13),
            restored(92, 5400.0, 18),
            line(92.1, "leader.acquired", epoch=2),
            run(95),
        ]
    )
    assert (found.started_at, found.ended_at) == (at(2), at(95.1))
    assert found.runs == {"ok": 1}
    assert found.skipped == {"connect": 2}
    assert found.missed_slots == 18
    assert (found.away[0].replica, found.away[0].seconds, found.away[0].until_at) == ("r1", 5400.0, at(92))
    assert [(change.event, change.epoch) for change in found.leaders] == [("leader.lost", 1), ("leader.acquired", 2)]
    assert "16 of 18 missed slots: the daemon counts them, not logging each" in found.missing
    assert "an SQLSTATE: no error in the log has one" in found.missing


def test_outage_between_slots_ends_when_the_database_answers() -> None:
    """Where no slot was missed nothing is owed; the leader that comes back belongs to the incident."""
    found = only([run(0), lost(1), line(1.1, "leader.lost", epoch=1), restored(2, 60.0, 0),
                  line(2.1, "leader.acquired", epoch=2), run(5)])  # fmt: skip
    assert (found.started_at, found.ended_at) == (at(1), at(2))
    assert found.leader_changes == 2
    assert found.runs == {}


def test_adjacent_outages_are_one() -> None:
    """An outage that returns within three intervals continues the incident, and the runs between count."""
    bad: dict[str, Any] = {"reason": "deadlock", "sqlstate": "40P01", "error": "deadlock detected"}
    start = line(-6, "daemon.started", interval_seconds=300.0)
    found = only([start, run(0), run(5, "failed", **bad), run(10), run(15), run(20, "failed", **bad), run(25)])
    assert (found.started_at, found.ended_at, found.parts) == (at(5), at(25.1), 2)
    assert found.runs == {"failed": 2, "ok": 3}
    apart = fold([start, run(0), run(5, "failed", **bad), run(10), run(15), run(20), run(30, "failed", **bad), run(35)])
    assert [(item.started_at, item.ended_at) for item in apart.incidents] == [(at(5), at(10.1)), (at(30), at(35.1))]
    assert [item.last_ok_before_at for item in apart.incidents] == [at(0.1), at(20.1)]


def test_log_that_begins_in_mid_incident() -> None:
    """What came before the first line is said to be missing; the outage's length comes from database.restored."""
    found = only([line(60, "refresh.skipped", reason="connect", repeated=25), restored(70, 9000.0, 27), run(75)])
    assert (found.started_at, found.ended_at, found.began_with) == (at(60), at(75.1), "refresh.skipped connect")
    assert found.away[0].from_at == at(70 - 150)
    assert found.away[0].seconds == 9000.0
    assert found.missed_slots == 27
    assert found.missing[0] == ("the start: no successful run comes before it in the log, so it may have begun earlier")


def test_restored_alone_tells_of_an_outage() -> None:
    """A log whose first line is database.restored still has the incident, begun when that line says."""
    found = only([restored(70, 600.0, 2), run(75)])
    assert (found.started_at, found.ended_at) == (at(60), at(75.1))
    assert "the loss of the database: its database.lost is not in the log" in found.missing


def test_log_that_ends_in_mid_incident() -> None:
    """An incident that is not over has no end and no time to recover, and says so; its duration is so far."""
    lines = lock_incident()[:-4]
    found = only(lines)
    assert (found.ended_at, found.recovered_after_seconds) == (None, None)
    assert found.duration_seconds == pytest.approx((at(10.5) - at(5)).total_seconds())
    assert found.stale[0].until_at is None
    assert found.stale[0].stale_seconds == pytest.approx(27.0)
    assert "the end: the log ends before everything was ok again" in found.missing
    assert "the resolution of AnalyticsViewStale of recent_failures" in found.missing


def test_view_stale_before_the_log_began() -> None:
    """A view that was stale before the first line is told with its true age; the incident begins with the line."""
    stale = line(1, "view.stale", level="warning", view="recent_failures", age_seconds=86400.0,
                 max_age_seconds=600.0, last_success_at="2026-02-28T12:00:00.000Z")  # fmt: skip
    found = only([line(0, "daemon.started", interval_seconds=300.0), stale, run(2)])
    assert (found.started_at, found.ended_at) == (at(1), at(2.1))
    assert found.stale[0].stale_seconds == pytest.approx(86400 - 600 + 126)
    assert "what made recent_failures stale: it was so before the log begins" in found.missing


def test_stale_view_of_unknown_age() -> None:
    """A view without a known success is stale from its first line on, and the review says that."""
    found = only([run(0), line(1, "view.stale", view="recent_failures", age_seconds=None, max_age_seconds=600.0,
                               last_success_at=None), run(5)])  # fmt: skip
    assert (found.stale[0].since_at, found.stale[0].oldest_seconds) == (None, None)
    assert found.stale[0].stale_seconds == pytest.approx(246.0)
    assert any(text.startswith("since when recent_failures was stale") for text in found.missing)


def test_partial_run_refreshes_what_succeeded() -> None:
    """A stale view that a partial run refreshed is stale no longer; the incident goes on."""
    stale = [line(11, "view.stale", view=view, max_age_seconds=600.0, last_success_at="2026-03-01T12:00:06.000Z")
             for view in ("recent_failures", "action_metrics_hourly")]  # fmt: skip
    half = run(15, "partial", success=(True, True, False, True), sqlstate="55P03", view_reason="lock_timeout",
               error="timeout")  # fmt: skip
    found = only([run(0), *stale, half, run(20)])
    assert {item.view: item.until_at for item in found.stale} == {
        "recent_failures": at(20.1),
        "action_metrics_hourly": at(15.1),
    }
    assert "a blocker: a run timed out, and no view.blocked line names a session" in found.missing


def test_retries_and_blockers_of_a_good_run_are_no_incident() -> None:
    """What a run overcame by itself is not carried into a later incident."""
    retry = line(5.01, "refresh.retry", reason="deadlock", sqlstate="40P01", error="deadlock detected", attempt=1)
    bad = run(10, "failed", reason="undefined", sqlstate="42883", error="function does not exist")
    found = only([run(0), retry, line(5.02, "view.blocked", view="v", blocker_pid=1), run(5), bad, run(15)])
    assert (found.retries, found.blockers) == (0, ())
    assert found.first_sqlstate is not None
    assert found.first_sqlstate.sqlstate == "42883"


def test_retries_of_the_failing_run_count() -> None:
    """A failed run's retries belong to the incident, and the first of them has the first error."""
    retries = [line(5 + n / 60, "refresh.retry", reason="deadlock", sqlstate="40P01", error=f"try {n}", attempt=n)
               for n in (1, 2)]  # fmt: skip
    found = only([run(0), *retries, run(5, "failed", reason="deadlock", sqlstate="40P01", error="last"), run(10)])
    assert found.retries == 2
    assert found.first_error is not None
    assert (found.first_error.event, found.first_error.error) == ("refresh.retry", "try 1")


def test_replica_that_leads_ends_the_outage_of_another() -> None:
    """An ok run of one replica proves that the database answers; the other's restored line adds its slots only."""
    found = only([run(0), lost(1), lost(1, replica="r2"), restored(3, 120.0, 0, replica="r2"), run(5, replica="r2"),
                  restored(6, 300.0, 1), run(10, replica="r2")])  # fmt: skip
    assert (found.started_at, found.ended_at) == (at(1), at(5.1))
    assert {item.replica: (item.seconds, item.missed_slots) for item in found.away} == {
        "r1": (pytest.approx(246.0), 1),
        "r2": (120.0, 0),
    }


def test_alert_outside_of_incidents_is_kept_apart() -> None:
    """An alert without failed runs or stale views is listed on its own, until an incident begins under it."""
    fire = line(1, "alert.firing", alert="AnalyticsRefreshSlow", severity="warning", summary="6 s")
    over = line(2, "alert.resolved", alert="AnalyticsRefreshSlow", severity="warning")
    quiet = fold([run(0), fire, over, run(5)])
    assert quiet.incidents == ()
    assert [(item.alert, item.fired_at, item.resolved_at) for item in quiet.alerts_outside] == [
        ("AnalyticsRefreshSlow", at(1), at(2))
    ]
    bad = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x")
    under = fold([run(0), fire, bad, run(10), over | {"timestamp": run(12)["timestamp"]}])
    assert under.alerts_outside == ()
    assert under.incidents[0].alerts[0].resolved_at == at(12.1)
    assert under.incidents[0].detected_after_seconds is None
    assert "detection: no alert of this incident fired after its start" in under.incidents[0].missing


@pytest.mark.parametrize("known", [True, False])
def test_L29_an_alert_is_listed_with_the_severity_that_it_rose_to(known: bool) -> None:
    """Also where the log begins after it fired."""
    fire = line(1, "alert.firing", alert="AnalyticsViewStale", view="v", severity="warning", summary="21 min old")
    worse = line(
        2, "alert.escalated", alert="AnalyticsViewStale", view="v", severity="critical", fired_at=at(1).isoformat()
    )
    (alert,) = fold([run(0), *([fire] if known else []), worse, run(5)]).alerts_outside
    assert (alert.severity, alert.fired_at) == ("critical", at(1))


def test_alert_of_the_application_detects_no_incident() -> None:
    """A high latency of the application fires and is delivered before and during an outage, and stays apart from it."""

    def told(minutes: float, alert: str) -> list[dict[str, Any]]:
        return [
            line(minutes, "alert.firing", alert=alert),
            line(minutes + 0.01, "alert.delivered", alert=alert, receiver="pager", status="firing"),
        ]

    log = fold(
        [
            run(0),
            *told(-2, "AnalyticsHighLatency"),
            lost(1),
            *told(1.1, "AnalyticsLowSuccessRate"),
            *told(2, "AnalyticsDatabaseUnavailable"),
            restored(3, 120.0, 0),
        ]
    )
    (found,) = log.incidents
    assert [item.alert for item in found.alerts] == ["AnalyticsDatabaseUnavailable"]
    assert [item.alert for item in log.alerts_outside] == ["AnalyticsHighLatency", "AnalyticsLowSuccessRate"]
    assert found.detected_after_seconds == pytest.approx(60.0)
    assert found.delivered_after_seconds == pytest.approx(60.6)


def test_repeat_of_an_earlier_alert_is_no_detection() -> None:
    """A delivery repeated under an incident counts only if its alert fired since the start, and only after it fired."""
    slow = {"alert": "AnalyticsRefreshSlow", "receiver": "pager", "status": "firing"}
    stale = {"alert": "AnalyticsViewStale", "view": "v", "receiver": "pager", "status": "firing"}
    bad = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x")
    early = [run(0), line(1, "alert.firing", alert="AnalyticsRefreshSlow"), line(1.1, "alert.delivered", **slow), bad,
             line(6, "alert.delivered", **slow)]  # fmt: skip
    assert only([*early, run(10)]).delivered_after_seconds is None
    assert only([*early, line(7, "alert.delivered", **stale), run(10)]).delivered_after_seconds == 120.0
    crossed = [line(7, "alert.delivered", **stale), line(7.5, "alert.firing", alert="AnalyticsViewStale", view="v"),
               line(8, "alert.delivered", **stale)]  # fmt: skip
    assert only([*early, *crossed, run(10)]).delivered_after_seconds == 180.0


def test_delivery_that_failed() -> None:
    """A receiver that refused is named with its error and how often in a row."""
    lines = lock_incident()
    lines = [item for item in lines if item["event"] != "alert.delivered"]
    lines += [line(10.2 + n, "alert.delivery_failed", level="warning", receiver="pager", host="h",
                   alert="AnalyticsViewStale", view="recent_failures", error="HTTP 500", tries=3, failures=2**n)
              for n in (0, 1)]  # fmt: skip
    found = only(lines)
    assert found.delivered_after_seconds is None
    (failed,) = found.alerts[0].failed_deliveries
    assert (failed.receiver, failed.error, failed.failures, failed.at) == ("pager", "HTTP 500", 2, at(10.2))


def test_no_delivery_in_the_log_is_said() -> None:
    """An alert of which no receiver is heard is not called delivered."""
    found = only([item for item in lock_incident() if item["event"] != "alert.delivered"])
    assert found.missing == (
        "the delivery of AnalyticsViewStale of recent_failures, nor of any other alert: perhaps the daemon has no"
        " receiver",
    )


def test_resolution_without_its_firing() -> None:
    """An alert whose firing line is missing is known from its resolution, which says when it fired."""
    lines = [item for item in lock_incident() if item["event"] not in ("alert.firing", "alert.delivered")]
    alert = only(lines).alerts[0]
    assert (alert.fired_at, alert.resolved_at) == (at(10.15), at(15.2))


@pytest.mark.parametrize(("lines", "seconds", "source"), [
    ([line(0, "daemon.started", interval_seconds=60.0), run(1), run(11)], 60.0, "daemon.started"),
    ([run(0), run(15), run(25)], 600.0, "slots"),
    ([run(0)], 300.0, "default"),
])  # fmt: skip
def test_interval(lines: list[dict[str, Any]], seconds: float, source: str) -> None:
    """The interval is the daemon's own, else the smallest distance of two slots, else the default; it is said which."""
    log = fold(lines)
    assert (log.interval_seconds, log.interval_source) == (seconds, source)


def test_lines_of_warnings_only_are_said_to_lack_recoveries() -> None:
    """A log filtered by level shows no recovery, and the review knows why."""
    log = fold([item for item in lock_incident() if item["level"] == "warning"])
    assert log.missing == ("lines of level info: without them no recovery can be seen",)
    assert log.incidents[0].ended_at is None


def test_lost_lines_are_said() -> None:
    """Lines that the daemon could not write are counted, for the log and for the incident."""
    lines = [*lock_incident(), line(8, "guard.tripped", lost_lines=7)]
    log = fold(lines)
    assert log.missing == ("7 lines that the daemon could not write",)
    assert log.incidents[0].lost_lines == 7
    assert log.incidents[0].other_events == {"guard.tripped": 1}


def test_cancelled_and_skipped_runs_neither_open_nor_close() -> None:
    """A cancelled run is counted within an incident and changes nothing else."""
    bad = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x")
    skipped = line(12, "refresh.skipped", reason="overlap", repeated=1)
    more = line(14, "refresh.skipped", reason="overlap", repeated=13)
    found = only([run(0, "cancelled"), run(1), bad, run(10, "cancelled"), skipped, more, run(15)])
    assert (found.started_at, found.ended_at) == (at(5), at(15.1))
    assert found.runs == {"failed": 1, "cancelled": 1, "ok": 1}
    assert found.skipped == {"overlap": 13}


def test_views_left_out_of_a_line_are_said() -> None:
    """A canonical line whose views did not fit says that they are missing."""
    bad = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x")
    del bad["views"]
    assert "the views of a run: its line names none" in only([run(0), bad, run(10)]).missing


def test_memory_is_bounded() -> None:
    """Ten thousand incidents leave the latest ones and a count; a long one leaves bounded parts."""
    fold_ = DatabaseFold("shop")
    bad: dict[str, Any] = {"reason": "deadlock", "sqlstate": "40P01", "error": "x"}
    for number in range(INCIDENTS_KEPT + 20):
        for item in (run(100 * number, "failed", **bad), run(100 * number + 1)):
            fold_.add(at(100 * number + (item["outcome"] == "ok")), item)
    log = fold_.result()
    assert log is not None
    assert len(log.incidents) == INCIDENTS_KEPT
    assert "20 earlier incidents: only the last 500 are kept" in log.missing
    long = [run(0, "failed", **bad)]
    for number in range(200):
        long.append(line(number, "view.blocked", view=f"v{number}", blocker_pid=number))
        long.append(line(number, "alert.firing", alert=f"a{number}", view=f"v{number}"))
        long.append(line(number, "view.stale", view=f"v{number}", max_age_seconds=1.0))
        long.append(lost(number, replica=f"r{number}"))
        long.append(line(number, "leader.acquired", replica=f"r{number}", epoch=number))
    fold_ = DatabaseFold("shop")
    for item in long:
        fold_.add(datetime.fromisoformat(item["timestamp"]), item)
    assert (len(fold_._tracker._stale), len(fold_._tracker._away), len(fold_._alerts._latest)) == (50, 50, 200)
    found = only(long)
    parts = (found.blockers, found.alerts, found.stale, found.away, found.leaders, found.views)
    assert [len(part) for part in parts] == [50] * 6
    assert found.leader_changes == 200


def test_slim_keeps_what_folding_reads() -> None:
    """The slim lines give the same review, and a good run keeps hardly anything."""
    lines = lock_incident()
    assert fold([slim(dict(item)) for item in lines]) == fold(lines)
    assert set(slim(run(0))) == {"timestamp", "level", "event", "database", "replica", "run_id", "outcome",
                                 "scheduled_at"}  # fmt: skip
    assert slim(run(0, isolation="view"))["refreshed_views"] == sorted(VIEWS)


def test_lines_without_a_meaning_change_nothing() -> None:
    """Outcomes, reasons, alerts and views that are no such thing are passed over."""
    odd = [
        run(5, "splendid"),
        line(6, "refresh.skipped", reason="boredom", repeated=1),
        line(7, "alert.firing", view="v"),
        line(7, "alert.resolved"),
        line(7, "alert.delivered"),
        line(7, "alert.delivery_failed", receiver="heart", phase="start", error="HTTP 500", failures=1),
        line(8, "view.stale"),
        line(9, "no.such.event"),
    ]
    log = fold([run(0), *odd, run(10)])
    assert (log.incidents, log.alerts_outside, log.runs) == ((), (), {"ok": 2})
    assert DatabaseFold("shop").result() is None


def test_heartbeat_that_fails_is_counted() -> None:
    """A failed heartbeat belongs to no alert; it is counted while an incident lasts."""
    beat = line(6, "alert.delivery_failed", receiver="heart", phase="fail", error="HTTP 500", failures=1)
    bad = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x", views=["?", {"success": False}])
    found = only([run(0), bad, beat, run(10)])
    assert found.other_events == {"alert.delivery_failed": 1}
    assert found.views == ()


def test_run_without_a_database_opens_an_outage() -> None:
    """Runs that failed to connect, without a database.lost line before them, tell that the database was away."""
    bad = run(5, "failed", reason="connect", error="connection refused")
    found = only([run(0), bad, line(5.2, "database.lost", reason="connect", error="refused"), run(10)])
    (away,) = found.away
    assert (away.from_at, away.until_at) == (None, at(10.1))
    assert "how many slots were missed: the daemon logs every twelfth, and no database.restored line counts them" in (
        found.missing
    )


def test_second_outage_and_second_staleness_add_up() -> None:
    """What happens twice within an incident is one part with both stretches in it."""

    def old(minutes: float) -> dict[str, Any]:
        return line(minutes, "view.stale", view="recent_failures", max_age_seconds=60.0, last_success_at=None)

    found = only([run(0), lost(1), restored(2, 60.0, 0), old(3), run(5), lost(6), restored(6.5, 30.0, 0), old(7),
                  old(8), run(10)])  # fmt: skip
    assert [(item.times, item.seconds) for item in found.away] == [(2, 90.0)]
    (stale,) = found.stale
    assert stale.times == 2
    assert stale.stale_seconds == pytest.approx(126 + 186)


def test_outages_of_many_vanished_replicas_are_forgotten() -> None:
    """Replicas that come and go, as pods do, leave no memory behind."""
    fold_ = DatabaseFold("shop")
    for number in range(120):
        for item in (lost(number, replica=f"r{number}"), run(number + 0.5)):
            fold_.add(datetime.fromisoformat(item["timestamp"]), item)
    assert len(fold_._tracker._answered) == 50


def test_alerts_outside_beyond_the_limit_are_counted() -> None:
    """More alerts than are kept are counted; more kinds than can be are passed over."""
    many = [line(n / 10, "alert.firing", alert=f"a{n}") for n in range(600)]
    log = fold([run(0), *many, line(61, "alert.resolved", alert="a599")])
    assert len(log.alerts_outside) == 50
    assert "450 alerts outside of incidents: the first 50 are kept" in log.missing


def test_deliveries_beyond_the_limit_are_dropped() -> None:
    """A receiver that fails under ever new names leaves bounded memory."""
    fire = line(1, "alert.firing", alert="a")
    failed = [line(2, "alert.delivery_failed", alert="a", receiver=f"r{n}", error="x", failures=1) for n in range(80)]
    sent = [line(3, "alert.delivered", alert="a", receiver=f"r{n}", status="firing") for n in range(80)]
    (alert,) = fold([run(0), fire, *failed, *sent]).alerts_outside
    assert (len(alert.failed_deliveries), len(alert.deliveries)) == (50, 50)


def test_times_that_are_none_and_times_beyond_the_calendar() -> None:
    """A time that cannot be read is absent, and a limit that ends after the last year has no end."""
    odd = run(5, "failed", reason="deadlock", sqlstate="40P01", error="x", started_at="noon", scheduled_at="2026-03-01")
    stale = line(6, "view.stale", view="v", max_age_seconds=9e11, last_success_at="9999-12-31T23:59:59Z")
    found = only([run(0), odd, stale, run(10)])
    assert found.started_at == at(5.1)
    assert found.stale[0].since_at is None


def test_session_that_holds_up_several_views() -> None:
    """A blocker is told once, with every view that waited for it."""
    blocks = [line(5, "view.blocked", view=view, blocker_pid=1, waited_seconds=2.0) for view in ("a", "b", "a")]
    (blocker,) = only([run(0), *blocks, run(5, "partial", success=(False,) * 4), run(10)]).blockers
    assert (blocker.views, blocker.times) == (["a", "b"], 3)


def some(minutes: float, view: str, outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    """A run of one view, as where views have intervals of their own."""
    good = outcome == "ok"
    part = {"view": view, "success": good, "seconds": 1.0, "rows": 5 if good else None}
    part |= {} if good else {"reason": "data", "sqlstate": "22012", "error": "division by zero"}
    return run(minutes, outcome, views=[part], isolation="view", **fields)


def summary(minutes: float, runs: int, *views: str, **fields: Any) -> dict[str, Any]:
    """`refresh.summary`."""
    parts = [{"view": view, "runs": runs, "seconds": 1.0, "last_success_at": stamp(minutes)} for view in views]
    return line(minutes, "refresh.summary", runs=runs, outcomes={"ok": runs}, views=parts, **fields)


FIRST, SECOND = "action_metrics_hourly", "recent_failures"


@pytest.mark.parametrize("slimmed", [False, True])
def test_a_views_failure_ends_with_a_success_of_that_view(slimmed: bool) -> None:
    """What other views' runs do says nothing of it; a partial run ends the failure of the views that succeeded."""
    lines = [run(0), some(5, FIRST, "failed"), some(6, SECOND), some(7, SECOND), some(20, FIRST), some(21, SECOND)]
    found = only([slim(dict(item)) for item in lines] if slimmed else lines)
    assert (found.started_at, found.ended_at, found.runs) == (at(5), at(20.1), {"failed": 1, "ok": 3})
    half = run(20, "partial", success=(True, True, False, True), sqlstate="22012", view_reason="data")
    found = only([run(0), some(5, FIRST, "failed"), half, some(21, "recent_failures")])
    assert found.ended_at == at(21.1)
    assert only([run(0), some(5, FIRST, "failed"), some(6, SECOND)]).ended_at is None


def test_a_stale_view_is_fresh_with_a_success_of_its_own() -> None:
    """Another view's success does not refresh it."""
    stale = line(10, "view.stale", level="warning", view=FIRST, age_seconds=601.0, max_age_seconds=600.0,
                 last_success_at=stamp(0))  # fmt: skip
    found = only([run(0), stale, some(11, SECOND), some(14, FIRST)])
    assert found.ended_at == at(14.1)


def test_a_failure_that_names_no_view_ends_with_any_success() -> None:
    """So does one after missed slots: the database answers again."""
    nameless = run(5, "failed", views=[])
    assert only([run(0), nameless, some(6, SECOND)]).ended_at == at(6.1)
    outage = [run(0), lost(5), restored(8, 180.0, 2), some(9, SECOND)]
    assert only(outage).ended_at == at(9.1)


@pytest.mark.parametrize("event", ["config.loaded", "config.reloaded"])
def test_a_view_that_is_configured_no_more_needs_no_success(event: str) -> None:
    """Its failure is over with the configuration that leaves it out; one that stays goes on."""
    stale = line(6, "view.stale", level="warning", view=FIRST, max_age_seconds=60.0, last_success_at=stamp(0))
    lines = [run(0), some(5, FIRST, "failed"), stale]
    without, still = ({"refresh": {"views": views}} for views in ([SECOND], [FIRST, SECOND]))
    assert only([*lines, slim(line(7, event, config=without))]).ended_at == at(7)
    assert only([*lines, slim(line(7, event, config=still)), some(8, SECOND)]).ended_at is None
    odd_ones: list[Any] = [{}, {"refresh": []}, {"refresh": {"views": "x"}}, {"refresh": {"views": [1]}}, 7]
    for odd in odd_ones:
        assert only([*lines, line(7, event, config=odd)]).ended_at is None


def test_a_summary_counts_runs_and_proves_its_views() -> None:
    """Its runs are counted once, also where each has a line at level debug; a view in it is refreshed."""
    quiet = [some(minute, SECOND) | {"level": "debug"} for minute in (1, 2, 3)]
    assert fold([run(0), summary(4, 3, SECOND)]).runs == {"ok": 4}
    assert fold([run(0), *quiet, summary(4, 3, SECOND)]).runs == {"ok": 4}
    failing = [run(0), some(5, FIRST, "failed")]
    found = only([*failing, summary(9, 4, SECOND), summary(20, 2, SECOND, FIRST)])
    assert (found.ended_at, found.runs) == (at(20), {"failed": 1, "ok": 6})
    odd = [summary(9, 4, SECOND) | {"views": views, "runs": "many"} for views in (None, [], [7, {"view": 7}], "x")]
    assert only([*failing, *odd]).ended_at is None


def test_views_that_a_pause_made_stale_are_awaited_one_by_one() -> None:
    """The first success after a pause is of one view; the others are overdue two intervals after its end."""
    begun = line(-10, "daemon.started", interval_seconds=300.0)
    paused = line(1, "refresh.paused", until=stamp(60), reason_text="x", created_by="me")
    stale = [line(20, "view.stale", level="warning", view=view, max_age_seconds=600.0, last_success_at=stamp(5))
             for view in (FIRST, SECOND)]  # fmt: skip
    quiet = [begun, run(0), paused, *stale, some(61, SECOND), some(65, FIRST)]
    assert fold(quiet).incidents == ()
    found = only([begun, run(0), paused, *stale, some(61, SECOND), some(66, SECOND), some(71, SECOND), some(80, FIRST)])
    assert (found.started_at, found.ended_at) == (at(60), at(80.1))
