"""An incident review stays small, whatever a log holds."""

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.incident.model import LIMIT
from tests.support.log_lines import fold, line, run, stamp


def test_more_replicas_than_anybody_runs_are_not_each_remembered() -> None:
    """Slots skipped by thousands of replicas are counted all the same."""
    lines = [run(0)]
    lines += [
        line(1 + number / 1000, "refresh.skipped", replica=f"r{number}", reason="overlap", repeated=1)
        for number in range(10 * LIMIT + 5)
    ]
    assert fold(lines).runs["skipped"] == 10 * LIMIT + 5


def test_an_outage_of_many_replicas_keeps_the_first_of_them() -> None:
    """Replicas that come and go within one incident are kept up to the limit, and it still ends."""
    lines = [run(0)]
    for number in range(LIMIT + 5):
        lines.append(line(1 + number / 100, "database.lost", replica=f"r{number}", reason="connect", error="x"))
        lines.append(line(1.005 + number / 100, "database.restored", replica=f"r{number}", seconds=0.3, missed_slots=0))
    lines.append(run(10))
    (found,) = fold(lines).incidents
    assert found.ended_at is not None
    assert len(found.away) == LIMIT


def test_an_answer_after_the_next_ok_run_adds_nothing_it_does_not_know() -> None:
    """A replica that says only later that the database is back, without a count, leaves the review as it is."""
    lines = [
        run(0),
        line(1, "database.lost", replica="r2", reason="connect", error="x"),
        run(5),
        line(6, "database.restored", replica="r2", seconds=300.0),
    ]
    (found,) = fold(lines).incidents
    assert found.away[0].missed_slots is None


def test_many_stale_views_are_kept_up_to_the_limit() -> None:
    """Views that go stale one after the other within one incident are kept up to the limit."""
    lines = [run(0), run(1, "partial", success=(True, True, True, False), reason="data", error="x")]
    for number in range(LIMIT + 5):
        view = f"view_{number}"
        lines.append(line(2 + number / 50, "view.stale", view=view, max_age_seconds=600.0, last_success_at=stamp(0)))
        fresh = [{"view": view, "success": True, "seconds": 1.0, "rows": 1}]
        failed = {"view": VIEWS[3], "success": False, "seconds": 1.0, "reason": "data", "error": "x"}
        lines.append(run(2.01 + number / 50, "partial", seconds=0.01, number=number, views=[*fresh, failed]))
    (found,) = fold(lines).incidents
    assert len(found.stale) == LIMIT


def test_the_same_gap_is_noted_once() -> None:
    """What the log does not tell of is said once, however many replicas leave it out."""
    lines = [run(0), run(4, "failed", reason="conn_lost", error="x")]
    lines += [line(5, "database.restored", replica=replica, seconds=30.0, missed_slots=0) for replica in ("r1", "r2")]
    (found,) = fold(lines).incidents
    assert len(found.missing) == len(set(found.missing))


def test_more_replicas_without_a_database_than_are_kept_end_the_outage_all_the_same() -> None:
    """Replicas beyond the limit come back without having been noted, and the incident ends."""
    names = [f"r{number}" for number in range(LIMIT + 5)]
    lines = [run(0)]
    lines += [line(1, "database.lost", replica=name, reason="connect", error="x") for name in names]
    lines += [line(2, "database.restored", replica=name, seconds=60.0, missed_slots=0) for name in reversed(names)]
    lines.append(run(5))
    (found,) = fold(lines).incidents
    assert found.ended_at is not None
    assert len(found.away) == LIMIT
