"""How fresh an answer is, and until when it may be kept."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_refreshd.core.model import Limits
from analytics_refreshd.core.schedule import Schedule
from analytics_refreshd.core.staleness import is_stale
from analytics_refreshd.postgres.catalogue.horizon import Horizon

_ENCODER = json.JSONEncoder(default=str, sort_keys=True)
KNOWN_SECONDS = 1.0
"""How long it is taken as it was read how fresh figures are, where nothing else is read."""
POSTGRES = "postgres"
Successes = Mapping[str, datetime]
"""Each view's last success; a view without a known one is missing."""


@dataclass(frozen=True, slots=True)
class Known:
    """What an answer tells of what it was read from.

    That is the views' last successes, until when figures are frozen, and who answered. Two answers with another `mark`
    are not the same; None: such an answer must not be kept.
    """

    successes: Successes
    horizon: Horizon | None
    engine: str = POSTGRES
    mark: str | None = ""


@dataclass(frozen=True, slots=True)
class Timing:
    """When refreshes are due, and how old a view may be."""

    limits: Limits
    schedule: Schedule

    @property
    def views(self) -> tuple[str, ...]:
        """The views in their order."""
        return self.schedule.views

    def stale(self, view: str, successes: Successes, now: datetime) -> bool:
        """Whether a view is older than its limit, or of unknown age."""
        at = successes.get(view)
        return is_stale(None if at is None else (now - at).total_seconds(), self.limits, view)

    def next_slot(self, now: datetime) -> datetime:
        """Return when any view is refreshed next, if all goes well."""
        return min(self.schedule.next_slot_of(view, now) for view in self.views)

    def seconds_left(self, successes: Successes, now: datetime) -> int:
        """Return the seconds until a view's next refresh is due.

        The hour's end counts if that is sooner: a window moves on with it. 0 where a refresh is due already: it may
        end at any moment.
        """
        hour = now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        due = min([hour, *(self.schedule.next_slot_of(view, at) for view, at in successes.items())])
        return max(0, int((due - now).total_seconds()))


def as_of(views: Iterable[str], successes: Successes, *, rows: bool, now: datetime) -> datetime | None:
    """Return when what was read was true: the oldest view's last success, or now for rows alone.

    None where a view's last success is not known.
    """
    known = [successes.get(view) for view in views]
    if not known:
        return now if rows else None
    return None if None in known else min(at for at in known if at is not None)


def any_stale(views: Iterable[str], successes: Successes, timing: Timing, now: datetime) -> bool:
    """Whether any view that was read is stale."""
    return any(timing.stale(view, successes, now) for view in views)


def entity_tag(views: Iterable[str], successes: Successes, asked: Iterable[object]) -> str | None:
    """Return the ETag of an answer from `views` alone.

    None where a last success is not known. `asked` is all else that the answer depends on. It is weak: within the
    minutes until the next refresh a window that
    ends now moves on, which is no new answer.
    """
    known = {view: successes.get(view) for view in sorted(views)}
    if not known or None in known.values():
        return None
    text = _ENCODER.encode([known, *asked])
    return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def matches(tag: str, header: str) -> bool:
    """Whether an If-None-Match header names the tag, compared weakly."""
    if header.strip() == "*":
        return True
    given = {part.strip().removeprefix("W/") for part in header.split(",")}
    return tag.removeprefix("W/") in given
