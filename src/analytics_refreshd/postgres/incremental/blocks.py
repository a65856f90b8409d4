"""The incremental mode's blocks of SQL, and the guard of its functions."""

import itertools

from psycopg import sql

from analytics_refreshd.postgres.connection import sqlfiles
from analytics_refreshd.postgres.schema.definitions import compose, verbatim

Used = tuple[tuple[str, ...], tuple[str, ...]]
"""The names of relations and of functions that a function uses."""


def block(file: str, name: str, /, **names: sql.Composable) -> sql.Composed:
    """Fill the placeholders of the block `name` of `incremental/FILE.sql`.

    A block without placeholders is left as it is.
    """
    text = sqlfiles.blocks(f"incremental/{file}.sql")[name]
    return compose(text, **names) if names else verbatim(text)


def _sound(used: tuple[Used, ...]) -> sql.Composed:
    relations, functions = (
        sql.SQL(", ").join(sql.Literal(name) for name in [*dict.fromkeys(itertools.chain(*names))] or [""])
        for names in zip(*used, strict=True)
    )
    return block("guard", "sound", relations=relations, functions=functions)


def refuse_unsound(*used: Used) -> sql.Composed:
    """Return the statement that raises where another owns what is used."""
    return block("guard", "refuse_unsound", sound=_sound(used))
