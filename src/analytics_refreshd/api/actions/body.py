"""Reads what an operator asks for."""

from dataclasses import dataclass
from datetime import timedelta

from analytics_refreshd.api.body import members_of
from analytics_refreshd.api.problems import invalid
from analytics_refreshd.config.values import parse_duration
from analytics_refreshd.core.requests import RequestKind

MOST_REASON = 500
LONGEST = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `length` is that of a pause."""

    reason: str | None
    length: timedelta | None


def wish_of(kind: RequestKind, body: bytes) -> Wish:
    """Read the body of an action. Raises Problem."""
    known = ("reason", "for") if kind is RequestKind.PAUSE else ("reason",)
    given = members_of(body, known, '{"reason": "nightly import"}')
    reason = _reason(given.get("reason"))
    if kind is not RequestKind.PAUSE:
        return Wish(reason, None)
    if reason is None:
        raise invalid("a pause needs a reason, for the person who is paged", parameter="reason")
    return Wish(reason, _length(given.get("for")))


def _reason(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or len(given) > MOST_REASON or not given.isprintable():
        raise invalid(f"reason must be one line of at most {MOST_REASON} characters", parameter="reason")
    return given.strip() or None


def _length(given: object) -> timedelta:
    try:
        length = parse_duration(given) if isinstance(given, str) else timedelta(0)
    except (ValueError, OverflowError):
        length = timedelta(0)
    if not timedelta(0) < length <= LONGEST:
        raise invalid('for must be a duration such as "2h", of at most 7d: a pause ends by itself', parameter="for")
    return length
