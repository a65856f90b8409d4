"""A collector to test against: a real HTTP server that decodes what it gets with OpenTelemetry's own classes."""

import gzip
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message
from opentelemetry.proto.trace.v1.trace_pb2 import Status
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


@dataclass
class Traced:
    """One span as it arrived; `parent` is its parent's span id, empty where there is none."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    began_ns: int
    ended_ns: int
    failed: bool
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]


def decoded_spans(body: bytes) -> list[Traced]:
    """Decode an export of traces."""
    (resource_spans,) = ExportTraceServiceRequest.FromString(body).resource_spans
    resource = _labels(resource_spans.resource.attributes)
    return [
        Traced(
            span.name,
            Message.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.status.code == Status.STATUS_CODE_ERROR,
            _labels(span.attributes),
            resource,
        )
        for scope in resource_spans.scope_spans
        for span in scope.spans
    ]


def drawn(spans: Sequence[Traced]) -> str:
    """One trace as text: each span below its parent, with where it lies in time, in milliseconds from the first one."""
    zero = min(span.began_ns for span in spans)
    whole = max(span.ended_ns for span in spans) - zero
    lines: list[str] = []

    def draw(parent: str, depth: int) -> None:
        for span in sorted((each for each in spans if each.parent == parent), key=lambda each: each.began_ns):
            began, ended = span.began_ns - zero, span.ended_ns - zero
            left, right = round(began / whole * 40), round(ended / whole * 40)
            bar = (" " * left + "█" * max(1, right - left))[:40].ljust(40)
            failure = f"  {span.attributes.get('error.type')}" if span.failed else ""
            name = f"{'  ' * depth}{span.name}"
            lines.append(f"{name:<36}|{bar}| {began / 1e6:8.1f} {ended / 1e6:8.1f} ms{failure}")
            draw(span.span_id, depth + 1)

    draw("", 0)
    return "\n".join(lines)


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
            gzip.decompress(each.body) if each.body.startswith(b"\x1f\x8b") else each.body for each in self.got(signal)
        ]

    @property
    def exports(self) -> list[Export]:
        """The exports of metrics."""
        return [decoded_metrics(body) for body in self.bodies("metrics")]

    @property
    def spans(self) -> list[Traced]:
        """Every span that came."""
        return [span for body in self.bodies("traces") for span in decoded_spans(body)]

    def wait_for(self, signal: str, count: int) -> None:
        """Wait until so many requests with this signal came."""
        eventually(lambda: len(self.got(signal)) >= count, within=60)


@contextmanager
def collector(*script: Answer | int) -> Iterator[Collector]:
    """A collector for the length of a test; it answers as `Receiver` does."""
    with receiver(*script) as receiving:
        yield Collector(receiving)
