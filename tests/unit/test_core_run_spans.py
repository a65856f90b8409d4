"""When the parts of an attempt began and ended."""

from dataclasses import replace

import pytest

from analytics_refreshd.core.cost import Cost
from analytics_refreshd.core.model import VIEWS, LockSample, Outcome, Reason, ViewReport, ViewResult
from analytics_refreshd.core.run_spans import part_spans, run_attributes, seen_spans
from analytics_refreshd.core.telemetry import NoSpan, NoTelemetry, NoTracer
from tests.support.states import NOW, run_at

FIRST, SECOND, THIRD, _ = VIEWS


def report(view: str, *, began: float | None = None, fresh: float | None = None) -> ViewReport:
    return ViewReport(view, None, 1, True, fresh_seconds=fresh, began_seconds=began)


def placed(*spans: object) -> list[tuple[str, float, float]]:
    """Name, begin and end of each, to the millisecond."""
    return [(each.name, round(each.began_seconds, 3), round(each.ended_seconds, 3)) for each in spans]  # type: ignore[attr-defined]


def test_the_views_of_one_call_lie_behind_each_other_after_the_fold() -> None:
    """In the order of the rows, where the lock watch saw none."""
    results = [ViewResult(SECOND, True, duration_seconds=2.0), ViewResult(FIRST, True, duration_seconds=1.0)]
    spans = part_spans(
        results, [report(FIRST, fresh=0.7), report(SECOND, fresh=0.7)], (), fold_seconds=0.5, total_seconds=4.0
    )
    assert placed(*spans) == [("fold", 0.2, 0.7), (f"view {FIRST}", 0.7, 1.7), (f"view {SECOND}", 1.7, 3.7)]


def test_the_lock_watch_places_a_view() -> None:
    """What it saw begin later began later."""
    results = [ViewResult(FIRST, True, duration_seconds=1.0), ViewResult(SECOND, True, duration_seconds=0.5)]
    samples = [LockSample(0.5, frozenset({FIRST})), LockSample(2.5, frozenset({FIRST, SECOND}))]
    spans = part_spans(results, [report(FIRST), report(SECOND)], samples, fold_seconds=None, total_seconds=4.0)
    assert placed(*spans) == [(f"view {FIRST}", 0.0, 1.0), (f"view {SECOND}", 0.5, 1.0)]


def test_a_view_in_a_transaction_of_its_own_began_when_the_refresher_says() -> None:
    """Two may run at the same time; no part lasts longer than the call."""
    results = [ViewResult(FIRST, True, duration_seconds=2.0), ViewResult(SECOND, True, duration_seconds=9.0)]
    reports = [report(FIRST, began=0.25), report(SECOND, began=0.5)]
    spans = part_spans(results, reports, (), fold_seconds=9.0, total_seconds=4.0)
    assert placed(*spans) == [("fold", 0.0, 4.0), (f"view {FIRST}", 0.25, 2.25), (f"view {SECOND}", 0.5, 4.0)]


def test_a_view_tells_what_its_line_does() -> None:
    """Rows, cost, and why it failed; one of unknown duration is left out."""
    good = ViewResult(FIRST, True, rows=7, duration_seconds=1.0, rows_changed=2, cost=Cost(wal_bytes=5))
    bad = ViewResult(SECOND, False, Reason.LOCK_TIMEOUT, "55P03", "held", duration_seconds=1.0)
    unnamed = ViewResult(THIRD, False, duration_seconds=1.0)
    unknown = ViewResult(VIEWS[3], False, Reason.MISSING)
    reports = [report(view) for view in VIEWS]
    spans = part_spans([good, bad, unnamed, unknown], reports, (), fold_seconds=None, total_seconds=4.0)
    assert [(dict(each.attributes), each.reason) for each in spans] == [
        (
            {"analytics.view": FIRST, "analytics.rows": 7, "analytics.rows_changed": 2, "analytics.wal_bytes": 5},
            None,
        ),
        ({"analytics.view": SECOND, "db.response.status_code": "55P03"}, "lock_timeout"),
        ({"analytics.view": THIRD}, "other"),
    ]


@pytest.mark.parametrize("samples", [(), (LockSample(0.1, frozenset()),)])
def test_where_the_watch_saw_no_view_none_is_told(samples: tuple[LockSample, ...]) -> None:
    """An attempt that could not connect touched nothing."""
    assert seen_spans(samples, 3.0, "connect") == []


def test_a_call_that_failed_as_a_whole_has_the_views_that_were_seen() -> None:
    """The last one is the one that it failed in; the others were rolled back with it."""
    samples = [
        LockSample(0.5, frozenset({FIRST})),
        LockSample(1.5, frozenset({FIRST}), frozenset({SECOND})),
        LockSample(2.5, frozenset({FIRST}), frozenset({SECOND})),
    ]
    spans = seen_spans(samples, 3.0, "conn_lost")
    assert placed(*spans) == [(f"view {FIRST}", 0.5, 1.5), (f"view {SECOND}", 1.5, 3.0)]
    assert [each.reason for each in spans] == ["rolled_back", "conn_lost"]


def test_a_run_tells_what_its_line_does() -> None:
    """Nothing that is unknown."""
    told = run_attributes(run_at(1, NOW, outcome=Outcome.PARTIAL, failed=[FIRST]))
    assert told["analytics.outcome"] == "partial"
    assert told["analytics.reason"] == "data"
    assert "db.response.status_code" not in told
    told = run_attributes(replace(run_at(1, NOW), outcome=None, cost=Cost(blocks_read=3)))
    assert "analytics.outcome" not in told
    assert told["analytics.blocks_read"] == 3


def test_what_is_off_does_nothing() -> None:
    """The work goes on, and nothing is kept of it."""
    assert NoTelemetry().tracer is None
    assert NoTelemetry().ids("run") == {}
    tracer = NoTracer()
    with tracer.span("refresh", {}) as span, tracer.request("GET", "/", {}) as request:
        span.set({})
        span.failed("connect")
        request.child("view", NOW, NOW, {})
    assert isinstance(span, NoSpan)
