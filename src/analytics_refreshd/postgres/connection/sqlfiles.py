"""Reads the package's SQL files, which hold named blocks."""

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType

_PACKAGE = "analytics_refreshd.postgres"
_HEADER = re.compile(r"^-- name: (\w+)[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"\A(?:\s*--[^\n]*(?:\n|\Z))*")


@cache
def text(resource: str, package: str = _PACKAGE) -> str:
    """Read the whole file `resource`, a path such as `state/history.sql`."""
    return resources.files(package).joinpath(*resource.split("/")).read_text(encoding="utf-8")


def names(folder: str) -> list[str]:
    """List the SQL files in `folder`, a path such as `state`, sorted."""
    entries = resources.files(_PACKAGE).joinpath(*folder.strip("/").split("/")).iterdir()
    return sorted(entry.name for entry in entries if entry.name.endswith(".sql"))


@cache
def blocks(resource: str, package: str = _PACKAGE) -> Mapping[str, str]:
    """Return the named blocks of `resource`, in the file's order.

    A block starts after a line `-- name: WORD` and ends at the next such line or the end of the file. Comments above
    its first statement are left out, because pg_stat_activity shows only the beginning of a statement. Raises
    ValueError, a mistake in the package, for a file without a block or with one name twice.
    """
    parts = _HEADER.split(text(resource, package))
    found = dict(zip(parts[1::2], (_COMMENT.sub("", body).strip() for body in parts[2::2]), strict=True))
    if not found or len(found) != len(parts) // 2:
        raise ValueError(f"{resource}: no named block, or one name twice")
    return MappingProxyType(found)
