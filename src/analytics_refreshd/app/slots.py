"""APScheduler's trigger for our slots: the next one after now, never a list of those that were missed."""

from datetime import datetime, timedelta

from apscheduler.triggers.base import BaseTrigger

from analytics_refreshd.core.schedule import next_slot


class SlotTrigger(BaseTrigger):  # type: ignore[misc]
    """Fires at every slot. A clock that jumped by years costs one computation, and one run."""

    def __init__(self, interval: timedelta, offset: timedelta) -> None:
        self.interval = interval
        self.offset = offset

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The first slot after `now` that has not fired yet."""
        upcoming = next_slot(now, self.interval, self.offset)
        if previous_fire_time is not None and upcoming <= previous_fire_time <= now + self.interval:
            return next_slot(previous_fire_time, self.interval, self.offset)
        return upcoming
