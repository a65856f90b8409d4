"""Refuses queries that reach past the views of the API's schema."""

import re
from collections.abc import Iterable

from analytics_refreshd.postgres.catalogue.definition import Query, QueryFileError

_IGNORED = re.compile(
    r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|\bdistinct\s+from\b|\b(?:extract|substring|trim|overlay)\s*\([^()]*?\bfrom\b",
    re.S | re.I,
)
"""Text, comments, and a FROM that names no relation."""
_FUNCTIONS = re.compile(
    r"\b(set_config|current_setting|\w*_to_xml\w*|dblink\w*|lo_\w+|pg_(?:terminate|cancel)_backend|pg_read_\w+|pg_ls_\w+"
    r"|pg_(?:try_)?advisory\w*|pg_stat_\w+|pg_sleep\w*|pg_notify)\b",
    re.I,
)
_PART = r'(?:[\w$]+|"(?:[^"]|"")+")'
_SCHEMA = re.compile(
    rf"\b(?:from|join|table|only)\s+(?:lateral\s+)?(?:only\s+)?\(*\s*({_PART})\s*\.|({_PART})\s*\.\s*{_PART}\s*\(", re.I
)
_KNOWN = re.compile(r'(?<![\w.])"?(public|analytics_refresh|analytics_api|information_schema|pg_toast)"?\s*\.', re.I)
_CATALOG = re.compile(r"\b(?:from|join)\s+(?:pg_catalog\s*\.\s*)?(pg_\w+)\b(?!\s*[.(])", re.I)


def refuse_unwalled(queries: Iterable[Query], app_schema: str) -> None:
    """Refuse queries that reach past the views.

    These name another schema, or functions that reach around the views. The database refuses them too, for it is the
    role that has no rights; here they are refused before they run. Raises QueryFileError, which names the file.
    """
    own = re.compile(rf'(?<![\w.])"?{re.escape(app_schema)}"?\s*\.', re.I)
    for query in queries:
        body = _IGNORED.sub(" ", query.body)
        function = _FUNCTIONS.search(body)
        if function is not None:
            raise QueryFileError(f"{query.file}:1: the API runs no query that calls {function[1]}")
        schemas = [(found[1] or found[2]).strip('"') for found in _SCHEMA.finditer(body)]
        named = [name for name in schemas if name.lower() != "pg_catalog"]
        known = _KNOWN.search(body) or own.search(body)
        if known is not None:
            named.append(known[1].lower() if known.re is _KNOWN else app_schema)
        if named:
            raise QueryFileError(
                f"{query.file}:1: the API runs no query that names schema {named[0]}: write {{app}}, or a relation "
                "such as {hourly}"
            )
        catalog = _CATALOG.search(body)
        if catalog is not None:
            raise QueryFileError(f"{query.file}:1: the API runs no query that reads {catalog[1]}")
