"""The configuration as each adapter takes it, and what an adapter finds wrong with it."""

from analytics_refreshd.config.sections import Config, Database
from analytics_refreshd.notify.settings import DeliverySettings, ReceiverSettings
from analytics_refreshd.postgres.connection.settings import ConnectionSettings
from analytics_refreshd.postgres.refresh.settings import RefreshSettings


def connection_settings(config: Config) -> ConnectionSettings:
    """The configuration's `[database]` as the adapters take it."""
    return _connection_settings(config.name, config.database)


def connection_problems(database: Database) -> list[str]:
    """Return what the adapter finds wrong with `[database]`, one sentence each that names the key."""
    return [f"database.{problem}" for problem in _connection_settings("", database).problems()]


def _connection_settings(name: str, database: Database) -> ConnectionSettings:
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
