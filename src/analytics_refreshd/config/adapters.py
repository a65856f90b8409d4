"""Translate the configuration into each adapter's settings, which check it."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from analytics_refreshd import __version__
from analytics_refreshd.config.sections import Config, DatabaseSection
from analytics_refreshd.core.errors import ConfigError
from analytics_refreshd.core.files import read_small
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.observe.otel.settings import OtelSettings
from analytics_refreshd.postgres.catalogue.settings import QuerySettings
from analytics_refreshd.postgres.connection.libpq import used_by_libpq
from analytics_refreshd.postgres.connection.settings import ConnectionSettings, hosts_used
from analytics_refreshd.postgres.incremental.settings import Outbox, Retention
from analytics_refreshd.postgres.refresh.settings import RefreshSettings
from analytics_refreshd.warehouse.settings import WarehouseSettings

_SECRET_BYTES = 32


def connection_settings(config: Config) -> ConnectionSettings:
    """Return `[database]` as the adapters' settings."""
    return _connection_settings(config.name, config.database)


def reading_settings(config: Config) -> ConnectionSettings:
    """Return `[database]` for a process that only reads, also from a standby."""
    return replace(connection_settings(config), standby=True)


def writing_settings(config: Config) -> ConnectionSettings:
    """Return how the API reaches the primary: by `[api] write_url`, else by `[database]`."""
    settings, url = connection_settings(config), config.api.write_url
    if url is None:
        return settings
    kept = {key: value for key, value in settings.parameters.items() if key in ("sslmode", "sslrootcert")}
    return replace(settings, url=url, parameters=kept)


def key_settings(config: Config) -> ConnectionSettings:
    """Return where the API reads keys: on the primary, if it is known.

    Where `[database]` is one server, it is there, whether or not that takes writes.
    """
    settings = writing_settings(config)
    known = config.api.write_url is not None or len(hosts_used(settings.libpq())) > 1
    return settings if known else replace(settings, standby=True)


def writing_problems(url: str | None) -> list[str]:
    """Return the adapter's problems with `[api] write_url`.

    Each is one sentence that names the key.
    """
    return [f"api.write_{problem}" for problem in ConnectionSettings("", url=url).problems()] if url else []


def connection_problems(database: DatabaseSection) -> list[str]:
    """Return the adapter's problems with `[database]`.

    Each is one sentence that names the key.
    """
    return [f"database.{problem}" for problem in _connection_settings("", database).problems()]


def _connection_settings(name: str, database: DatabaseSection) -> ConnectionSettings:
    return ConnectionSettings(
        name=name,
        url=database.url,
        parameters=database.parameters(),
        app_schema=database.db_schema,
        password_file=database.password_file,
        password_command=tuple(database.password_command or ()),
        connect_timeout_seconds=database.connect_timeout.total_seconds(),
    )


def refresh_settings(config: Config) -> RefreshSettings:
    """Return `[refresh]` as the refresher's settings."""
    return RefreshSettings(
        function=config.refresh.function,
        views=tuple(config.refresh.views),
        isolation=config.refresh.isolation,
        parallel=config.refresh.parallel,
        lock_timeout_seconds=config.lock_timeout_seconds,
        statement_timeout_seconds=config.statement_timeout_seconds,
        deadline_seconds=config.deadline_seconds,
        own=config.view_times,
    )


def retention_settings(config: Config) -> Retention | None:
    """Return `[retention]` as the incremental mode's settings.

    None leaves the horizon as it is in the database.
    """
    retention = config.retention
    if retention.horizon is None:
        return None
    advances = retention.horizon == "auto" and retention.keep == "rollups"
    rows_seconds = retention.rows.total_seconds() if advances and retention.rows else None
    return Retention(rows_seconds, retention.late_rows)


def outbox_settings(config: Config) -> Outbox:
    """Return `[warehouse]` as the settings of an outbox that is wanted."""
    return Outbox(True, config.warehouse.outbox_rows)


def warehouse_settings(config: Config) -> WarehouseSettings | None:
    """Return `[warehouse]` as the sink's settings, None where no url is given."""
    warehouse = config.warehouse
    if warehouse.url is None:
        return None
    return WarehouseSettings(
        name=config.name,
        url=warehouse.url,
        database=warehouse.database,
        user=warehouse.user,
        password_file=warehouse.password_file,
        ca_file=warehouse.ca_file,
        connect_seconds=warehouse.connect_timeout.total_seconds(),
        request_seconds=warehouse.request_timeout.total_seconds(),
        keep_days=warehouse.keep.days,
        cluster=warehouse.cluster,
        rows=warehouse.rows,
        rows_keep_days=warehouse.rows_keep.days,
    )


def query_settings(config: Config) -> QuerySettings:
    """Return `[costs]` and `[thresholds]` as the catalogue's settings."""
    return QuerySettings(config.costs.known(), config.thresholds.known())


def api_secret(config: Config) -> bytes | None:
    """Read `[api] secret_file`, None where none is named.

    Only who needs it reads it: the daemon's user need not. Raises ConfigError.
    """
    return _secret("api.secret_file", config.api.secret_file)


def jwt_secret(config: Config) -> bytes | None:
    """Read `[api] jwt_secret_file`, None where none is named. Raises ConfigError."""
    return _secret("api.jwt_secret_file", config.api.jwt_secret_file)


def limits_url(config: Config) -> str | None:
    """Read `[api] limits_url_file`, None where none is named. Raises ConfigError."""
    content = _content("api.limits_url_file", config.api.limits_url_file)
    if content is None:
        return None
    url = content.decode("ascii", "replace")
    if not url.startswith(("redis://", "rediss://")):
        raise ConfigError(["api.limits_url_file holds no address of a Redis: redis:// or rediss://"])
    return url


def _secret(key: str, path: Path | None) -> bytes | None:
    content = _content(key, path)
    if content is not None and len(content) < _SECRET_BYTES:
        raise ConfigError([f"{key} is too short: `openssl rand -hex {_SECRET_BYTES}` prints what is not"])
    return content


def _content(key: str, path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return read_small(path).strip()
    except OSError as error:
        raise ConfigError([f"{key} cannot be read: {error.strerror}"]) from None


def receiver_settings(config: Config) -> list[ReceiverSettings]:
    """Return `[receivers.*]` as their types' settings."""
    return [receiver.settings(name) for name, receiver in config.receivers.items()]


def delivery_settings(config: Config, database: str, replica: str) -> DeliverySettings:
    """Return the settings of delivery to all receivers.

    `database` and `replica` are from the start: a process keeps its identity when it reloads.
    """
    return DeliverySettings(
        database,
        replica,
        repeat_every_seconds=config.alerts.repeat_every.total_seconds(),
        evaluate_every_seconds=config.evaluate_seconds,
        page_url=config.http.public_url,
        runbooks_url=config.alerts.runbooks_url,
    )


def otel_settings(config: Config, service: str, *, sample_ratio: float = 1.0) -> OtelSettings | None:
    """Return `[otel]` as the exporter's settings, for the process called `service`.

    None where nothing is sent. The resource's attributes are named by OpenTelemetry's conventions; those of the
    configuration come before ours.
    """
    otel = config.otel
    if otel.endpoint is None:
        return None
    attributes = {
        "service.name": service,
        "service.namespace": config.name,
        "service.version": __version__,
        "service.instance.id": config.replica,
        "db.system.name": "postgresql",
    }
    dbname = (used_by_libpq(config.conninfo) or {}).get("dbname")
    return OtelSettings(
        endpoint=otel.endpoint,
        attributes=attributes | ({"db.namespace": dbname} if dbname else {}) | otel.attributes,
        headers_file=otel.headers_file,
        ca_file=otel.ca_file,
        timeout_seconds=otel.timeout.total_seconds(),
        metrics=otel.metrics,
        traces=otel.traces,
        sample_ratio=sample_ratio,
        metrics_every_seconds=otel.metrics_every.total_seconds(),
    )


def http_names(config: Config) -> tuple[str, ...]:
    """Return the names that requests to the HTTP port may use."""
    try:
        public = urlsplit(config.http.public_url).hostname
    except ValueError:
        public = None
    return (*config.http.hosts, config.http.host, *([public] if public else []))
