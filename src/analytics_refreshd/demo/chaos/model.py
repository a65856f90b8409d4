"""What can be broken, and what shows it. All times are seconds since 1970."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from analytics_refreshd.core.alerts.lifecycle import Alert

LOCK_HOLDER = "nightly-etl"
"""The application_name of the session that locks a view."""


class Kind(StrEnum):
    """What can be broken."""

    LOCK = "a view is locked"
    DROP = "a view is dropped"
    KILL = "the leader is killed"
    STOP = "the server is stopped"
    REVOKE = "a right is revoked"
    SLOW = "refreshes are slow"


ON_A_VIEW = frozenset({Kind.LOCK, Kind.DROP, Kind.REVOKE})
_ALERTS = {
    Kind.LOCK: Alert.REFRESH_FAILED,
    Kind.DROP: Alert.REFRESH_FAILED,
    Kind.REVOKE: Alert.REFRESH_FAILED,
    Kind.STOP: Alert.DATABASE_UNAVAILABLE,
    Kind.SLOW: Alert.REFRESH_SLOW,
}
"""What must be told. Nobody needs to act when a leader is killed, so nobody is told."""


@dataclass(frozen=True, slots=True)
class Break:
    """One thing that is broken, on one view or on the whole.

    `view` is empty for the whole. `replica` is the daemon that is killed.
    """

    kind: Kind
    view: str = ""
    replica: str = ""

    @property
    def alert(self) -> Alert | None:
        """The alert that must be told; None where nobody needs to act."""
        return _ALERTS.get(self.kind)

    def __str__(self) -> str:
        about = self.view or self.replica
        return f"{self.kind}: {about}" if about else str(self.kind)


def breaks(seed: int, views: Sequence[str]) -> Iterator[Break]:
    """Yield breaks without end: in each round every kind once, never one kind twice in a row."""
    random = Random(f"chaos {seed}")  # noqa: S311
    last: Kind | None = None
    while True:
        kinds = random.sample(list(Kind), len(Kind))
        if kinds[0] is last:
            kinds.append(kinds.pop(0))
        for kind in kinds:
            yield Break(kind, random.choice(views) if kind in ON_A_VIEW else "")
        last = kinds[-1]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a daemon's gauges and its status document show at a moment."""

    at: float
    replica: str
    leads: bool = False
    database_up: bool = True
    healthy: bool = True
    failing: frozenset[str] = frozenset()
    slowest_seconds: float = 0.0
    blocker: str | None = None


@dataclass(frozen=True, slots=True)
class Logged:
    """A line of a daemon's log."""

    at: float
    replica: str
    event: str
    fields: Mapping[str, object] = field(default_factory=dict)

    def results(self) -> list[Mapping[str, object]]:
        """Return the views' results in the line of a run."""
        views = self.fields.get("views")
        return [one for one in views if isinstance(one, Mapping)] if isinstance(views, list) else []


@dataclass(frozen=True, slots=True)
class Told:
    """An alert that a receiver got. `firing` is False where it is resolved."""

    at: float
    alert: str
    view: str
    firing: bool


Evidence = Shown | Logged | Told
