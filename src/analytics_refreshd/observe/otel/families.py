"""Turns the families of `/metrics` into OpenTelemetry's data. Names, labels and values stay as they are."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, cast

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

_UNITS = {"_seconds": "s", "_minutes": "min", "_bytes": "By", "_percent": "%"}
_UNKNOWN = cast(Any, None)
"""The registry keeps no least and no greatest value: left out of the message."""


def metrics_data(
    families: Iterable[Family], resource: Resource, scope: InstrumentationScope, *, started_ns: int, now_ns: int
) -> MetricsData:
    """Return what an exporter takes: one metric for each family that has samples.

    Counters and histograms are cumulative since `started_ns`, in nanoseconds since 1970 as `now_ns`.
    """
    metrics = [metric for family in families for metric in _metrics(family, started_ns, now_ns)]
    scoped = ScopeMetrics(scope, metrics, scope.schema_url or "")
    return MetricsData([ResourceMetrics(resource, [scoped], resource.schema_url)])


def _metrics(family: Family, started_ns: int, now_ns: int) -> Iterator[Metric]:
    if not family.samples:
        return
    if family.type == "histogram":
        points = [_histogram_point(series, started_ns, now_ns) for series in _by_series(family.samples)]
        yield Metric(
            family.name,
            family.documentation,
            _unit(family.name),
            Histogram(points, AggregationTemporality.CUMULATIVE),
        )
        return
    counts = family.type == "counter"
    numbers = [NumberDataPoint(each.labels, started_ns, now_ns, float(each.value)) for each in family.samples]
    # a counter's family has its name without `_total`, its samples have it as it is scraped
    name = family.samples[0].name
    data = Sum(numbers, AggregationTemporality.CUMULATIVE, is_monotonic=True) if counts else Gauge(numbers)
    yield Metric(name, family.documentation, _unit(name), data)


def _unit(name: str) -> str:
    bare = name.removesuffix("_total")
    return next((unit for suffix, unit in _UNITS.items() if bare.endswith(suffix)), "")


def _by_series(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Yield the samples of each series of a histogram: those with the same labels but `le`."""
    found: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(labels, []).append(sample)
    yield from found.values()


def _histogram_point(series: list[Sample], started_ns: int, now_ns: int) -> HistogramDataPoint:
    buckets = [sample for sample in series if "le" in sample.labels]
    rest = {sample.name.rpartition("_")[2]: sample for sample in series if "le" not in sample.labels}
    # a scrape's buckets hold those below them, a message's do not
    counts = [0, *(int(sample.value) for sample in buckets)]
    return HistogramDataPoint(
        rest["count"].labels,
        started_ns,
        now_ns,
        int(rest["count"].value),
        rest["sum"].value,
        [above - below for below, above in pairwise(counts)],
        [float(sample.labels["le"]) for sample in buckets[:-1]],
        _UNKNOWN,
        _UNKNOWN,
    )
