"""Adds to a run's trace what its result says."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from analytics_refreshd.core.model import LockSample, Outcome, Run, ViewResult
from analytics_refreshd.core.ports import RefreshReply
from analytics_refreshd.core.run_spans import PartSpan, part_spans, run_attributes, seen_spans
from analytics_refreshd.core.telemetry import Span

_GOOD = (Outcome.OK, Outcome.SKIPPED, Outcome.CANCELLED)


def trace_reply(
    span: Span,
    results: Sequence[ViewResult],
    reply: RefreshReply,
    samples: Sequence[LockSample],
    replied_at: datetime,
) -> None:
    """Add the fold and the views of a call that returned.

    `replied_at` is by this machine's clock, as all times of spans are.
    """
    seconds = reply.duration_seconds
    parts = part_spans(results, reply.reports, samples, fold_seconds=reply.fold_seconds, total_seconds=seconds)
    _add(span, parts, replied_at - timedelta(seconds=seconds))


def trace_fault(span: Span, reason: str, samples: Sequence[LockSample], ended_at: datetime, seconds: float) -> None:
    """Mark an attempt as failed.

    Add the views that the lock watch saw in its last `seconds`.
    """
    span.failed(reason)
    _add(span, seen_spans(samples, seconds, reason), ended_at - timedelta(seconds=seconds))


def trace_run(span: Span, run: Run) -> None:
    """Add how a run ended."""
    span.set(run_attributes(run))
    if run.outcome not in _GOOD:
        span.failed(run.reason.value if run.reason else "other")


def _add(span: Span, parts: Iterable[PartSpan], began_at: datetime) -> None:
    for part in parts:
        span.child(
            part.name,
            began_at + timedelta(seconds=part.began_seconds),
            began_at + timedelta(seconds=part.ended_seconds),
            part.attributes,
            part.reason,
        )
