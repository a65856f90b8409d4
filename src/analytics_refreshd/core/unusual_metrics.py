"""The metrics of unusual hours."""

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
UNUSUAL_METRICS = (EXPECTED, UNUSUAL)
