"""The section `[api]`."""

from pathlib import Path

from analytics_refreshd.config.values import Section


class ApiSection(Section):
    """The REST API. `secret_file` holds what its processes and the database share."""

    secret_file: Path | None = None
