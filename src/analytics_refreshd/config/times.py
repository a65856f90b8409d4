"""Find durations in the configuration that contradict each other."""

import math
from collections.abc import Iterator

from analytics_refreshd.config.sections import Config


def time_contradictions(config: Config) -> Iterator[str]:
    """Yield time limits that cannot hold beside each other."""
    lock, statement = config.lock_timeout_seconds, config.statement_timeout_seconds
    deadline, interval = config.deadline_seconds, config.interval_seconds
    if not lock < statement < deadline < interval:
        yield (
            "these must grow: refresh.lock_timeout < refresh.statement_timeout < refresh.deadline < schedule.interval, "
            f"but they are {lock:g} s, {statement:g} s, {deadline:g} s and {interval:g} s"
        )
    limits, own_times = config.limits(), config.view_times
    for view, age in limits.max_age_seconds.items():
        every, longest, added = interval, deadline, "schedule.interval + refresh.deadline"
        if view in own_times:
            every, longest = limits.view_interval_seconds[view], own_times[view].deadline_seconds
            added = f"schedule.views.{view} + the deadline of that view"
        if age <= every + longest and not math.isclose(age, every + longest):
            key = f"staleness.views.{view}" if view in config.staleness.views else "staleness.max_age"
            hint = f"; staleness.views.{view} sets its own" if view in own_times and key == "staleness.max_age" else ""
            yield (
                f"{key} must be over {added}, but {age:g} s is not over {every:g} s + "
                f"{longest:g} s: every late run would raise the alert{hint}"
            )
            break
    for view, critical in limits.critical_age_seconds.items():
        if critical < limits.max_age_seconds[view]:
            yield "staleness.critical_age must not be under staleness.max_age"
            break
    if config.schedule.splay >= config.schedule.interval:
        yield "schedule.splay must be under schedule.interval"
    if config.retention.horizon == "auto" and config.retention.rows is None:
        yield 'retention.horizon = "auto" needs retention.rows, which says how long rows stay'
    if config.evaluate_seconds > interval:
        yield "alerts.evaluate_every must not be over schedule.interval"
    elif config.evaluate_seconds > config.shortest_interval_seconds:
        yield "alerts.evaluate_every must not be over the shortest interval of schedule.views"


def schedule_contradictions(config: Config) -> Iterator[str]:
    """Yield intervals of views that cannot be had."""
    for view in config.schedule.views:
        if view not in config.refresh.views:
            yield f"schedule.views.{view} is not one of refresh.views"
    if config.schedule.views and config.refresh.isolation != "view":
        yield (
            'schedule.views needs refresh.isolation = "view": with "cycle" one call refreshes all views, '
            "and none can be left out"
        )
