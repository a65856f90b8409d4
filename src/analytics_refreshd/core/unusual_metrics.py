"""The metrics of unusual hours and failing triggers.

Their labels come from data.
"""

from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.unusual import BOUNDS

EXPECTED = Metric(
    "analytics_expected",
    "gauge",
    "The last whole hour of an action type: its value, and what the same hour of earlier days lets expect; "
    "absent unless `[alerts] unusual` is true.",
    labels=("series", "bound"),
    known={"bound": BOUNDS},
    read_at="scrape",
)
UNUSUAL = Metric(
    "analytics_unusual",
    "gauge",
    "1 where the last two whole hours of an action type deviate together from what was expected, else 0: a hint.",
    labels=("series",),
    read_at="scrape",
)
FAILING_TRIGGER = Metric(
    "analytics_failing_trigger_success_percent",
    "gauge",
    "Success rate of the last 24 hours of each trigger whose alert fires, twenty at most, 0 to 100; "
    "absent unless `[alerts] trigger_success_rate_min` is set.",
    labels=("trigger",),
    read_at="scrape",
)
UNUSUAL_METRICS = (EXPECTED, UNUSUAL, FAILING_TRIGGER)
