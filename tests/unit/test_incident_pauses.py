"""Refreshes paused on purpose: nobody's incident, and told wherever they touch one."""

from pathlib import Path
from typing import Any

import pytest

from analytics_refreshd.incident import markdown
from analytics_refreshd.incident.model import LIMIT, Incident
from analytics_refreshd.incident.review import review
from tests.support.log_lines import at, fold, line, run, stamp, text

START = line(-10, "daemon.started", interval_seconds=300.0)


def only(lines: list[dict[str, Any]]) -> Incident:
    """The one incident in these lines."""
    (found,) = fold(lines).incidents
    return found


def paused(minutes: float, until: float | None = 60, reason: str = "nightly load", by: str = "etl",
           **fields: Any) -> dict[str, Any]:  # fmt: skip
    """`refresh.paused`."""
    given: dict[str, Any] = {"until": None if until is None else stamp(until), "reason_text": reason, "created_by": by}
    return line(minutes, "refresh.paused", **given, **fields)


def resumed(minutes: float, **fields: Any) -> dict[str, Any]:
    """`refresh.resumed`."""
    return line(minutes, "refresh.resumed", **fields)


def stale(minutes: float, success: float | None, view: str = "recent_failures") -> dict[str, Any]:
    """`view.stale` with a limit of ten minutes."""
    return line(minutes, "view.stale", level="warning", view=view, max_age_seconds=600.0,
                last_success_at=None if success is None else stamp(success))  # fmt: skip


def skipped(minutes: float, repeated: int = 1) -> dict[str, Any]:
    """`refresh.skipped` for a pause."""
    return line(minutes, "refresh.skipped", reason="paused", scheduled_at=stamp(minutes), repeated=repeated)


def failed(minutes: float) -> dict[str, Any]:
    """A run that failed."""
    return run(minutes, "failed", reason="deadlock", sqlstate="40P01", error="deadlock detected")


def outage(begin: float, end: float, missed: int = 0) -> list[dict[str, Any]]:
    """The database away, with its alert twenty seconds later."""
    alert = {"alert": "AnalyticsDatabaseUnavailable"}
    return [
        line(begin, "database.lost", level="warning", reason="connect", error="connection refused"),
        line(begin + 20 / 60, "alert.firing", **alert),
        line(begin + 21 / 60, "alert.delivered", receiver="pager", status="firing", **alert),
        line(end, "database.restored", seconds=60 * (end - begin), missed_slots=missed),
    ]


def night() -> list[dict[str, Any]]:
    """A pause in which views grow old, and the database lost within it."""
    return [START, run(0), paused(3), skipped(5), stale(10.2, 0.1), *outage(12, 14), resumed(20), run(25)]


def test_loss_in_a_pause_begins_with_the_loss() -> None:
    """What grew old in the pause neither begins the incident nor delays its detection; the pause is told with it."""
    found = only(night())
    assert (found.started_at, found.ended_at, found.began_with) == (at(12), at(14), "database.lost")
    assert (found.detected_after_seconds, found.delivered_after_seconds) == (20.0, 21.0)
    assert (found.stale, found.views) == ((), ())
    (pause,) = found.pauses
    assert (pause.from_at, pause.until_at, pause.ended_at) == (at(3), at(60), at(20))
    assert (pause.reason_text, pause.created_by) == ("nightly load", "etl")
    assert found.paused_seconds == 120.0
    assert found.other_events == {}


def test_view_that_grows_old_while_the_database_is_away_in_a_pause() -> None:
    """Whether it is told before, during or after the loss, its age is the pause's, and the incident ends without it."""
    found = only([START, run(0), paused(3), *outage(9, 12, missed=1), stale(10.2, 0.1), run(65)])
    assert (found.started_at, found.ended_at, found.stale) == (at(9), at(12), ())
    assert found.missed_slots == 1


def test_slot_missed_before_a_pause_is_owed() -> None:
    """A slot that an outage cost before the pause began is made up for by a run that is ok only."""
    found = only([START, run(0), *outage(4, 12, missed=1), paused(6), resumed(20), run(25)])
    assert found.ended_at == at(25.1)
    assert found.paused_seconds == pytest.approx(14 * 60)


@pytest.mark.parametrize("lines", [
    [stale(10.2, 0.1), resumed(60), run(65)],
    [stale(10.2, 0.1), run(60)],
    [stale(10.2, 0.1), line(30, "daemon.started", interval_seconds=300.0), paused(30.1), stale(30.2, 0.1), run(65)],
    [paused(3.4, replica="r2"), stale(10.2, 0.1), resumed(20), resumed(20.4, replica="r2"), run(25)],
    [resumed(7), paused(7.2, replica="r2"), resumed(7.3, replica="r2"), stale(10.2, 0.1), run(12)],
    [stale(10.2, None), resumed(20), run(25)],
    [stale(10.2, 0.1), stale(10.3, 0.1), skipped(65, 13), stale(66, 51, "v"), run(120), run(125)],
    [stale(10.2, 0.1), resumed(20), paused(22, 90, "again"), stale(22.5, 11.9, "v"), run(95)],
    [stale(10.2, 0.1), resumed(20), run(25), paused(30, 90), stale(37, 25.1), resumed(40), run(45)],
], ids=["resumed", "by itself", "daemon started in it", "two replicas", "grows old just after it", "age unknown",
        "prolonged", "another one before any run", "a second one"])  # fmt: skip
def test_growing_old_in_a_pause_is_no_incident(lines: list[dict[str, Any]]) -> None:
    """A view that a pause made stale, and that the first run after it refreshes, was in nobody's incident."""
    assert fold([START, run(0), paused(3), *lines]).incidents == ()


def test_log_that_begins_in_a_pause() -> None:
    """A view that was stale before the log begins is not taken for an incident while refreshes are paused."""
    assert fold([skipped(0, 13), stale(1, -30), resumed(20), run(25)]).incidents == ()


def test_view_that_was_stale_before_the_pause() -> None:
    """A pause excuses nothing that went wrong before it, and lies within that incident."""
    found = only([START, run(0), paused(11), stale(11.2, 0.1), skipped(15), resumed(20), run(25)])
    assert (found.started_at, found.ended_at) == (at(10.1), at(25.1))
    assert [item.view for item in found.stale] == ["recent_failures"]
    assert found.paused_seconds == pytest.approx(9 * 60)


def test_pause_within_an_incident() -> None:
    """What grows old in a pause that somebody made for an incident belongs to that incident."""
    found = only([START, run(0), failed(5), paused(6), stale(10.2, 0.1), resumed(20), run(25)])
    assert (found.started_at, found.ended_at, found.parts) == (at(5), at(25.1), 1)
    assert found.stale[0].since_at == at(10.1)
    assert [item.reason_text for item in found.pauses] == ["nightly load"]
    assert found.paused_seconds == pytest.approx(14 * 60)


def test_first_run_after_a_pause_fails() -> None:
    """The excuse ends with the first run: the incident begins with it, the views that it left old are part of it."""
    half = run(65, "partial", success=(True, True, False, True), sqlstate="40P01", view_reason="deadlock", error="x")
    views = [stale(10.2, 0.1), stale(10.2, 0.1, "action_metrics_hourly")]
    found = only([START, run(0), paused(3), *views, half, stale(68, 57, "v"), run(70)])
    assert (found.started_at, found.ended_at) == (at(65), at(70.1))
    assert [item.view for item in found.stale] == ["recent_failures", "v"]
    assert found.stale[0].since_at == at(10.1)
    assert (found.pauses[0].ended_at, found.paused_seconds) == (at(60), 0.0)


def test_run_that_began_before_the_pause_ends_no_excuse() -> None:
    """A run under way when the pause began says nothing of what comes after the pause."""
    late = run(2.9, "failed", reason="deadlock", sqlstate="40P01", error="x", scheduled_at=stamp(2.9), seconds=600)
    found = only([START, run(0), paused(3), stale(10.2, 0.1), late, resumed(20), run(25)])
    assert (found.began_with, found.stale) == ("refresh.finished failed", ())
    assert fold([START, run(-5), paused(0.05), stale(6, -4.9), run(0), stale(11, 0.1), run(65)]).incidents == ()


def test_no_run_after_a_pause() -> None:
    """Two intervals after a pause its staleness is somebody's: the incident begins where the pause ended."""
    found = only([START, run(0), paused(3), stale(10.2, 0.1), resumed(20), line(30.1, "leader.lost"), run(40)])
    assert (found.started_at, found.ended_at, found.began_with) == (at(20), at(40.1), "view.stale")
    assert found.stale[0].stale_seconds == pytest.approx(30 * 60)
    assert [item.ended_at for item in found.pauses] == [at(20)]
    later = [resumed(5), stale(10.2, 0.1), stale(14, 3.9, "v"), line(15.1, "guard.tripped"), stale(16, 5.9, "w")]
    found = only([START, run(0), paused(3), *later, run(20)])
    assert (found.started_at, [item.view for item in found.stale]) == (at(10.1), ["recent_failures", "v", "w"])


def test_pause_long_over_excuses_and_touches_nothing() -> None:
    """Where no run came for long after a pause, neither it nor a further pause explains what is found then."""
    found = only([START, run(0), paused(3), resumed(5), *outage(40, 42), run(45)])
    assert found.pauses == ()
    found = only([START, run(0), paused(3), resumed(5), paused(40, 90, "again"), stale(40.2, 0.1), run(95)])
    assert (found.started_at, [item.reason_text for item in found.pauses]) == (at(10.1), ["again"])


def test_staleness_in_a_pause_does_not_continue_an_incident() -> None:
    """An incident that has just ended is not taken up again by a pause, which it then does not show."""
    found = only([START, run(0), failed(5), run(10), paused(12), stale(20.2, 10.1), resumed(30), run(35)])
    assert (found.ended_at, found.parts, found.pauses) == (at(10.1), 1, ())


def test_trouble_that_returns_in_a_pause() -> None:
    """A pause between two stretches of an incident is within it."""
    found = only([START, run(0), failed(5), run(10), paused(12), *outage(13, 14), resumed(15), run(20)])
    assert (found.parts, len(found.pauses)) == (2, 1)
    assert found.paused_seconds == pytest.approx(2 * 60)


def test_pause_that_changes() -> None:
    """The same person's pause with another end is one pause; another person's replaces it."""
    lines = [paused(6, 20), paused(7, 40), paused(8, 40, replica="r2"), paused(30, 90, "vacuum", "dba"), resumed(50)]
    found = only([START, run(0), failed(5), *lines, run(55)])
    assert [(item.from_at, item.until_at, item.ended_at, item.created_by) for item in found.pauses] == [
        (at(6), at(40), at(30), "etl"),
        (at(30), at(90), at(50), "dba"),
    ]


def test_pause_known_by_its_slots() -> None:
    """A skipped slot tells of a pause before its line, or without one; a run for a later slot ends it."""
    named = only([START, run(0), failed(5), skipped(10), paused(10.2, 30), run(20)])
    assert [(item.from_at, item.until_at, item.ended_at, item.created_by) for item in named.pauses] == [
        (at(10), at(30), at(20), "etl")
    ]
    unnamed = only([START, run(0), failed(5), skipped(10), skipped(70, 13)])
    assert [(item.from_at, item.unnamed, item.ended_at) for item in unnamed.pauses] == [(at(10), True, None)]
    assert unnamed.paused_seconds == 3600.0
    again = only([START, run(0), failed(5), paused(6, 90), resumed(8), skipped(10), paused(11, None), run(20)])
    assert [(item.from_at, item.ended_at) for item in again.pauses] == [(at(6), at(8)), (at(10), at(20))]


def test_pauses_are_bounded() -> None:
    """Pauses and the views that they excuse leave bounded memory."""
    many = [paused(6 + n / 10, 500 + n, f"reason {n}") for n in range(LIMIT + 5)]
    found = only([START, run(0), failed(5), *many, run(20)])
    assert len(found.pauses) == LIMIT
    assert f"5 mentions of further views, pauses and alerts beyond the first {LIMIT}" in found.missing
    views = [stale(10 + n / 100, 0, f"v{n}") for n in range(LIMIT + 5)]
    found = only([START, run(0), paused(3), *views, resumed(20), failed(25), run(30)])
    assert len(found.stale) == LIMIT


def test_words_of_a_pause(tmp_path: Path) -> None:
    """The review names the pause, its planned end where it is another, its reason, who made it, and its share."""

    def said(lines: list[dict[str, Any]]) -> str:
        (tmp_path / "log").write_text(text(lines))
        return "\n".join(markdown.document(review([str(tmp_path / "log")])))

    assert (
        "| Paused | 2026-03-01 12:03:00Z to 2026-03-01 12:20:00Z, planned until 2026-03-01 13:00:00Z, by etl: nightly"
        " load |" in said(night())
    )
    assert "| Duration | 2 min; refreshes paused for 2 min of it |" in said(night())
    assert "12:06:00Z to 2026-03-01 12:10:00Z, by etl: nightly load |" in said(
        [run(0), failed(5), paused(6, 10), run(15)]
    )
    assert (
        "| Paused | 2026-03-01 12:10:00Z to not over when the log ends, by somebody not in the log: reason not in the"
        " log |" in said([run(0), failed(5), skipped(10)])
    )


def requested(minutes: float, **fields: Any) -> dict[str, Any]:
    """`operator.request_ended`."""
    given: dict[str, Any] = {"request_id": "r", "kind": "refresh", "actor": "key_1", "reason_text": "a report is due"}
    return line(minutes, "operator.request_ended", **{**given, "outcome": "ok", "detail": None, **fields})


def test_what_operators_asked_for_meanwhile_is_told(tmp_path: Path) -> None:
    """Who asked, why, and what became of it; also the refresh that ended the incident, and nothing of other times."""
    lines = [START, run(0), requested(1), failed(5), requested(6, outcome="failed", detail="deadlock"), run(10)]
    lines += [requested(10.1, kind="resume", actor="user:ann", reason_text=None), run(15), run(60), requested(61)]
    found = only(lines)
    assert [(item.kind, item.actor, item.outcome) for item in found.asked] == [
        ("refresh", "key_1", "failed"),
        ("resume", "user:ann", "ok"),
    ]
    path = tmp_path / "log"
    path.write_text(text(lines))
    page = "\n".join(markdown.document(review([str(path)])))
    assert "refresh by key_1 (a report is due): failed, deadlock" in page
    many = [START, run(0), failed(5), *[requested(6)] * (LIMIT + 2), run(10)]
    assert len(only(many).asked) == LIMIT
    assert any("2 mentions of further" in gap for gap in only(many).missing)
