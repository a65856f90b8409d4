"""Names of functions and views as people write them into the configuration."""

import re

from psycopg import sql

from analytics_refreshd.core.errors import ConfigError

_PART = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")


def split_name(name: str, schema: str) -> tuple[str, str]:
    """Schema and name of `name`, which is written `name` (then in `schema`) or `schema.name`; case counts.

    Raises ConfigError for anything else: no name of the configuration becomes SQL in any other way.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigError([f"not a name of one or two plain parts (letters, digits, _, $): {name[:80]!r}"])
    return found[1] or schema, found[2]


def identifier(name: str, schema: str) -> sql.Identifier:
    """The qualified identifier of `name`, as in `split_name`."""
    return sql.Identifier(*split_name(name, schema))


def quoted(*parts: str) -> str:
    """A qualified name as psql takes it: quoted always, so that it can be pasted whatever it holds."""
    return sql.Identifier(*parts).as_string(None)
