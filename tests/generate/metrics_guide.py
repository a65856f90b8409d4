"""The guide to the metrics, written from their names."""

from pathlib import Path

from analytics_refreshd.core.api_metrics import API_METRICS
from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.metrics import METRICS


def metrics_guide() -> str:
    """Return the introduction and a table of all metrics, ending in a newline."""
    head = (Path(__file__).parent / "metrics.head.md").read_text(encoding="utf-8").strip()
    api = '## The API\n\nOn its management port; every series carries `process="api"` too.'
    table = ("", "| name | type | meaning |", "|---|---|---|")
    return "\n".join([head, *table, *map(_row, METRICS), "", api, *table, *map(_row, API_METRICS)]) + "\n"


def _row(metric: Metric) -> str:
    labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
    return f"| `{metric.name}`{labels} | {metric.kind} | {metric.help} |"
