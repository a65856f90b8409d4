"""The guide to the metrics, written from their names."""

from pathlib import Path

from analytics_refreshd.core.metric import Metric
from analytics_refreshd.core.metrics import METRICS


def metrics_guide() -> str:
    """Return the introduction and a table of all metrics, ending in a newline."""
    head = (Path(__file__).parent / "metrics.head.md").read_text(encoding="utf-8").strip()
    return "\n".join([head, "", "| name | type | meaning |", "|---|---|---|", *map(_row, METRICS)]) + "\n"


def _row(metric: Metric) -> str:
    labels = f"{{{','.join(metric.labels)}}}" if metric.labels else ""
    return f"| `{metric.name}`{labels} | {metric.kind} | {metric.help} |"
