"""What a refresh calls, and for how long."""

from dataclasses import dataclass

from analytics_refreshd.core.model import VIEWS
from analytics_refreshd.core.names import REFRESH_FUNCTION, VIEW_FUNCTION


@dataclass(frozen=True, slots=True)
class RefreshSettings:
    """What to call and for how long, in seconds. Function names have one part (in the application's schema) or two.

    After the deadline the server has `cancel_seconds` to take a cancel request, and as long to end the statement.
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
