"""Quotes names and texts for ClickHouse."""

import re

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def identifier(name: str) -> str:
    """Quote a name for ClickHouse."""
    return "`{}`".format(name.replace("\\", "\\\\").replace("`", "\\`"))


def plain_or_quoted(name: str) -> str:
    """Quote a name that needs it."""
    return name if _PLAIN.fullmatch(name) else identifier(name)


def literal(text: str) -> str:
    """Quote a text for ClickHouse, where a statement takes no parameter."""
    return "'{}'".format(text.replace("\\", "\\\\").replace("'", "\\'"))


def partition(name: str, number: int) -> str:
    """Write the name of a database's partition, as the server does."""
    return f"({literal(name)},{number})"
