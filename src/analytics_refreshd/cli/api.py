"""The `api` command: the REST API."""

import typer

from analytics_refreshd.cli.common import EXIT_INTERNAL, example, load_config, note
from analytics_refreshd.core.errors import ConfigError, RefreshdError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog=example("analytics-refreshd --config /etc/analytics-refreshd/api.toml api"))(api)


def api(context: typer.Context) -> int:
    """Serve the REST API.

    SIGTERM or Ctrl-C stops it.
    """
    try:
        from analytics_refreshd.api import service
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("analytics_refreshd"):
            raise
        note(f"analytics-refreshd: the package {error.name} is missing: pip install 'analytics-refreshd[api]'")
        return EXIT_INTERNAL
    try:
        return service.serve(load_config(context))
    except ConfigError:
        raise
    except RefreshdError as error:
        note(f"analytics-refreshd: {error}")
        return EXIT_INTERNAL
