"""Decide what becomes of a break: what is told, fixed and healed, when the next comes, and the score."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from analytics_refreshd.demo.chaos.model import Break, Evidence, Kind, Logged, Told
from analytics_refreshd.demo.chaos.signs import RUN_ENDED, sign

BEAT_SECONDS = 20.0
"""Time between two breaks. Also how soon each must be detected and told, and healed once it is fixed."""
PATIENCE_SECONDS = 60.0
"""How long a step that is late is waited for."""
SHOWN_SECONDS = 2.0
"""How long what was told stands before somebody fixes it."""


@dataclass(frozen=True, slots=True)
class Mark:
    """When a step came, and by what it was seen.

    It is counted from the break, healing from the fix.
    """

    after_seconds: float
    by: str


@dataclass(frozen=True, slots=True)
class Case:
    """One break and what came of it. `unresolved` are alerts told and not yet resolved."""

    broken: Break
    broken_at: float
    detected: Mark | None = None
    told: Mark | None = None
    fixed_at: float | None = None
    healed: Mark | None = None
    refreshed: bool = False
    unresolved: frozenset[tuple[str, str]] = frozenset()


def begin(broken: Break, now: float) -> Case:
    """Return the case of what was just broken. Nobody fixes a killed daemon: the other one takes over."""
    return Case(broken, now, fixed_at=now if broken.kind is Kind.KILL else None)


def fixed(case: Case, now: float) -> Case:
    """Return the case after somebody has fixed it. Only what comes from now on counts as healing."""
    return replace(case, fixed_at=now, refreshed=False)


def observe(case: Case, evidence: Evidence) -> Case:
    """Return the case after one more piece of evidence."""
    if isinstance(evidence, Told):
        case = _told(case, evidence)
    if case.detected is None:
        place = sign(case.broken, evidence)
        if place is not None:
            # a server's end shows while it is being stopped
            case = replace(case, detected=Mark(max(0.0, evidence.at - case.broken_at), place))
    return _healed(case, evidence)


def _told(case: Case, told: Told) -> Case:
    key = (told.alert, told.view)
    if not told.firing:
        return replace(case, unresolved=case.unresolved - {key})
    case = replace(case, unresolved=case.unresolved | {key})
    if case.told is None and told.alert == case.broken.alert and case.broken.view in ("", told.view):
        case = replace(case, told=Mark(max(0.0, told.at - case.broken_at), " ".join(filter(None, key))))
    return case


def _healed(case: Case, evidence: Evidence) -> Case:
    """Tell whether it is over: a run without a failure, every alert resolved, then a healthy leader, in this order."""
    if case.fixed_at is None or case.healed is not None or evidence.at < case.fixed_at:
        return case
    if isinstance(evidence, Told) or evidence.replica == case.broken.replica:
        return case
    if isinstance(evidence, Logged):
        return replace(case, refreshed=evidence.fields.get("outcome") == "ok") if evidence.event == RUN_ENDED else case
    if not (evidence.leads and evidence.healthy and case.refreshed) or case.unresolved:
        return case
    by = f"{evidence.replica} took over" if case.broken.kind is Kind.KILL else f"all well by {evidence.replica}"
    return replace(case, healed=Mark(evidence.at - case.fixed_at, by))


class Next(Enum):
    """What to do about a case."""

    WAIT = "wait"
    FIX = "fix"
    END = "end"


def decide(case: Case, now: float) -> Next:
    """Return what to do: fix what was told, end what is healed. Nothing is waited for longer than a minute."""
    if case.fixed_at is not None:
        over = case.healed is not None or now - case.fixed_at > PATIENCE_SECONDS
        return Next.END if over else Next.WAIT
    seen = [case.detected, *([case.told] if case.broken.alert else [])]
    if now - case.broken_at > PATIENCE_SECONDS:
        return Next.FIX
    if any(mark is None for mark in seen):
        return Next.WAIT
    latest = max(mark.after_seconds for mark in seen if mark is not None)
    return Next.FIX if now - case.broken_at >= latest + SHOWN_SECONDS else Next.WAIT


def next_begin(began_at: float, previous_at: float | None, now: float, minutes: int | None) -> float | None:
    """Return when the next break begins.

    That is a beat after the previous one, or now if that is later. None where it would be too late to come within
    `minutes` after `began_at`.
    """
    at = now if previous_at is None else max(now, previous_at + BEAT_SECONDS)
    if minutes is not None and at > began_at + 60.0 * minutes - BEAT_SECONDS / 2:
        return None
    return at


@dataclass(frozen=True, slots=True)
class Score:
    """How many steps were due, in time, and late."""

    due: int = 0
    in_time: int = 0
    late: int = 0

    @property
    def missing(self) -> int:
        """How many never came."""
        return self.due - self.in_time - self.late

    @property
    def perfect(self) -> bool:
        """Whether every step that was due came in time."""
        return self.in_time == self.due


def score(cases: Sequence[Case]) -> Score:
    """Return the score of cases that have ended."""
    marks = [
        mark for case in cases for mark in (case.detected, *([case.told] if case.broken.alert else []), case.healed)
    ]
    came = [mark for mark in marks if mark is not None]
    in_time = sum(mark.after_seconds <= BEAT_SECONDS for mark in came)
    return Score(len(marks), in_time, len(came) - in_time)
