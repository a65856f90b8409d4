"""Runs parts of an evaluation or cycle, each whatever happens to others."""

from collections.abc import Callable

from analytics_refreshd.app.runtime import Runtime
from analytics_refreshd.core.errors import DatabaseFault, OutOfTimeFault, RefreshdError
from analytics_refreshd.core.events import Event
from analytics_refreshd.core.metrics import PART_FAILURES
from analytics_refreshd.core.parts import Part


class Parts:
    """Catches, counts and names what a part raises.

    The log has the first failure of each part, and its next one after a success.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._database = runtime.database
        self._log = runtime.log
        self._metrics = runtime.metrics
        self._failing: dict[Part, str] = {}

    def run(self, part: Part, work: Callable[[], object]) -> bool:
        """Do `work`; return whether it succeeded. Raises nothing but what ends the process."""
        try:
            work()
        except Exception as error:
            self.failed(part, error)
            return False
        self.succeeded(part)
        return True

    def succeeded(self, part: Part) -> None:
        """Let the next failure of `part` be logged again."""
        self._failing.pop(part, None)

    @property
    def failing(self) -> tuple[str, ...]:
        """What failed and has not succeeded since, once for each reason."""
        by_text: dict[str, list[str]] = {}
        for part, text in sorted(self._failing.items()):
            by_text.setdefault(text, []).append(part.value)
        return tuple(f"{', '.join(parts)}: {text}" for text, parts in by_text.items())

    def failed(self, part: Part, error: Exception) -> None:
        """Count the failure, and log it unless the part failed before.

        A database that is away has a line of its own. The part that took all the time stands for those after it.
        """
        if isinstance(error, DatabaseFault):
            self._database.failed(error)
            if error.error_class.away:
                return
        self._metrics.count(PART_FAILURES, part=part.value)
        known = part in self._failing or (isinstance(error, OutOfTimeFault) and bool(self._failing))
        ours = isinstance(error, RefreshdError)
        text = str(error) if ours else f"internal error: {type(error).__name__}"
        self._failing[part] = text
        if known:
            return
        if ours:
            sqlstate = error.sqlstate if isinstance(error, DatabaseFault) else None
            self._log.emit(Event.PART_FAILED, level="warning", part=part.value, error=text, sqlstate=sqlstate)
        else:
            self._log.emit(Event.PART_FAILED, level="error", part=part.value, error=text, exception=error)
