"""What a refresh calls, and for how long."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.names import REFRESH_FUNCTION, VIEW_FUNCTION
from analytics_refreshd.core.schedule import ViewTimes


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """What to call and for how long, in seconds. Function names have one part (in the application's schema) or two.

    After the deadline the server has `cancel_seconds` to take a cancel request, and as long to end the statement. `own`
    has the times of views with an interval of their own.
    """

    function: str = REFRESH_FUNCTION
    view_function: str = VIEW_FUNCTION
    views: tuple[str, ...] = VIEWS
    isolation: str = "cycle"
    parallel: int = 2
    lock_timeout_seconds: float = 30.0
    statement_timeout_seconds: float = 240.0
    deadline_seconds: float = 250.0
    cancel_seconds: float = 5.0
    own: Mapping[str, ViewTimes] = field(default_factory=dict)

    @property
    def general(self) -> ViewTimes:
        """The times of views without an interval of their own."""
        return ViewTimes(self.lock_timeout_seconds, self.statement_timeout_seconds, self.deadline_seconds)

    def times(self, view: str) -> ViewTimes:
        """Return how long a view's refresh may take."""
        return self.own.get(view, self.general)

    def only(self, views: Sequence[str] | None) -> "RefreshSettings":
        """Return the settings of a run that refreshes `views` alone. None: all of them."""
        chosen = self.views if views is None else tuple(views)
        longest = max(self.times(view).deadline_seconds for view in chosen)
        return replace(self, views=chosen, deadline_seconds=longest)
