"""A collector to test against: a real HTTP server that decodes what it gets with OpenTelemetry's own classes."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from prometheus_client.parser import text_string_to_metric_families

from tests.support.receivers import Answer, Got, Receiver, receiver
from tests.support.waiting import eventually

Key = tuple[str, frozenset[tuple[str, str]]]
"""A sample's name and labels, as in a scrape."""


def scraped(text: str) -> dict[Key, float]:
    """The samples of a scrape."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@dataclass
class Export:
    """One export of metrics: the resource's attributes, and what a scrape would have called its samples."""

    resource: Mapping[str, Any]
    kinds: dict[str, str] = field(default_factory=dict)
    samples: dict[Key, float] = field(default_factory=dict)


def _labels(attributes: Sequence[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in attributes}


def decoded_metrics(body: bytes) -> Export:
    """Decode an export of metrics."""
    (resource_metrics,) = ExportMetricsServiceRequest.FromString(body).resource_metrics
    export = Export(_labels(resource_metrics.resource.attributes))
    for metric in (metric for scope in resource_metrics.scope_metrics for metric in scope.metrics):
        kind = str(metric.WhichOneof("data"))
        assert metric.name not in export.kinds, f"{metric.name} came twice"
        export.kinds[metric.name] = kind
        points = getattr(metric, kind)
        if kind != "gauge":
            assert points.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        for point in points.data_points:
            labels = _labels(point.attributes)
            if kind != "histogram":
                export.samples[metric.name, frozenset(labels.items())] = getattr(point, str(point.WhichOneof("value")))
                continue
            bounds = [*map(str, point.explicit_bounds), "+Inf"]
            for bound, count in zip(bounds, accumulate(point.bucket_counts), strict=True):
                export.samples[f"{metric.name}_bucket", frozenset({**labels, "le": bound}.items())] = count
            export.samples[f"{metric.name}_count", frozenset(labels.items())] = point.count
            export.samples[f"{metric.name}_sum", frozenset(labels.items())] = point.sum
    return export


class Collector:
    """What came to a collector so far. `answer` says how it answers from now on."""

    def __init__(self, receiving: Receiver) -> None:
        self._receiving = receiving
        self.url = receiving.url
        self.answer = receiving.answer

    def got(self, signal: str) -> list[Got]:
        """The requests with this signal, taken or not."""
        return [each for each in list(self._receiving.got) if each.path == f"/v1/{signal}"]

    def bodies(self, signal: str) -> list[bytes]:
        """Their messages."""
        return [
            gzip.decompress(each.body) if each.headers.get("Content-Encoding") == "gzip" else each.body
            for each in self.got(signal)
        ]

    @property
    def exports(self) -> list[Export]:
        """The exports of metrics."""
        return [decoded_metrics(body) for body in self.bodies("metrics")]

    def wait_for(self, signal: str, count: int) -> None:
        """Wait until so many requests with this signal came."""
        eventually(lambda: len(self.got(signal)) >= count, within=60)


@contextmanager
def collector(*script: Answer | int) -> Iterator[Collector]:
    """A collector for the length of a test; it answers as `Receiver` does."""
    with receiver(*script) as receiving:
        yield Collector(receiving)
