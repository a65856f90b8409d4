"""The configuration's names as identifiers of SQL."""

from psycopg import sql

from analytics_refreshd.core import names
from analytics_refreshd.core.errors import ConfigError


def split_name(name: str, schema: str) -> tuple[str, str]:
    """Return the schema and the name in `name`.

    Without a schema of its own it lies in `schema`.
    Raises ConfigError where it is not a plain name.
    """
    try:
        own_schema, last = names.split_name(name)
    except ValueError as error:
        raise ConfigError([f"{name[:80]!r} {error}"]) from None
    return own_schema or schema, last


def identifier(name: str, schema: str) -> sql.Identifier:
    """Return the qualified identifier of `name`, split as by `split_name`."""
    return sql.Identifier(*split_name(name, schema))


def quoted(*parts: str) -> str:
    """Quote a qualified name, so that it can be pasted into psql."""
    return sql.Identifier(*parts).as_string(None)
