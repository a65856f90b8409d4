"""The configuration as each adapter takes it: names translated, nothing checked."""

from analytics_refreshd.config import Config
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.refresh.settings import RefreshSettings


def connection_settings(config: Config) -> ConnectionSettings:
    """The configuration's `[database]` as the adapters take it."""
    database = config.database
    keys = ("host", "port", "dbname", "user", "service", "sslmode", "sslrootcert")
    given = {key: getattr(database, key) for key in keys}
    return ConnectionSettings(
        name=config.name,
        url=database.url,
        parameters={key: value for key, value in given.items() if value is not None},
        app_schema=database.db_schema,
        password_file=database.password_file,
        password_command=tuple(database.password_command or ()),
        connect_timeout_seconds=database.connect_timeout.total_seconds(),
    )


def refresh_settings(config: Config) -> RefreshSettings:
    """The configuration's `[refresh]` as the refresher takes it."""
    return RefreshSettings(
        function=config.refresh.function,
        views=tuple(config.refresh.views),
        isolation=config.refresh.isolation,
        parallel=config.refresh.parallel,
        lock_timeout_seconds=config.lock_timeout_seconds,
        statement_timeout_seconds=config.statement_timeout_seconds,
        deadline_seconds=config.deadline_seconds,
    )


def receiver_settings(config: Config) -> list[ReceiverSettings]:
    """The configuration's `[receivers.*]` as delivery takes them."""
    return [receiver.settings(name) for name, receiver in config.receivers.items()]


def delivery_settings(config: Config, database: str, replica: str) -> DeliverySettings:
    """What holds for every receiver; a process keeps the identity that it started with."""
    return DeliverySettings(
        database,
        replica,
        repeat_every_seconds=config.alerts.repeat_every.total_seconds(),
        evaluate_every_seconds=config.evaluate_seconds,
        page_url=config.http.public_url,
        runbooks_url=config.alerts.runbooks_url,
    )
