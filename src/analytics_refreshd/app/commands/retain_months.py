"""Takes whole partitions, for `retain`: detaches them, and drops them once nobody wants them back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from analytics_refreshd.app.commands.migrate import connected
from analytics_refreshd.app.commands.portions import Turns
from analytics_refreshd.config import Config
from analytics_refreshd.core.errors import DatabaseFault, ErrorClass
from analytics_refreshd.core.retention import Pace
from analytics_refreshd.core.retention_months import Months, OldPartition
from analytics_refreshd.postgres.retention.months import MonthRetention, Tried
from analytics_refreshd.postgres.retention.undo import put_back

_AGAIN_SECONDS = 0.5
_NO_REST = Pace()
_LONGER = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class MonthsDone:
    """What a run did with whole partitions, by name. `left` says of each that stays why."""

    detached: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class MonthSteps:
    """One run's steps with whole partitions."""

    def __init__(self, config: Config, retention: MonthRetention, run_id: UUID, turns: Turns) -> None:
        self._undo = config.retention.undo
        self._patience = (config.plan().intervals[-1] + _LONGER).total_seconds()
        self._retention = retention
        self._run_id = run_id
        self._turns = turns
        self._left: list[str] = []

    def work(self, bound: datetime) -> MonthsDone:
        """Detach what may go, then drop what may not come back. Raises DatabaseFault."""
        months = self._retention.survey(bound)
        detached = [
            str(each)
            for each in months.to_take(self._undo)
            if self._done(each, lambda each=each: self._retention.detach(self._run_id, months, each))  # type: ignore[misc]
        ]
        months = self._retention.survey(bound)
        dropped = [
            str(each.partition)
            for each in months.to_drop(self._undo)
            if self._done(each.partition, lambda each=each: self._retention.drop(months, each))  # type: ignore[misc]
        ]
        return MonthsDone(tuple(detached), tuple(dropped), tuple(self._left))

    def _done(self, partition: OldPartition, attempt: Callable[[], Tried]) -> bool:
        """Try until it is done; it stays where what it waits for does not end."""
        until = time.monotonic() + self._patience
        while self._turns.may_begin(_NO_REST):
            try:
                tried = attempt()
            except DatabaseFault as fault:
                if fault.error_class is not ErrorClass.PERMANENT:
                    raise
                self._left.append(f"{partition} stays: {fault.message}")
                return False
            if tried in (Tried.DONE, Tried.GONE):
                return tried is Tried.DONE
            if time.monotonic() >= until:
                self._left.append(f"{partition} stays until the next run: {tried} would not end")
                return False
            self._turns.wait(_AGAIN_SECONDS, str(tried))
        return False


def undo(config: Config, asked: str, *, told: Callable[[str], None]) -> OldPartition:
    """Put a partition back that a run took; return it. Raises UsageError where there is none, and MigrationError."""
    with connected(config) as connection:
        return put_back(connection, config.database.db_schema, asked, told=told)


def rows_that_stay(retention: MonthRetention, months: Months, bound: datetime, undo: timedelta) -> int:
    """Count the old rows of partitions that were put back: they stay for now."""
    return sum(retention.rows_of(each, bound) for each in months.returned(undo))
