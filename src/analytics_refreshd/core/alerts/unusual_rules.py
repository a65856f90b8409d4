"""The alert rule on unusual hours: a hint where to look."""

from analytics_refreshd.core.alerts.lifecycle import Alert, Condition, Severity
from analytics_refreshd.core.hour_series import HOUR, Measure
from analytics_refreshd.core.snapshot import Snapshot
from analytics_refreshd.core.unusual import Reading
from analytics_refreshd.core.wording import seconds_in_words

_MOST_NAMED = 5


def unusual(snapshot: Snapshot) -> Condition:
    """True while two whole hours of an action type deviate together."""
    state = snapshot.state
    if state.database_down or not state.unusual_enabled:
        # what is not asked for any more is over
        return Condition(Alert.UNUSUAL, "", None if state.database_down else False, Severity.INFO)
    known = state.unusual.known_at(snapshot.server_now) if state.unusual is not None else ()
    if not known:
        return Condition(Alert.UNUSUAL, "", None, Severity.INFO)
    odd = sorted((each for each in known if each.unusual), key=lambda each: -abs(each.deviations))
    hour = known[0].hour
    what = odd[0].series if len(odd) == 1 else f"{len(odd)} series"
    more = f"; and {len(odd) - _MOST_NAMED} more" if len(odd) > _MOST_NAMED else ""
    return Condition(
        Alert.UNUSUAL,
        "",
        bool(odd),
        Severity.INFO,
        f"{state.database}: {what} unusual from {hour - HOUR:%H:%M} to {hour + HOUR:%H:%M} UTC",
        f"Of the hour from {hour:%H:%M}: {'; '.join(map(_in_words, odd[:_MOST_NAMED]))}{more}. A hint where to look, "
        "not that something is broken. Next: analytics-refreshd query hourly-actions",
    )


def _in_words(reading: Reading) -> str:
    value, expected, low, high = (
        _figure(reading.measure, each) for each in (reading.value, reading.expected, reading.low, reading.high)
    )
    return f"{reading.series} is {value}, expected {expected} ({low} to {high})"


def _figure(measure: Measure, value: float) -> str:
    match measure:
        case Measure.VOLUME:
            return f"{value:.0f}"
        case Measure.P95:
            return seconds_in_words(value)
        case _:
            return f"{100 * value:.1f} %"
