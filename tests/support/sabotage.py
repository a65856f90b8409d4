"""Queries that forgot their limit to organizations."""

from typing import Any

from analytics_refreshd.postgres.catalogue import run, sources
from analytics_refreshd.postgres.catalogue.files import relations

_LIMIT, _NONE = "= any (%(organizations)s::text[])", "<> all (array[]::text[])"
FORGET_LIMITS = "from tests.support.sabotage import forget_limits\nforget_limits()\n"
"""What a process executes first, so that its queries are limited to no organizations."""


def forget_limits() -> None:
    """Let the limit of every query of this process admit all rows. What its transactions see is as before."""
    texts = {name: text.replace(_LIMIT, _NONE) for name, text in relations().items()}
    patched: Any
    for patched in (run, sources):
        patched.relations = lambda: texts
    patched.LIMIT = sources.LIMIT.replace(_LIMIT, _NONE)
