"""Answers from a warehouse: the only room of the API that knows it, and loaded only where `[api] engine` names it."""

from collections.abc import Callable, Mapping

from analytics_refreshd.api.engine import WarehouseReaders
from analytics_refreshd.config import Config
from analytics_refreshd.config.adapters import warehouse_settings


def readers_of(config: Config, monotonic: Callable[[], float]) -> tuple[WarehouseReaders | None, Mapping[str, bool]]:
    """Return what reads from the warehouse, None where PostgreSQL answers all.

    Beside it are the queries that a fleet can be asked, and whether their rows are of one database each.
    """
    if config.api.engine != "warehouse":
        return None, {}
    settings = warehouse_settings(config)
    assert settings is not None  # noqa: S101 - the configuration is refused without
    from analytics_refreshd.api.warehouse.reader import fleets, readers

    seconds = config.api.statement_timeout.total_seconds()
    return readers(settings, config.refresh.views, seconds, monotonic), fleets()
