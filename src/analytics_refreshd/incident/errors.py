"""The errors of an incident: the first ones, and how often each distinct one was seen."""

from datetime import datetime

from analytics_refreshd.incident.fields import Fields, text_of
from analytics_refreshd.incident.model import LIMIT, DistinctError, ErrorSeen

DISTINCT_ERRORS = 20
"""Of one incident; sightings of further ones are counted."""


class Errors:
    """Errors as their lines tell them, in the order of time. `distinct` keeps the order in which they came up."""

    def __init__(self) -> None:
        self.first: ErrorSeen | None = None
        self.first_sqlstate: ErrorSeen | None = None
        self.beyond = 0
        self._distinct: dict[tuple[str | None, str | None], DistinctError] = {}
        self._seen_in: dict[tuple[str | None, str | None], str | datetime] = {}
        self._beyond_last: tuple[object, object] | None = None

    @property
    def distinct(self) -> tuple[DistinctError, ...]:
        """Every distinct error, at most DISTINCT_ERRORS."""
        return tuple(self._distinct.values())

    def add(self, at: datetime, event: str, fields: Fields, view: str | None = None) -> None:
        """Note an error; fields without an SQLSTATE and a text are none.

        A run tells of one error several times: when it tries again, for each view, and in its own line. That is one
        sighting. A line without a run is a sighting of its own.
        """
        reason, sqlstate, error = (text_of(fields, name) for name in ("reason", "sqlstate", "error"))
        if sqlstate is None and error is None:
            return
        view, run_id = view or text_of(fields, "view"), text_of(fields, "run_id")
        if self.first is None or (self.first_sqlstate is None and sqlstate is not None):
            seen = ErrorSeen(at, event, run_id, view, reason, sqlstate, error)
            self.first = self.first or seen
            if sqlstate is not None:
                self.first_sqlstate = seen
        key, where = (sqlstate, error), run_id or at
        known = self._distinct.get(key)
        if known is None:
            if len(self._distinct) >= DISTINCT_ERRORS:
                self.beyond += self._beyond_last != (key, where)
                self._beyond_last = key, where
                return
            known = self._distinct[key] = DistinctError(sqlstate, error, reason, [], at, at)
        if self._seen_in.get(key) != where:
            known.times += 1
            self._seen_in[key] = where
        known.last_at = at
        if view is not None and view not in known.views and len(known.views) < LIMIT:
            known.views.append(view)

    def take(self, later: "Errors") -> None:
        """Add what was noted after these."""
        self.first = self.first or later.first
        self.first_sqlstate = self.first_sqlstate or later.first_sqlstate
        self.beyond += later.beyond
        for key, error in later._distinct.items():
            known = self._distinct.get(key)
            if known is not None:
                known.times += error.times
                known.last_at = error.last_at
                known.views = list(dict.fromkeys((*known.views, *error.views)))[:LIMIT]
            elif len(self._distinct) < DISTINCT_ERRORS:
                self._distinct[key] = error
            else:
                self.beyond += error.times
                continue
            self._seen_in[key] = later._seen_in[key]
