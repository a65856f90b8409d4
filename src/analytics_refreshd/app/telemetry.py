"""The export by OpenTelemetry, where `[otel]` names a collector. Nothing of it is loaded otherwise."""

from collections.abc import Callable, Iterable

from prometheus_client.metrics_core import Metric as Family

from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import otel_settings
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.ports import EventLog
from analytics_refreshd.core.telemetry import NoTelemetry, Telemetry

STOP_SECONDS = 2.0
"""How long the end of a process may wait for a collector."""


def telemetry(
    config: Config,
    service: str,
    *,
    collect: Callable[[], Iterable[Family]],
    log: EventLog,
    count_failure: Callable[[str], None],
    sample_ratio: float = 1.0,
) -> Telemetry:
    """Build what sends metrics and traces as `service`.

    It sends nothing where no collector is named. `collect` gives the families of `/metrics`; `count_failure` is told
    the signal of an export that failed. Raises ConfigError where the extra is not installed.
    """
    settings = otel_settings(config, service, sample_ratio=sample_ratio)
    if settings is None:
        return NoTelemetry()
    try:
        from analytics_refreshd.observe.otel.export import OtelExport
    except ModuleNotFoundError as error:
        raise ConfigError(
            [f"otel.endpoint needs the extra otel, and {error.name} is missing: pip install 'analytics-refreshd[otel]'"]
        ) from None
    return OtelExport(settings, collect=collect, log=log, count_failure=count_failure)
